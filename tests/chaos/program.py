"""`refam-backend` as it is, but for a segmenter that answers without a model: `python -m tests.chaos.program COMMAND`.

CHAOS_MODEL=embedded: with its model, too.
CHAOS_STUDIO_TIMEOUT: seconds before a request to Label Studio is given up, so that a run needs no hours.
CHAOS_LIFE: seconds without heartbeat after which a worker counts as dead.
"""

import os
import sys
from functools import partial

from backend.cli import app
from backend.supervisor import up
from backend.timings import Timings


def change_worker() -> None:
    from backend.worker import main  # noqa: PLC0415  # the web process must not load it
    from tests.support.stub_worker import load  # noqa: PLC0415

    stub = {"load": load} if os.environ["CHAOS_MODEL"] == "stub" else {}
    timings = Timings(life=int(os.environ["CHAOS_LIFE"]), request=float(os.environ["CHAOS_STUDIO_TIMEOUT"]))
    main.work = partial(main.work, timings=timings, **stub)


if __name__ == "__main__":
    up.PROGRAM = (sys.executable, "-m", "tests.chaos.program")
    if "worker" in sys.argv:
        change_worker()
    app()

"""`make chaos`: python -m tests.chaos [--studio real] [--seed N] .. Exits 1 if a task was lost or predicted twice."""

import argparse
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from tests.chaos.run import PLANS, run, save

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    parser.add_argument("--studio", choices=PLANS, default="stand-in")
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--model", choices=("stub", "embedded"))
    parser.add_argument("--json", type=Path, default=Path("build/chaos.json"))
    given = parser.parse_args()
    told = {name: getattr(given, name) for name in ("seed", "tasks", "kills", "workers", "model")}
    plan = replace(PLANS[given.studio], **{name: value for name, value in told.items() if value is not None})
    result = run(plan)
    save(result, given.json)
    print(json.dumps(result, indent=2))  # noqa: T201
    sys.exit(bool(result["lost"] or result["duplicated"]))

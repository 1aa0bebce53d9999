"""A worker whose model answers at once, or sleeps: `python -m tests.bench.model`, settings from the environment.

BENCH_SLEEP: seconds that the model takes. BENCH_CORE: the one core that this process may use. BENCH_BUSY: file to which
each of its sleeps is added, as a line of its first and its last moment.
"""

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from backend.queue.connection import connect
from backend.settings import load_settings
from backend.worker.main import work
from refam.clicks import Clicks
from refam.picture import Picture

Mask = NDArray[np.bool_]


@dataclass
class Answer:
    masks: list[Mask]
    score: float = 0.9
    warnings: tuple[str, ...] = ()


@cache
def ragged(width: int, height: int) -> Mask:
    """A mask as models make them: an ellipse over a fifth of the image, with a ragged edge."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask: Mask = (x / 0.6) ** 2 + (y / 0.45) ** 2 + rng.normal(0, 0.04, (height, width)) < 1
    return mask


class Model:
    """Stands in for RefAM: the part of it that jobs need."""

    side = 1024

    @property
    def computed(self) -> dict[str, int]:
        return {}

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def read(self, expressions: Sequence[str]) -> None:
        pass

    def prepare(self, picture: Picture) -> None:
        pass

    def free_memory(self) -> None:
        pass

    def segment(self, picture: Picture, expression: str) -> Answer:
        start = time.monotonic()
        time.sleep(self._seconds)
        if path := os.environ.get("BENCH_BUSY"):
            with open(path, "a") as file:  # noqa: PTH123
                file.write(f"{start} {time.monotonic()}\n")
        return Answer([ragged(*picture.size)])

    def segment_names(self, picture: Picture, names: Sequence[str]) -> list[Answer]:
        return [self.segment(picture, name) for name in names]

    def select(self, picture: Picture, clicks: Clicks, expression: str | None = None) -> Answer:
        return self.segment(picture, expression or "")


if __name__ == "__main__":
    if core := os.environ.get("BENCH_CORE"):
        os.sched_setaffinity(0, {int(core)})
    settings = load_settings()
    logging.basicConfig(level=settings.log_level)
    sys.exit(work(connect(settings), settings, lambda _: Model(float(os.environ.get("BENCH_SLEEP", "0")))))

"""A real worker process with a segmenter that needs no model: `python -m tests.support.stub_worker`.

Settings come from the environment.
The text decides: "left", "right", .. fill that half; "slow N" takes N seconds; "nothing" finds nothing; "crash" raises;
"die" kills the process; "hang holding .." keeps the interpreter's lock for ever, "hang .." lets no signal through;
"unusable" is refused as RefAM refuses a text without a usable word. Clicks add or take away their pixel, a box adds its
inside. "large" needs the memory that caches take, "too large" more; "broken" breaks the device.
STUB_LOAD=fail: no model.
STUB_LIFE: seconds until a worker without heartbeat counts as dead. STUB_OVERDUE: seconds beside a job's timeout.
STUB_UNSURE: seconds after a post without an answer.
"""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend.queue.connection import connect
from backend.settings import load_settings
from backend.timings import Timings
from backend.worker.main import work
from refam.clicks import Clicks
from refam.config import RefAMConfig
from refam.errors import ClickError, DeviceBrokenError, DeviceMemoryError, ExpressionError, ModelNotFoundError
from refam.picture import Picture


@dataclass
class StubSegmentation:
    mask: NDArray[np.bool_]
    score: float
    warnings: tuple[str, ...] = ()

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        return [self.mask]


class StubSegmenter:
    cached = True
    segmented = 0
    side = 1024

    @property
    def computed(self) -> dict[str, int]:
        return {"heatmaps": self.segmented, "image_embeddings": 0}

    def free_memory(self) -> None:
        self.cached = False

    def read(self, expressions: Sequence[str]) -> None:
        pass

    def prepare(self, picture: Picture) -> None:
        pass

    def segment(self, picture: Picture, expression: str) -> StubSegmentation:
        words = expression.split()
        if "slow" in words:
            time.sleep(float(words[words.index("slow") + 1]))
        if "unusable" in words:
            raise ExpressionError("The expression holds no word to look for.")
        if "crash" in words:
            raise RuntimeError("secret detail")
        if "large" in words and (self.cached or "too" in words):
            raise DeviceMemoryError("The device has too little memory for this image.")
        if "broken" in words:
            raise DeviceBrokenError("The device failed; only a new process can use it again.")
        if "hang" in words:
            hang(holding="holding" in words)
        if "die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        self.segmented += 1
        mask = np.zeros(picture.size[::-1], bool)
        if "nothing" not in words:
            middle = picture.size[0] // 2
            mask[:, middle:] = "right" in words
            mask[:, :middle] = "right" not in words
        return StubSegmentation(mask, 0.75)

    def segment_names(self, picture: Picture, names: Sequence[str]) -> list[StubSegmentation]:
        return [self.segment(picture, name) for name in names]

    def select(self, picture: Picture, clicks: Clicks, expression: str | None = None) -> StubSegmentation:
        if not clicks.decide and expression is None:
            raise ClickError("The clicks only say where the mask is not.")
        mask = self.segment(picture, expression).mask if expression else np.zeros(picture.size[::-1], bool)
        if clicks.box:
            mask[int(clicks.box.top) : int(clicks.box.bottom), int(clicks.box.left) : int(clicks.box.right)] = True
        for point in clicks.points:
            mask[int(point.y), int(point.x)] = point.on_target
        return StubSegmentation(mask, 0.5)


def hang(holding: bool) -> None:
    if holding:  # as an extension that never returns
        ctypes.PyDLL(None).sleep(3600)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(3600)


def load(config: RefAMConfig) -> StubSegmenter:
    if os.environ.get("STUB_LOAD") == "fail":
        raise ModelNotFoundError(f"REFAM_MODEL: no pipeline in {config.model!r}. Set it to a folder that holds one.")
    return StubSegmenter()


if __name__ == "__main__":
    settings = load_settings()
    logging.basicConfig(level=settings.log_level)
    timings = Timings()
    if life := os.environ.get("STUB_LIFE"):
        timings = replace(timings, life=int(life), heartbeat=1)
    if overdue := os.environ.get("STUB_OVERDUE"):
        timings = replace(timings, overdue=int(overdue))
    if unsure := os.environ.get("STUB_UNSURE"):
        timings = replace(timings, unsure=int(unsure))
    sys.exit(work(connect(settings, patient=True), settings, load, timings=timings, burst="--burst" in sys.argv))

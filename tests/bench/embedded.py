"""What the embedded model answers faster, because it kept something. On a CPU, Segment Anything included."""

from itertools import count

import numpy as np

from refam import Clicks, Point, RefAM, RefAMConfig
from refam.picture import Picture
from refam.synthetic.scenes import random_scene
from tests.bench.measurement import Comparison, Measurement, compare_times
from tests.bench.parts import segment_parts_of

SIDE = 512
BASELINE = "first prediction on a new image"
CONDITIONS = f"embedded model and its SAM, fp32, {SIDE} x {SIDE} pixels, no text seen before, median of {{}} rounds"


class Session:
    """A loaded model, to which images and texts come."""

    def __init__(self, images: int) -> None:
        self._refam = RefAM.from_config(RefAMConfig(device="cpu"))
        rng = np.random.default_rng(0)
        self._images = [random_scene(rng).image.resize((SIDE, SIDE)) for _ in range(images)]
        self._texts = (f"the red zebra {number}" for number in count())
        self.first()

    def first(self) -> None:
        """A prediction on the next image."""
        self._image = self._images.pop()
        self.second()

    def second(self) -> None:
        """A prediction on the same image, of another text."""
        self._refam.segment(self._image, next(self._texts))

    def click(self) -> None:
        """A mask of what is clicked on, in the same image."""
        self._refam.select(self._image, Clicks((Point(SIDE / 2, SIDE / 2),)))


def second_expression(toy: bool) -> list[Measurement]:
    """Another expression on the same image over the first."""
    rounds = 1 if toy else 15
    session = Session(rounds + 2)
    times = compare_times(session.second, session.first, rounds=rounds)
    return [_row("second_expression", times, rounds)]


def click(toy: bool) -> list[Measurement]:
    """A click over a full prediction."""
    rounds = 1 if toy else 15
    session = Session(rounds + 2)
    return [_row("click", compare_times(session.click, session.first, rounds=rounds), rounds)]


def segment_parts(toy: bool) -> list[Measurement]:
    """Where the time of a new image with a new text goes."""
    rounds, rng = 2 if toy else 15, np.random.default_rng(1)
    refam = RefAM.from_config(RefAMConfig(device="cpu"))
    pictures = [Picture.of(random_scene(rng).image.resize((SIDE, SIDE)), refam.side) for _ in range(rounds)]
    conditions = f"mean of {rounds} new images and texts, {SIDE} x {SIDE}; embedded model and its SAM, fp32"
    return [
        Measurement(f"segment_parts.{part}", milliseconds, "ms", conditions=conditions)
        for part, milliseconds in segment_parts_of(refam, pictures).items()
    ]


def _row(name: str, times: Comparison, rounds: int) -> Measurement:
    values = 1000 * times.value, 1000 * times.baseline_value
    return Measurement(name, values[0], "ms", BASELINE, values[1], times.ratio, CONDITIONS.format(rounds))


BENCHMARKS = {"second_expression": second_expression, "click": click, "segment_parts": segment_parts}

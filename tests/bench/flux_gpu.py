"""What RefAM costs with a FLUX.1 and a Segment Anything of real sizes on a GPU, loaded from disk as published ones are.

The weights are random: times and memory hold for published ones, what is found does not. Without a GPU the same runs on
the CPU at a reduced width.
"""

import gc
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from backend.images.decoding import decode
from refam import Clicks, Point, RefAM, RefAMConfig
from refam.errors import RefAMError
from refam.picture import Picture
from refam.synthetic.scenes import random_scene
from tests.bench.flux_folder import REAL, REDUCED, TOY, write_models
from tests.bench.measurement import Measurement
from tests.bench.parts import segment_parts_of, synchronised

__all__ = ["BENCHMARKS"]

VARIANTS: dict[str, dict[str, str]] = {
    "half": {"precision": "half"},
    "half, text encoders in main memory": {"precision": "half", "text_encoder": "cpu"},
    "int8": {"precision": "half", "quantize": "int8"},
    "float32": {"precision": "float32"},
    "half, compiled": {"precision": "half", "compile": "on"},
}
SIZES = {"1.2 MP": (1280, 960), "12 MP": (4000, 3000)}
GB = 1e9
PIXELS = 10**8


def flux_gpu(toy: bool) -> list[Measurement]:
    """The table of every precision; for the first one also where a new image's time goes."""
    gpu = torch.cuda.is_available() and not toy
    size, device = (TOY if toy else REAL if gpu else REDUCED), torch.device("cuda" if gpu else "cpu")
    where = torch.cuda.get_device_name() if gpu else "CPU"
    variants = VARIANTS if gpu else {"float32": VARIANTS["float32"]}
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="refam-") as folder:
        model, sam = write_models(Path(folder), size, device)
        for name, settings in variants.items():
            conditions = f"{size.words}, random weights, {name}, {where}"
            config = RefAMConfig(
                model=str(model), sam=sam, device=str(device), resolution=size.resolution, blocks=size.reads, **settings
            )
            try:
                rows += _variant(name, config, conditions, rounds=1 if toy else 5)
            except RefAMError as error:
                rows.append(Measurement(f"flux_gpu.{name}", None, "s", conditions=f"{error}; {conditions}"))
            gc.collect()
            torch.cuda.empty_cache()
    return rows


def _variant(name: str, config: RefAMConfig, conditions: str, rounds: int) -> Iterator[Measurement]:
    def row(what: str, value: float, unit: str, more: str = "") -> Measurement:
        return Measurement(f"flux_gpu.{name}.{what}", value, unit, conditions=f"{more}{conditions}")

    _forget_peak()
    start = time.perf_counter()
    refam = RefAM.from_config(config)
    yield row("load", time.perf_counter() - start, "s")
    if torch.cuda.is_available():
        yield row("weights", torch.cuda.memory_allocated() / GB, "GB", "on the GPU after loading; ")
    texts = (f"the zebra {number}" for number in count())
    first = _seconds(lambda: refam.segment(_picture(refam, SIZES["1.2 MP"], 0), next(texts)))
    yield row("first", first, "s", "the first image of all; ")
    pictures = {
        what: [_picture(refam, pixels, seed) for seed in range(1, rounds + 1)] for what, pixels in SIZES.items()
    }
    refam.read(["the zebra"])
    for what, images in pictures.items():
        new = [_seconds(lambda image=image: refam.segment(image, "the zebra")) for image in images]
        yield row(f"new {what}", statistics.median(new), "s", f"median of {rounds} decoded images, text known; ")
        second = [_seconds(lambda image=images[-1]: refam.segment(image, next(texts))) for _ in range(rounds)]
        yield row(f"second {what}", statistics.median(second), "s", f"another text on one image, of {rounds}; ")
        clicks = [
            _seconds(lambda place=place, image=images[-1]: _click(refam, image, place)) for place in range(rounds)
        ]
        yield row(f"click {what}", statistics.median(clicks), "s", f"on one image, median of {rounds}; ")
    if torch.cuda.is_available():
        yield row("peak", torch.cuda.max_memory_allocated() / GB, "GB", "of the GPU's memory, loading aside; ")
    for part, milliseconds in segment_parts_of(refam, pictures["1.2 MP"]).items():
        yield row(f"part: {part}", milliseconds, "ms", "mean of new images of 1.2 MP, a new text each; ")


def _click(refam: RefAM, picture: Picture, place: int) -> Any:
    width, height = picture.size
    return refam.select(picture, Clicks((Point(width / 2 + place, height / 2),)))


def _picture(refam: RefAM, size: tuple[int, int], seed: int) -> Picture:
    """A rendered scene as a photograph's file, decoded as the worker does."""
    file = io.BytesIO()
    scene = random_scene(np.random.default_rng(seed)).image
    scene.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return decode(file.getvalue(), PIXELS, side=refam.side)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    synchronised()
    return time.perf_counter() - start


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


BENCHMARKS = {"flux_gpu": flux_gpu}

"""What a photograph costs over a small picture: decoding, mask and brush, with the embedded model on one core."""

import io
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL import Image

from backend.images.decoding import decode
from backend.label_studio.mask_encoding import Drawing
from backend.label_studio.request import Control
from refam import RefAM, RefAMConfig
from refam.evaluate import referrals
from tests.bench.measurement import Measurement

__all__ = ["BENCHMARKS"]

SIZES = {"0.3 MP": (512, 512), "1.2 MP": (1280, 960), "12 MP": (4000, 3000), "48 MP": (8000, 6000)}
TOY = {name: (side, side) for name, side in zip(SIZES, (64, 96, 400, 800), strict=True)}
BRUSH = Control("tag", "brushlabels", ())
PIXELS = 10**8


def photo(toy: bool) -> list[Measurement]:
    """CPU of a task's image beside decoding it, of large sizes over small ones; and the whole at 12 megapixels."""
    rounds = 1 if toy else 7
    with _one_core():
        refam = RefAM.from_config(RefAMConfig(device="cpu"))
        samples = {
            name: [_jpeg(number, size) for number in range(rounds + 1)]
            for name, size in (TOY if toy else SIZES).items()
        }
        times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in samples}
        for number in range(rounds + 1):
            for name, files in samples.items():
                times[name].append(_cost(refam, *files[number]))
    decoding, rest, wall = (
        {name: statistics.median(row[part] for row in rows[1:]) for name, rows in times.items()} for part in range(3)
    )
    where = f"embedded model, one core, JPEG of quality 90, brush; medians of {rounds} images, sizes in turn"
    pairs = (("12 MP", "0.3 MP"), ("12 MP", "1.2 MP"), ("48 MP", "1.2 MP"))
    rows = [
        Measurement(
            f"photo.{large} over {small}", 1000 * rest[large], "ms", small, 1000 * rest[small],
            rest[large] / rest[small],
            f"CPU beside decoding, which takes {1000 * decoding[large]:.0f} ms; {where}",
        )
        for large, small in pairs
    ]  # fmt: skip
    return [
        *rows,
        Measurement("photo.wall", 1000 * wall["12 MP"], "ms", conditions=f"12 MP, decoding included; {where}"),
    ]


def _jpeg(number: int, size: tuple[int, int]) -> tuple[bytes, str]:
    """A rendered scene at a size as a file, and an expression."""
    _, referral = referrals(number, 1)[0]
    file = io.BytesIO()
    referral.scene.image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue(), referral.expression


def _cost(refam: RefAM, content: bytes, expression: str) -> tuple[float, float, float]:
    """Seconds of CPU for decoding, and for all the rest; and of the clock for both."""
    start, begun = time.perf_counter(), time.process_time()
    picture = decode(content, PIXELS, side=refam.side)
    decoded = time.process_time()
    found = refam.segment(picture, expression)
    list(Drawing(found.mask).regions(BRUSH, "Object", score=found.score, image_tag="image"))
    return decoded - begun, time.process_time() - decoded, time.perf_counter() - start


@contextmanager
def _one_core() -> Iterator[None]:
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


BENCHMARKS = {"photo": photo}

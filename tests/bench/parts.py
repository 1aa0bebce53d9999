"""Where the time of a mask goes: the seconds that each part of the method takes, and the rest."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from refam import RefAM, pipeline
from refam.backbones.t5 import T5Reader
from refam.backbones.transformer import TransformerBackbone
from refam.choice import Chooser
from refam.picture import Picture
from refam.sam import Candidate, SegmentAnything
from refam.sam.original import OriginalSam

__all__ = ["segment_parts_of", "synchronised"]

PARTS = {
    "text encoders": (T5Reader, "encode"),
    "VAE": (TransformerBackbone, "_encode_image"),
    "transformer": (TransformerBackbone, "read"),
    "points": (pipeline, "find_points"),
    "SAM's encoder": (SegmentAnything, "_embed"),
    "SAM's decoder": (OriginalSam, "decode"),
    "choice": (Chooser, "choose"),
    "full size": (Candidate, "full_mask"),
}
REST = "rest"


def segment_parts_of(refam: RefAM, pictures: list[Picture]) -> dict[str, float]:
    """Milliseconds of each part of `segment` for images as if they were new, and texts that are; means."""
    refam.free_memory()
    refam.read(["the zebra"])  # magnets are known in a worker that has begun
    with _timed_parts() as seconds:
        for number, picture in enumerate(pictures):
            refam.segment(picture, f"the yellow zebra {number}")
    return {part: 1000 * value / len(pictures) for part, value in seconds.items()}


@contextmanager
def _timed_parts() -> Iterator[dict[str, float]]:
    """The seconds of each part, added up while it lasts; REST is all that is in none of them."""
    seconds: dict[str, float] = defaultdict(float)
    with ExitStack() as patches:
        for part, (owner, name) in PARTS.items():
            patches.enter_context(mock.patch.object(owner, name, _timed(getattr(owner, name), part, seconds)))
        start = time.perf_counter()
        yield seconds
        synchronised()
        seconds[REST] = time.perf_counter() - start - sum(seconds.values())


def synchronised() -> None:
    """Wait until the GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _timed(function: Callable[..., Any], part: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        synchronised()
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            synchronised()
            seconds[part] += time.perf_counter() - start

    return timed

"""Segment Anything: embeds an image once, prompts it many times."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from refam.cache import LRUCache
from refam.clicks import Box
from refam.heatmap import Point
from refam.picture import Picture
from refam.pixels import PreparedPixels, tensor_of
from refam.precision import fast_fp32
from refam.sam.model import Features, Prompts, SamModel

__all__ = ["Candidate", "SegmentAnything"]

BAND = 2**20  # pixels of a mask that are stretched at a time, so that a processor's cache holds them
THRESHOLD = 0.0  # of logits, above which a pixel belongs to a mask, in all published models


@dataclass(frozen=True)
class Candidate:
    """One of SAM's answers.

    Attributes:
        coarse: [h, w] bool over the whole image, as fine as SAM's decoder draws it: a quarter of its input each way.
        predicted_iou: the IoU that SAM itself predicts for it.
        low: [l, l] float32 on SAM's device, the decoder's logits over SAM's square input of `side` pixels, of which the
            image covers `shape`, (height, width). The mask is where they are above THRESHOLD.
    """

    coarse: NDArray[np.bool_]
    predicted_iou: float
    low: Tensor
    side: int
    shape: tuple[int, int]

    @property
    def logits(self) -> Tensor:
        """[h, w] float32 on SAM's device, over the whole image at the size of SAM's input; the mask is where they are
        above THRESHOLD."""
        height, width = self.shape
        return _interpolated(self.low[None], (self.side, self.side))[0, :height, :width]

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """[h, w] bool over the whole image, whose longer side is that of SAM's input."""
        mask: NDArray[np.bool_] = (self.logits > THRESHOLD).cpu().numpy()
        return mask

    @torch.inference_mode()
    def full_mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask [H, W] at an image's size (width, height).

        Its logits are stretched bilinearly, but only around what it holds: elsewhere none is above the threshold.
        """
        (width, height), coarse = size, self.mask
        mask = np.zeros((height, width), dtype=bool)
        if coarse.any():
            logits = self.logits
            rows = _reach(np.flatnonzero(coarse.any(axis=1)), coarse.shape[0], height)
            columns = _reach(np.flatnonzero(coarse.any(axis=0)), coarse.shape[1], width)
            step = max(1, BAND // (columns.stop - columns.start))
            for top in range(rows.start, rows.stop, step):
                band = slice(top, min(top + step, rows.stop))
                part = _window(logits, (height, width), band, columns)
                mask[band, columns] = (part > THRESHOLD).cpu().numpy()
        return mask


class _Embedding(NamedTuple):
    """features: as the model gives them; shape: (height, width) of the image in its square input."""

    features: Features
    shape: tuple[int, int]


class SegmentAnything:
    """A SAM model with the embeddings of the last `image_cache` images. Not to be shared between threads."""

    def __init__(self, model: SamModel, image_cache: int) -> None:
        self.model = model
        self._embeddings: LRUCache[_Embedding] = LRUCache(image_cache)
        self._prepared = PreparedPixels()

    @property
    def side(self) -> int:
        """Of its square input, in pixels."""
        return self.model.side

    @property
    def embedded(self) -> int:
        """How many images were embedded so far."""
        return self._embeddings.made

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        self._embeddings.clear()

    def prepare(self, picture: Picture) -> None:
        """Resize an unknown image beforehand. Any thread may."""
        if picture.key not in self._embeddings and picture.key not in self._prepared:
            self._prepared.put(picture.key, self._pixels(picture))

    @torch.inference_mode()
    def candidates(self, picture: Picture, points: Sequence[Point], box: Box | None = None) -> list[Candidate]:
        """SAM's masks for one prompt: points, positive where the target is and negative on rivals, a box, or both.

        A single point may mean a thing or a part of it, and has several masks. Several points, or a box, leave no
        doubt: they have one, if the model was trained for that, and points refine what the first of them selects.
        """
        if not self.model.answers_clearly or (box is None and len(points) == 1):
            return self._answers(picture, [points], box)[0]
        first = next((point for point in points if point.on_target), None)
        if box is not None or first is None:
            return self._answers(picture, [points], box, several=False)[0]
        begun = max(self._answers(picture, [[first]], None)[0], key=lambda each: each.predicted_iou)
        return self._answers(picture, [points], None, begun, several=False)[0]

    @torch.inference_mode()
    def candidates_of_each(self, picture: Picture, points: Sequence[Point]) -> list[list[Candidate]]:
        """SAM's masks for each of some points alone, at least one, decoded together."""
        return self._answers(picture, [[point] for point in points], None)

    def _answers(
        self,
        picture: Picture,
        prompts: Sequence[Sequence[Point]],
        box: Box | None,
        begun: Candidate | None = None,
        *,
        several: bool = True,
    ) -> list[list[Candidate]]:
        """For each prompt, of equally many points, SAM's masks; a box, or a mask to refine, belongs to a single one."""
        with fast_fp32(self.model.half):
            embedding = self._embeddings.get(picture.key, lambda: self._embed(picture))
            asked = self._prompts(embedding, picture.size, prompts, box, begun)
            low, ious = self.model.decode(embedding.features, asked, several=several)
        height, width = (max(1, math.ceil(length * low.shape[-1] / self.side)) for length in embedding.shape)
        coarse = (low[..., :height, :width] > THRESHOLD).cpu().numpy()
        return [
            [
                Candidate(mask, iou, logits.clone(), self.side, embedding.shape)
                for mask, iou, logits in zip(*parts, strict=True)
            ]
            for parts in zip(coarse, ious.tolist(), low, strict=True)
        ]

    def _prompts(
        self,
        embedding: _Embedding,
        size: tuple[int, int],
        prompts: Sequence[Sequence[Point]],
        box: Box | None,
        begun: Candidate | None,
    ) -> Prompts:
        """In pixels of SAM's square."""
        device = self.model.device
        scale = torch.tensor([embedding.shape[1] / size[0], embedding.shape[0] / size[1]], dtype=torch.float64)

        def scaled(places: list[Any]) -> Tensor:
            return (torch.tensor(places, dtype=torch.float64) * scale).float().to(device)

        return Prompts(
            scaled([[(point.x, point.y) for point in points] for points in prompts]) if prompts[0] else None,
            torch.tensor([[int(point.on_target) for point in points] for points in prompts], device=device)
            if prompts[0]
            else None,
            scaled([(box.left, box.top), (box.right, box.bottom)]).reshape(1, 4) if box else None,
            begun.low[None, None] if begun else None,
        )

    def _embed(self, picture: Picture) -> _Embedding:
        pixels = self._prepared.take(picture.key, lambda: self._pixels(picture))
        height, width = pixels.shape[-2:]
        return _Embedding(self.model.embed(pixels), (height, width))

    def _pixels(self, picture: Picture) -> Tensor:
        """The image at its size in SAM's square, uint8 [1, 3, h, w]."""
        return tensor_of(
            picture.resized(self.model.resized(picture.size), Image.Resampling.BILINEAR), self.model.device
        )


def _interpolated(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Maps [N, h, w] stretched to a shape, bilinearly. A batch of one-channel images is what a CPU is fastest at."""
    return functional.interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def _reach(found: NDArray[np.intp], cells: int, length: int) -> slice:
    """Of `length` pixels over so many cells, those on which the cells from the first to the last that was found have an
    influence."""
    first, last = (found[0] - 0.5) * length / cells, (found[-1] + 1.5) * length / cells
    return slice(max(0, int(first)), min(length, int(last) + 1))


def _window(logits: Tensor, shape: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    """The part [rows, columns] of logits [h, w] stretched bilinearly to a shape: what torch's `interpolate` gives there
    with `align_corners` off."""
    (above, below, down), (left, right, across) = (
        _neighbours(part, cells, length, logits.device)
        for part, cells, length in zip((rows, columns), logits.shape, shape, strict=True)
    )
    first = int(above[0])
    coarse = logits[first : int(below[-1]) + 1]
    wide = torch.lerp(coarse[:, left], coarse[:, right], across)
    return torch.lerp(wide[above - first], wide[below - first], down[:, None])


def _neighbours(part: slice, cells: int, length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of a part of `length` pixels over so many cells: the two cells whose centres it lies between, and how
    far it is from the first to the second, in [0, 1]."""
    pixels = torch.arange(part.start, part.stop, device=device, dtype=torch.float64)
    places = ((pixels + 0.5) * (cells / length) - 0.5).clamp(0, cells - 1)
    first = places.long()
    return first, (first + 1).clamp(max=cells - 1), (places - first).float()

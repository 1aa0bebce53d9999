"""Proposers: the whole things in an image that an expression may mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from refam.cache import LRUCache
from refam.config import RefAMConfig
from refam.heatmap import Heat, Point, find_points, hot_regions, normalise, without_rivals
from refam.picture import Picture
from refam.refine import agreement, threshold_mask
from refam.sam import Candidate, SegmentAnything
from refam.tiles import Tile, nearest_tile, tiles_of

__all__ = [
    "PROPOSERS",
    "GridProposer",
    "PointProposer",
    "Proposal",
    "Proposer",
    "RegionProposer",
    "Sought",
    "whole_shape",
]

Mask = NDArray[np.bool_]
SAME = 0.5  # part of the smaller of two masks that both hold, beyond which they are of one thing
POINTS_KEPT = 4  # for each image that is kept
GRID = 8  # points on each side: more found nothing else


class Sought(NamedTuple):
    """What is looked for: its name, such as "red mug", and its heat [h, w]."""

    name: str
    heat: Heat


@dataclass(frozen=True)
class Proposal:
    """A whole thing.

    Attributes:
        mask: [h, w] bool over the whole image, at the proposer's own resolution; not empty.
        draw: makes the mask [H, W] bool at the image's size.
    """

    mask: Mask
    draw: Callable[[], Mask]


class Proposer(Protocol):
    """What finds things in an image."""

    def propose(self, picture: Picture, sought: Sequence[Sought]) -> list[Proposal]:
        """Whole things that may be what is sought, or another of its kind, each once; in no order."""
        ...

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        ...


class _Found(NamedTuple):
    """One of Segment Anything's answers on a tile, the IoU that it predicts, and its mask [h, w] bool over the whole
    image."""

    mask: Mask
    predicted_iou: float
    candidate: Candidate
    tile: Tile


class PointProposer:
    """Segment Anything, prompted at the peaks of each heat, one by one; of an elongated image also in the square around
    each. What it answers is kept for some points of each of the last `image_cache` images."""

    def __init__(self, sam: SegmentAnything, config: RefAMConfig) -> None:
        self._sam = sam
        self._config = config
        self._answers: LRUCache[list[_Found]] = LRUCache(POINTS_KEPT * config.image_cache)

    def propose(self, picture: Picture, sought: Sequence[Sought]) -> list[Proposal]:
        """Of each peak's masks the one that agrees best with the heat around it; masks of one thing are merged."""
        found = [each for one in sought for each in self._at_peaks(picture, normalise(one.heat))]
        return [Proposal(each.mask, partial(self._draw, each, picture)) for each in _apart(found)]

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        self._answers.clear()

    def _draw(self, found: _Found, picture: Picture) -> Mask:
        part = found.candidate.full_mask(found.tile.picture.size)
        return found.tile.whole_mask(part, picture.size[::-1])

    def _at_peaks(self, picture: Picture, heat: Heat) -> list[_Found]:
        points = self._points(picture, heat)
        by_place = {(picture.key, point.x, point.y): point for point in points}

        def answer(places: list[tuple[bytes, float, float]]) -> list[list[_Found]]:
            return self._answer(picture, [Point(x, y) for _, x, y in places])

        best = []
        for point, answers in zip(points, self._answers.get_all(list(by_place), answer), strict=True):
            around = without_rivals(heat, point.cell(picture.size, heat.shape))
            rated = [
                (max(each.predicted_iou, 0.0) * agreement(each.mask, around), -n) for n, each in enumerate(answers)
            ]
            if rated:
                best.append(answers[-max(rated)[1]])
        return best

    def _points(self, picture: Picture, heat: Heat) -> list[Point]:
        preset = self._config.preset
        return find_points(heat, picture.size, preset.points, preset.peak_ratio)

    def _answer(self, picture: Picture, points: Sequence[Point]) -> list[list[_Found]]:
        """For each point what Segment Anything finds there, without empty masks."""
        tiles = tiles_of(picture, self._config.preset.tiles)
        answers: list[list[_Found]] = [[] for _ in points]
        for tile in [Tile(picture), *(tiles if len(tiles) > 1 else [])]:
            near = [
                n for n, point in enumerate(points) if tile.length == 1 or nearest_tile(tiles, point.x, point.y) is tile
            ]
            local = [Point(points[n].x - tile.corner[0], points[n].y - tile.corner[1]) for n in near]
            for n, candidates in zip(
                near, self._sam.candidates_of_each(tile.picture, local) if near else [], strict=True
            ):
                for each in candidates:
                    mask = tile.whole_mask(each.coarse, whole_shape(each.coarse.shape, picture, tiles[0]))
                    if mask.any():
                        answers[n].append(_Found(mask, each.predicted_iou, each, tile))
        return answers


class GridProposer(PointProposer):
    """The same at the points of a regular grid, wherever the heat is."""

    def _points(self, picture: Picture, heat: Heat) -> list[Point]:
        width, height = picture.size
        places = (np.arange(GRID) + 0.5) / GRID
        return [Point(float(x * width), float(y * height)) for y in places for x in places]


class RegionProposer:
    """The hot regions of each heat themselves, where there is no Segment Anything."""

    def __init__(self, config: RefAMConfig) -> None:
        self._config = config

    def propose(self, picture: Picture, sought: Sequence[Sought]) -> list[Proposal]:
        """For each peak the connected region above Otsu's threshold that holds it."""
        preset = self._config.preset
        found: list[Proposal] = []
        for heat in (normalise(each.heat) for each in sought):
            regions = hot_regions(heat)
            for point in find_points(heat, picture.size, preset.points, preset.peak_ratio):
                cell = point.cell(picture.size, heat.shape)
                mask = regions == regions[cell] if regions[cell] else regions < 0
                if mask.any() and not any(np.array_equal(mask, each.mask) for each in found):
                    found.append(Proposal(mask, partial(threshold_mask, heat, point, picture.size)))
        return found

    def forget(self) -> None:
        """Nothing is kept."""


def whole_shape(shape: tuple[int, ...], picture: Picture, tile: Tile) -> tuple[int, int]:
    """Of masks of the whole image that are as fine as a tile's, of which the longer side has as many cells as that of
    this shape."""
    if tile.length == 1:
        return shape[0], shape[1]
    longer = round(max(shape) / tile.length)
    shorter = max(1, round(longer * min(picture.size) / max(picture.size)))
    return (shorter, longer) if picture.size[0] > picture.size[1] else (longer, shorter)


def _apart(found: Sequence[_Found]) -> list[_Found]:
    """What was found, best rated by Segment Anything first, without masks that share more than SAME with a better
    one."""
    kept: list[_Found] = []
    for each in sorted(found, key=lambda one: -one.predicted_iou):
        if all((each.mask & other.mask).sum() <= SAME * min(each.mask.sum(), other.mask.sum()) for other in kept):
            kept.append(each)
    return kept


PROPOSERS: dict[str, Callable[[SegmentAnything, RefAMConfig], Proposer]] = {
    "peaks": PointProposer,
    "grid": GridProposer,
    "sam3": PointProposer,  # for what SAM 3 is not asked
}

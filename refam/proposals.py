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

__all__ = ["PointProposer", "Proposal", "Proposer", "RegionProposer", "Sought"]

Mask = NDArray[np.bool_]
SAME = 0.5  # part of the smaller of two masks that both hold, beyond which they are of one thing
POINTS_KEPT = 4  # for each image that is kept


class Sought(NamedTuple):
    """What is looked for: its name, such as "red mug", and its heat [h, w]."""

    name: str
    heat: Heat


@dataclass(frozen=True)
class Proposal:
    """A whole thing.

    Attributes:
        mask: [h, w] bool over the whole image, at the proposer's own resolution; not empty.
        trust: in [0, 1], how sure the proposer is that its outline is right.
        draw: makes the mask [H, W] bool at the image's size.
    """

    mask: Mask
    trust: float
    draw: Callable[[], Mask]


class Proposer(Protocol):
    """What finds things in an image."""

    def propose(self, picture: Picture, sought: Sequence[Sought]) -> list[Proposal]:
        """Whole things that may be what is sought, or another of its kind, each once; in no order."""
        ...

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        ...


class PointProposer:
    """Segment Anything, prompted at the peaks of each heat, one by one. What it answers is kept for some points of each
    of the last `image_cache` images."""

    def __init__(self, sam: SegmentAnything, config: RefAMConfig) -> None:
        self._sam = sam
        self._config = config
        self._answers: LRUCache[list[Candidate]] = LRUCache(POINTS_KEPT * config.image_cache)

    def propose(self, picture: Picture, sought: Sequence[Sought]) -> list[Proposal]:
        """Of each peak's masks the one that agrees best with the heat around it; masks of one thing are merged."""
        found = [candidate for each in sought for candidate in self._at_peaks(picture, normalise(each.heat))]
        return [
            Proposal(each.coarse, float(np.clip(each.predicted_iou, 0, 1)), partial(self._draw, each, picture))
            for each in _apart(found)
        ]

    def _draw(self, candidate: Candidate, picture: Picture) -> Mask:
        return self._sam.full_mask(candidate, picture.size)

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        self._answers.clear()

    def _at_peaks(self, picture: Picture, heat: Heat) -> list[Candidate]:
        preset = self._config.preset
        points = find_points(heat, picture.size, preset.points, preset.peak_ratio)
        by_place = {(picture.key, point.x, point.y): point for point in points}

        def answer(places: list[tuple[bytes, float, float]]) -> list[list[Candidate]]:
            return self._sam.candidates_of_each(picture, [Point(x, y) for _, x, y in places])

        found = []
        for point, candidates in zip(points, self._answers.get_all(list(by_place), answer), strict=True):
            around = without_rivals(heat, point.cell(picture.size, heat.shape))
            fitting = [
                (max(each.predicted_iou, 0.0) * agreement(each.coarse, around), number, each)
                for number, each in enumerate(candidates)
                if each.coarse.any()
            ]
            if fitting:
                found.append(max(fitting)[2])
        return found


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
                    found.append(Proposal(mask, 1.0, partial(threshold_mask, heat, point, picture.size)))
        return found

    def forget(self) -> None:
        """Nothing is kept."""


def _apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, those that SAM rates best first, without those that share more than SAME with a better one."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda each: -each.predicted_iou):
        mask = candidate.coarse
        if all((mask & other.coarse).sum() <= SAME * min(mask.sum(), other.coarse.sum()) for other in kept):
            kept.append(candidate)
    return kept

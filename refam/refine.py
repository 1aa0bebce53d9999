"""Masks and heat: how well they agree, and the mask of the heat alone."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.measure import label
from torch.nn import functional

from refam.clicks import Clicks, box_fit
from refam.heatmap import Heat, Point
from refam.sam import Candidate

__all__ = ["agreement", "best_clicked", "overlap", "score", "threshold_mask", "to_grid"]

Mask = NDArray[np.bool_]
FINEST = 1024  # pixels; a map has a few dozen cells on a side


def best_clicked(
    candidates: Sequence[Candidate], clicks: Clicks, size: tuple[int, int], heat: Heat | None
) -> Candidate:
    """Of the candidates that break the fewest clicks, the one with the highest product of the IoU that SAM predicts,
    its fit to the box, if any, and its agreement with the heat.

    size: the image's (width, height), which clicks and box refer to.
    heat: None where a text has no say.
    """

    def faults(candidate: Candidate) -> int:
        mask = candidate.mask
        return sum(mask[point.cell(size, mask.shape)] != point.on_target for point in clicks.points)

    def rating(candidate: Candidate) -> float:
        value = max(candidate.predicted_iou, 0.0)
        if clicks.box is not None:
            value *= box_fit(candidate.mask, clicks.box, size)
        if heat is not None:
            value *= agreement(candidate.mask, heat)
        return value

    fewest = min(map(faults, candidates))
    return max((candidate for candidate in candidates if faults(candidate) == fewest), key=rating)


def agreement(mask: Mask, heat: Heat) -> float:
    """Pearson's correlation of a mask [H, W] with the heat [h, w], on the heat's grid, in [-1, 1]: how well the mask
    covers the heat. It is the difference of the mean heat inside and outside, times sqrt(p (1 - p)) / std(heat) for a
    mask of area p, so that a fragment of the target does not win."""
    cover = to_grid(mask, heat.shape)
    spread = cover.std() * heat.std()
    covariance = ((cover - cover.mean()) * (heat - heat.mean())).mean()
    return float(covariance / spread) if spread > 0 else 0.0


def score(mask: Mask, heat: Heat, predicted_iou: float = 1.0) -> float:
    """Confidence in [0, 1]: the correlation of mask and heat, 0 if negative, times the IoU that SAM predicts."""
    return float(np.clip(agreement(mask, heat), 0, 1) * np.clip(predicted_iou, 0, 1))


def threshold_mask(heat: Heat, point: Point, size: tuple[int, int]) -> Mask:
    """A mask [H, W] without SAM, for an image of size (width, height): the connected region that holds the point, where
    the heat, stretched bilinearly, reaches Otsu's threshold (or its value at the point, if lower). Threshold and region
    are found at FINEST pixels on the longer side at most."""
    shape = size[::-1]
    reduced = min(1.0, FINEST / max(size))
    fine = _stretched(heat, (max(1, round(shape[0] * reduced)), max(1, round(shape[1] * reduced))))
    cell = point.cell(size, fine.shape)
    level = min(threshold_otsu(fine) if fine.max() > fine.min() else fine.max(), fine[cell])
    regions = label(fine >= level, connectivity=1)
    mask: Mask = regions == regions[cell]
    if reduced == 1:
        return mask
    alone = np.where(mask | (regions == 0), fine, fine.min() - 1).astype(np.float32)
    large: Mask = _stretched(alone, shape) >= level
    return large


def _stretched(heat: Heat, shape: tuple[int, int]) -> Heat:
    """A map at another shape, bilinearly."""
    stretched: Heat = functional.interpolate(torch.from_numpy(heat)[None, None], shape, mode="bilinear")[0, 0].numpy()
    return stretched


def overlap(one: Mask, other: Mask) -> float:
    """IoU of two masks of one shape, of which one at least is not empty."""
    shared = np.count_nonzero(one & other)
    return shared / (np.count_nonzero(one) + np.count_nonzero(other) - shared)


def to_grid(mask: Mask, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The part of each heat cell that the mask covers, [h, w] in [0, 1]."""
    fine = torch.from_numpy(mask)[None, None].float()
    coarse: NDArray[np.float32] = functional.interpolate(fine, size=shape, mode="area")[0, 0].numpy()
    return coarse

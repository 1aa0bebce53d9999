"""Heatmap and SAM's candidates -> one mask and its score."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.measure import label
from torch.nn import functional

from refam.clicks import Clicks, box_fit
from refam.config import RefAMConfig
from refam.heatmap import Heat, Point, without_rivals
from refam.picture import Picture
from refam.sam import Candidate, SegmentAnything

__all__ = ["agreement", "best_candidate", "best_clicked", "prompts", "propose", "score", "threshold_mask"]

Mask = NDArray[np.bool_]
FINEST = 1024  # pixels; a map has a few dozen cells on a side


def prompts(points: Sequence[Point], config: RefAMConfig) -> list[list[Point]]:
    """Sets of points to prompt SAM with, each led by the chosen point, the first: that point alone; with the further
    peaks on the target; and with those on rivals as negative points."""
    chosen, *others = points
    on_target = [point for point in others if point.on_target]
    on_rivals = [point for point in others if not point.on_target]
    sets = [[chosen]]
    if on_target:
        sets.append([chosen, *on_target])
    if on_rivals and config.negative_points:
        sets.append([chosen, *on_rivals])
    return sets


def propose(picture: Picture, points: Sequence[Point], sam: SegmentAnything, config: RefAMConfig) -> list[Candidate]:
    """SAM's candidates for every prompt, without empty masks and without masks that miss the chosen point; those of the
    chosen point alone come first. If none holds the chosen point, all that are not empty; that may be none."""
    proposed = [candidate for prompt in prompts(points, config) for candidate in sam.candidates(picture, prompt)]
    found = [candidate for candidate in proposed if candidate.mask.any()]
    return [each for each in found if each.mask[points[0].cell(picture.size, each.mask.shape)]] or found


def best_candidate(candidates: Sequence[Candidate], focus: Heat, config: RefAMConfig) -> Candidate:
    """The candidate with the highest agreement with the heat, times the IoU that SAM predicts for it to the power of
    `iou_weight`. With `choose_by_heatmap` off, the one that SAM itself rates best."""
    if not config.choose_by_heatmap:
        return max(candidates, key=lambda candidate: candidate.predicted_iou)
    heat = without_rivals(focus) if config.suppress_rivals else focus

    def rating(candidate: Candidate) -> float:
        trust: float = max(candidate.predicted_iou, 0.0) ** config.iou_weight
        return trust * agreement(candidate.mask, heat, config.agreement)

    return max(candidates, key=rating)


def best_clicked(
    candidates: Sequence[Candidate], clicks: Clicks, size: tuple[int, int], heat: Heat | None, config: RefAMConfig
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
        if heat is not None and config.choose_by_heatmap:
            value *= agreement(candidate.mask, heat, config.agreement)
        return value

    fewest = min(map(faults, candidates))
    return max((candidate for candidate in candidates if faults(candidate) == fewest), key=rating)


def agreement(mask: Mask, heat: Heat, rule: str = "correlation") -> float:
    """How well a mask [H, W] covers the heat [h, w], compared on the heat's grid.

    "contrast" is the mean heat inside minus the mean heat outside. "correlation" is Pearson's, in [-1, 1]: the contrast
    times sqrt(p (1 - p)) / std(heat) for a mask of area p, so that a fragment of the target does not win.
    """
    cover = _to_grid(mask, heat.shape)
    inside, outside = cover.sum(), (1 - cover).sum()
    if inside == 0 or outside == 0:
        return 0.0
    if rule == "contrast":
        return float((cover * heat).sum() / inside - ((1 - cover) * heat).sum() / outside)
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


def _to_grid(mask: Mask, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The part of each heat cell that the mask covers, [h, w] in [0, 1]."""
    fine = torch.from_numpy(mask)[None, None].float()
    coarse: NDArray[np.float32] = functional.interpolate(fine, size=shape, mode="area")[0, 0].numpy()
    return coarse

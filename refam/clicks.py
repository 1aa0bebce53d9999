"""What somebody points at: clicks and a box, and what they leave of the heat that a text found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refam.heatmap import Heat, Point, hot_regions

__all__ = ["Box", "Clicks", "box_fit", "click_prompts", "clicked_focus"]


@dataclass(frozen=True)
class Box:
    """A rectangle in image pixels, from its upper left corner to its lower right one."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> Point:
        """The point in its middle."""
        return Point((self.left + self.right) / 2, (self.top + self.bottom) / 2)


@dataclass(frozen=True)
class Clicks:
    """What was pointed at.

    Attributes:
        points: in image pixels; the mask holds those that are `on_target`, and none of the others.
        box: a rectangle around what the mask shall hold.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None

    @property
    def positive(self) -> list[Point]:
        """The points that the mask holds."""
        return [point for point in self.points if point.on_target]

    @property
    def decide(self) -> bool:
        """Whether they name a thing without the help of a text; negative points alone name none."""
        return bool(self.positive) or self.box is not None


def clicked_focus(focus: Heat, clicks: Clicks, size: tuple[int, int]) -> Heat | None:
    """The focus [h, w] of a text with every hot region that the clicks do not mean at the level of the background.
    None if the clicks mean none: then the text has no say.

    Positive points mean the regions they lie in, a box those that reach into it; negative points rule theirs out,
    unless that leaves none. Without a positive point, the hottest region that is left is meant.
    size: the image's (width, height).
    """
    regions = hot_regions(focus)
    meant = regions > 0
    if clicks.box is not None:
        meant &= _inside(clicks.box, focus.shape, size)
    if clicks.positive:
        meant &= np.isin(regions, _regions_at(clicks.positive, regions, size))
    else:
        negative = [point for point in clicks.points if not point.on_target]
        left = meant & ~np.isin(regions, _regions_at(negative, regions, size))
        meant = left if left.any() else meant
        meant &= regions == regions.flat[np.where(meant, focus, -np.inf).argmax()]
    if not meant.any():
        return None
    background = np.median(focus[regions == 0])
    return np.where((regions > 0) & ~meant, background, focus).astype(np.float32)


def click_prompts(clicks: Clicks, peaks: Sequence[Point]) -> list[Clicks]:
    """What to prompt SAM with: the clicks as they are, if they name a thing; else joined by the text's peaks, of which
    the highest comes first. A box is also tried as a point in it, the peak or its centre: not every SAM knows boxes."""
    if not clicks.decide:
        return [Clicks((*clicks.points, *some)) for some in (peaks[:1], peaks) if some][: len(peaks)]
    if clicks.box is None:
        return [clicks]
    return [clicks, Clicks((*clicks.points, peaks[0] if peaks else clicks.box.centre))]


def box_fit(mask: NDArray[np.bool_], box: Box, size: tuple[int, int]) -> float:
    """How well the rectangle around a mask [h, w] over an image of size (width, height) agrees with the box: their IoU,
    in [0, 1]."""
    if not mask.any():
        return 0.0
    across, down = size[0] / mask.shape[1], size[1] / mask.shape[0]  # image pixels to a cell
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top, right, bottom = across * columns[0], down * rows[0], across * (columns[-1] + 1), down * (rows[-1] + 1)
    width = max(0.0, min(right, box.right) - max(left, box.left))
    height = max(0.0, min(bottom, box.bottom) - max(top, box.top))
    areas = (right - left) * (bottom - top) + (box.right - box.left) * (box.bottom - box.top)
    return float(width * height / (areas - width * height))


def _regions_at(points: Sequence[Point], regions: NDArray[np.intp], size: tuple[int, int]) -> list[int]:
    """Numbers of the hot regions under the points."""
    found = [int(regions[point.cell(size, regions.shape)]) for point in points]
    return [number for number in found if number > 0]


def _inside(box: Box, shape: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The cells [h, w] that the box touches."""
    (height, width), (columns, rows) = shape, size
    left, right = box.left / columns * width, box.right / columns * width
    top, bottom = box.top / rows * height, box.bottom / rows * height
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    touched: NDArray[np.bool_] = (x + 1 > left) & (x < right) & (y + 1 > top) & (y < bottom)
    return touched

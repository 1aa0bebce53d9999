"""Token maps -> heatmap -> points: filter, combine, bias, peaks. Maps are [h, w] arrays, row 0 on top."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label

from refam.config import RefAMConfig
from refam.phrase import Direction, Phrase
from refam.text import Role, Token

__all__ = ["Point", "bias", "combine", "find_points", "hot_regions", "keep", "normalise", "without_rivals"]

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class Point:
    """A place in the image, in pixels from its upper left corner, and whether the target is there or a rival."""

    x: float
    y: float
    on_target: bool = True

    def cell(self, size: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
        """(row, column) of the cell that it lies in, of a grid [h, w] over an image of size (width, height)."""
        height, width = shape
        return (
            min(int(self.y / size[1] * height), height - 1),
            min(int(self.x / size[0] * width), width - 1),
        )


def keep(tokens: Sequence[Token], phrase: Phrase, config: RefAMConfig) -> list[bool]:
    """Which tokens' maps make the heatmap.

    The filters drop roles, sinks and words beyond the noun phrase. Should nothing be left, the sinks come back, then
    the words beyond the noun phrase, then the words for sides.
    """
    dropped = {
        Role.STOP: config.filter_stop_words,
        Role.SIDE: config.filter_sides,
        Role.END: config.filter_ends,
        Role.BARE: config.filter_ends,
        Role.MAGNET: config.filter_magnets,
    }
    by_role = [not dropped.get(token.role, False) for token in tokens]
    not_sink = [not (config.filter_sinks and token.sink) for token in tokens]
    in_phrase = [not config.noun_phrase or token.word is None or token.word in phrase.target for token in tokens]
    attempts = (
        [all(flags) for flags in zip(by_role, not_sink, in_phrase, strict=True)],
        [all(flags) for flags in zip(by_role, in_phrase, strict=True)],
        by_role,
        [token.role in (Role.WORD, Role.SIDE) for token in tokens],
    )
    return next((kept for kept in attempts if any(kept)), [True] * len(tokens))


def combine(maps: Heat, config: RefAMConfig) -> Heat:
    """Heatmap [h, w] of the kept tokens' maps [N, h, w]: their sum, or their geometric mean. Several maps are smoothed
    before, so that words which look at different parts of one thing meet."""
    preset = config.preset
    if preset.smoothing > 0 and len(maps) > 1:
        maps = gaussian(maps, preset.smoothing, mode="nearest", channel_axis=0).astype(np.float32)
    if preset.combine == "sum":
        total: Heat = maps.sum(axis=0)
        return total
    tiny = np.finfo(np.float32).tiny  # softmaxes may underflow
    geometric_mean: Heat = np.exp(np.log(maps + tiny).mean(axis=0))
    return geometric_mean


def normalise(heat: Heat) -> Heat:
    """Stretch to [0, 1]; a constant map becomes 0 everywhere."""
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low) if high > low else np.zeros_like(heat)


def bias(heatmap: Heat, maps: Heat, tokens: Sequence[Token], phrase: Phrase, config: RefAMConfig) -> Heat:
    """The heatmap as the choice of the point sees it, in [0, 1]: stretched, and multiplied by a ramp for each position
    and for the relation that the expression names. maps: [N, h, w], the N tokens' maps."""
    focus = normalise(heatmap)
    if config.spatial_bias:
        for direction in phrase.positions:
            focus = focus * _side_ramp(direction, phrase.positions, heatmap.shape)
    if config.relation_bias and phrase.relation is not None:
        of_anchor = [token.role is Role.WORD and token.word in phrase.relation.anchor for token in tokens]
        if any(of_anchor):
            anchor = np.unravel_index(combine(maps[of_anchor], config).argmax(), heatmap.shape)
            focus = focus * _relation_ramp(phrase.relation.direction, anchor, heatmap.shape)
    return focus.astype(np.float32)


def _axes(shape: tuple[int, ...]) -> tuple[Heat, Heat]:
    """Cell centres from 0 (left, top) to 1 (right, bottom): x as [1, w], y as [h, 1]."""
    height, width = shape
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    return x[None, :].astype(np.float32), y[:, None].astype(np.float32)


def _side_ramp(direction: Direction, positions: Sequence[Direction], shape: tuple[int, ...]) -> Heat:
    """Weight in [0, 1] that falls linearly with the distance from a side of the picture, or from its middle. Beside
    another position, "middle" speaks of the axis that the other leaves open."""
    x, y = _axes(shape)
    match direction:
        case Direction.LEFT:
            return 1 - x
        case Direction.RIGHT:
            return x
        case Direction.TOP:
            return 1 - y
        case Direction.BOTTOM:
            return y
    ramp = np.ones(shape, dtype=np.float32)
    if not {Direction.LEFT, Direction.RIGHT} & set(positions):
        ramp = ramp * (1 - np.abs(2 * x - 1))
    if not {Direction.TOP, Direction.BOTTOM} & set(positions):
        ramp = ramp * (1 - np.abs(2 * y - 1))
    return ramp


def _relation_ramp(direction: Direction, anchor: Sequence[np.intp], shape: tuple[int, ...]) -> Heat:
    """Weight in [0, 1], 1/2 at the anchor's cell (row, column), rising linearly towards the side meant; for "near",
    1 at the anchor and falling with the distance from it."""
    x, y = _axes(shape)
    row, column = anchor
    dx, dy = x - x[0, column], y - y[row, 0]
    ramps: dict[Direction, Heat] = {
        Direction.LEFT: 0.5 - dx,
        Direction.RIGHT: 0.5 + dx,
        Direction.TOP: 0.5 - dy,
        Direction.BOTTOM: 0.5 + dy,
        Direction.NEAR: 1 - np.hypot(dx, dy),
    }
    return ramps[direction].clip(0, 1)


def hot_regions(focus: Heat) -> NDArray[np.intp]:
    """Connected regions above Otsu's threshold, numbered from 1; 0 elsewhere. Empty where the map is constant."""
    if focus.max() <= focus.min():
        return np.zeros(focus.shape, dtype=np.intp)
    regions: NDArray[np.intp] = label(focus > threshold_otsu(focus), connectivity=1)
    return regions


def without_rivals(focus: Heat) -> Heat:
    """The focus with every hot region but the highest point's at the level of the background, its median."""
    regions = hot_regions(focus)
    rival = (regions > 0) & (regions != regions.flat[focus.argmax()])
    return np.where(rival, np.median(focus[regions == 0]), focus).astype(np.float32)


def find_points(focus: Heat, size: tuple[int, int], count: int, ratio: float) -> list[Point]:
    """Up to `count` peaks as points in an image of size (width, height), the highest first, each at its cell's centre.

    Further peaks are local maxima of at least `ratio` times the highest, `on_target` if they lie in its hot region.
    """
    height, width = focus.shape
    best = np.unravel_index(focus.argmax(), focus.shape)
    others = peak_local_max(focus, min_distance=1, threshold_abs=ratio * float(focus.max()), exclude_border=False)
    regions = hot_regions(focus)
    cells = [best, *(cell for cell in others if tuple(cell) != tuple(best))]
    return [
        Point(
            x=float((column + 0.5) / width * size[0]),
            y=float((row + 0.5) / height * size[1]),
            on_target=bool(regions[row, column] == regions[best]),
        )
        for row, column in cells[:count]
    ]

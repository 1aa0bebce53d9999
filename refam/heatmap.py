"""Token maps -> heatmap -> points: filter, combine, bias, peaks. Maps are [h, w] arrays, row 0 on top."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label

from refam.config import RefAMConfig
from refam.language.phrase import Direction, Phrase, Thing
from refam.layout import Extent, relation_weight, side_weight
from refam.text import Role, Token

__all__ = [
    "Heat",
    "Point",
    "bias",
    "combine",
    "find_points",
    "heat_of",
    "hot_regions",
    "keep",
    "normalise",
    "without_rivals",
]

Heat = NDArray[np.float32]
PEAKS_ACROSS = 16  # that have room side by side: on a finer grid, one thing has many local maxima


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
    """Which tokens' maps make the target's heatmap.

    The filters drop roles, sinks and words beyond the noun phrase; words that the model does not know, those that say
    what the target is not, and other names are always dropped. Should nothing be left, the sinks come back.
    """
    dropped = {
        Role.UNKNOWN: True,
        Role.STOP: config.filter_stop_words,
        Role.SIDE: config.filter_sides,
        Role.SIZE: config.preset.sizes_by_area,
        Role.END: config.filter_ends,
        Role.BARE: config.filter_ends,
        Role.MAGNET: config.filter_magnets,
        Role.OTHER_NAME: True,
    }

    def in_phrase(token: Token) -> bool:
        if token.word is None or not config.noun_phrase:
            return True
        return token.word in (phrase.target.words if token.role is Role.WORD else phrase.head)

    flags = [
        not dropped.get(token.role, False) and in_phrase(token) and token.word not in phrase.target.lacking
        for token in tokens
    ]
    without_sinks = [
        flag and not (config.filter_sinks and token.sink) for flag, token in zip(flags, tokens, strict=True)
    ]
    return without_sinks if any(without_sinks) else flags


def heat_of(words: Set[int], maps: Heat, tokens: Sequence[Token], config: RefAMConfig) -> Heat | None:
    """Heatmap [h, w] of some words, by their indices; None if the model knows none of them. maps: [N, h, w], the N
    tokens' maps."""
    kept = [token.role is Role.WORD and token.word in words for token in tokens]
    return combine(maps[kept], config) if any(kept) else None


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


def bias(heatmap: Heat, maps: Heat, tokens: Sequence[Token], thing: Thing, config: RefAMConfig) -> Heat:
    """A thing's heatmap as the choice of its point sees it, in [0, 1]: stretched, and multiplied by a ramp for each
    side and relation that the expression names. maps: [N, h, w], the N tokens' maps."""
    height, width = heatmap.shape
    x = ((np.arange(width) + 0.5) / width).astype(np.float32)[None, :]
    y = ((np.arange(height) + 0.5) / height).astype(np.float32)[:, None]
    focus = normalise(heatmap)
    if config.spatial_bias:
        sides = [rank.by for rank in thing.ranks if isinstance(rank.by, Direction)]
        for rank in thing.ranks:
            if isinstance(rank.by, Direction):
                focus = focus * _perhaps_not(side_weight(rank.by, x, y, sides), rank.negated)
    if config.preset.relation_bias:
        for relation in thing.relations:
            anchors = [place for anchor in relation.anchors for place in _peak(anchor, maps, tokens, config)]
            if anchors:
                focus = focus * _perhaps_not(relation_weight(relation.direction, x, y, anchors), relation.negated)
    return focus.astype(np.float32)


def _perhaps_not(weight: Heat, negated: bool) -> Heat:
    return 1 - weight if negated else weight


def _peak(anchor: Thing, maps: Heat, tokens: Sequence[Token], config: RefAMConfig) -> list[Extent]:
    """The cell where an anchor is, if the model knows its name."""
    heat = heat_of(anchor.words, maps, tokens, config)
    if heat is None:
        return []
    row, column = np.unravel_index(bias(heat, maps, tokens, anchor, config).argmax(), heat.shape)
    x, y = (float(column) + 0.5) / heat.shape[1], (float(row) + 0.5) / heat.shape[0]
    return [Extent(x, y, x, y)]


def hot_regions(focus: Heat) -> NDArray[np.intp]:
    """Connected regions above Otsu's threshold, numbered from 1; 0 elsewhere. Empty where the map is constant."""
    if focus.max() <= focus.min():
        return np.zeros(focus.shape, dtype=np.intp)
    regions: NDArray[np.intp] = label(focus > threshold_otsu(focus), connectivity=1)
    return regions


def without_rivals(focus: Heat, cell: tuple[int, int]) -> Heat:
    """The focus with every hot region but that of a cell (row, column) at the level of the background, its median."""
    regions = hot_regions(focus)
    rival = (regions > 0) & (regions != regions[cell])
    return np.where(rival, np.median(focus[regions == 0]), focus).astype(np.float32)


def find_points(focus: Heat, size: tuple[int, int], count: int, ratio: float) -> list[Point]:
    """Up to `count` peaks as points in an image of size (width, height), the highest first, each at its cell's centre.

    Further peaks, apart by 1 / PEAKS_ACROSS of the shorter side, are local maxima of at least `ratio` times the
    highest, `on_target` if they lie in its hot region.
    """
    height, width = focus.shape
    best = np.unravel_index(focus.argmax(), focus.shape)
    apart = max(1, min(focus.shape) // PEAKS_ACROSS)
    others = peak_local_max(focus, min_distance=apart, threshold_abs=ratio * float(focus.max()), exclude_border=False)
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

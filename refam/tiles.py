"""Images much wider than high, or higher than wide, are read in overlapping squares: squashed to one they lose most."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refam.picture import ELONGATED, Picture

__all__ = ["Tile", "joined_maps", "nearest_tile", "tiles_of"]

STEP = 0.75  # of a tile's length, from one to the next at most


@dataclass(frozen=True)
class Tile:
    """A part of an image, whole across its shorter side.

    Attributes:
        picture: the part.
        start, length: where it lies along the longer side, in fractions of it.
        corner: (x, y) of its upper left corner in the whole image's pixels.
    """

    picture: Picture
    start: float = 0.0
    length: float = 1.0
    corner: tuple[float, float] = (0.0, 0.0)

    def distance(self, x: float, y: float) -> float:
        """Of a place in the whole image from the tile's middle, in pixels."""
        (left, upper), (width, height) = self.corner, self.picture.size
        return math.hypot(x - left - width / 2, y - upper - height / 2)

    def whole_mask(self, part: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """A mask [h, w] of the tile as one [H, W] of the whole image, of any sizes."""
        if self.length == 1 and part.shape == shape:
            return part
        axis = int(shape[1] > shape[0])
        ends = [slice(0, length) for length in shape]
        ends[axis] = slice(round(self.start * shape[axis]), round((self.start + self.length) * shape[axis]))
        whole = np.zeros(shape, dtype=bool)
        rows, columns = (
            ((np.arange(end.stop - end.start) + 0.5) * cells / (end.stop - end.start)).astype(int)
            for end, cells in zip(ends, part.shape, strict=True)
        )
        whole[ends[0], ends[1]] = part[rows][:, columns]
        return whole


def tiles_of(picture: Picture, most: int) -> list[Tile]:
    """The image itself up to ELONGATED times as long as wide, else overlapping squares; longer ones where so many do
    not suffice."""
    width, height = picture.size
    elongation = max(width, height) / min(width, height)
    if elongation <= ELONGATED or most == 1:
        return [Tile(picture)]
    count = min(most, 1 + math.ceil((elongation - 1) / STEP))
    length = max(1 / elongation, 1 / (1 + STEP * (count - 1)))
    starts = np.linspace(0, 1 - length, count)
    return [_tile(picture, float(start), length) for start in starts]


def nearest_tile(tiles: Sequence[Tile], x: float, y: float) -> Tile:
    """The one whose middle a place in the whole image is nearest to."""
    return min(tiles, key=lambda tile: tile.distance(x, y))


def joined_maps(picture: Picture, most: int, read: Callable[[Picture], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Maps [N, h, w] of the whole image, from those [N, a, b] of its tiles, which `read` makes; where tiles overlap,
    their mean."""
    tiles = tiles_of(picture, most)
    maps = [read(tile.picture) for tile in tiles]
    if len(tiles) == 1:
        return maps[0]
    axis = 2 if picture.size[0] > picture.size[1] else 1
    cells = maps[0].shape[axis]
    shape = list(maps[0].shape)
    shape[axis] = round(cells / tiles[0].length)
    total, times = np.zeros(shape, dtype=np.float32), np.zeros(shape[axis], dtype=np.float32)
    for tile, part in zip(tiles, maps, strict=True):
        first = min(round(tile.start * shape[axis]), shape[axis] - cells)
        place = slice(first, first + cells)
        np.moveaxis(total, axis, 0)[place] += np.moveaxis(part, axis, 0)
        times[place] += 1
    np.moveaxis(total, axis, 0)[...] /= times[:, None, None]
    return total


def _tile(picture: Picture, start: float, length: float) -> Tile:
    (width, height), (left, upper, right, lower) = picture.size, picture.box
    key = picture.key + f"{start:.6f}+{length:.6f}".encode()
    if width > height:
        across = right - left
        box = (left + start * across, upper, left + (start + length) * across, lower)
        size, corner = (max(1, round(length * width)), height), (start * width, 0.0)
    else:
        down = lower - upper
        box = (left, upper + start * down, right, upper + (start + length) * down)
        size, corner = (width, max(1, round(length * height))), (0.0, start * height)
    return Tile(replace(picture, size=size, box=box, key=key), start, length, corner)

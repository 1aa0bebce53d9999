"""Where things lie, as weights: how well a place fits what an expression says of it.

Places are fractions of the picture's width and height, x from the left and y from the top. Weights are in [0, 1].
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refam.language.phrase import Direction

__all__ = ["Extent", "relation_weight", "side_weight"]

Places = NDArray[np.floating[Any]]
REACH = 4.0  # inverse of how far beyond another thing's sides, in fractions of the picture, one is still "inside" it

NO_DISTANCE = 1e-6


class Extent(NamedTuple):
    """The rectangle that holds a thing."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of its middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def side_weight(direction: Direction, x: Places, y: Places, beside: Sequence[Direction] = ()) -> Places:
    """A ramp that falls linearly from a side of the picture to the opposite one, or from its middle.

    beside: all sides that are named together; beside another one, "middle" speaks of the axis that the other leaves
    open. x and y may be of shapes that broadcast.
    """
    if direction is not Direction.MIDDLE:
        ramps = {Direction.LEFT: 1 - x, Direction.RIGHT: x, Direction.TOP: 1 - y, Direction.BOTTOM: y}
        return ramps[direction] + 0 * x + 0 * y
    weight: Places = 1 + 0 * x + 0 * y
    if not {Direction.LEFT, Direction.RIGHT} & set(beside):
        weight = weight * (1 - np.abs(2 * x - 1))
    if not {Direction.TOP, Direction.BOTTOM} & set(beside):
        weight = weight * (1 - np.abs(2 * y - 1))
    return weight


def relation_weight(direction: Direction, x: Places, y: Places, anchors: Sequence[Extent]) -> Places:
    """How well places fit a relation to the anchors, at least one: for sides from 1 straight that way to 0 the other
    way, as seen from an anchor's middle; for nearness 1 within an anchor, falling with the distance from it; for
    "between" 1 halfway. What is behind stands higher in a picture, and what is in front lower."""
    if direction is Direction.BETWEEN:
        middle_x, middle_y = np.mean([anchor.centre for anchor in anchors], axis=0)
        halfway: Places = np.clip(1 - np.hypot(x - middle_x, y - middle_y), 0, 1)
        return halfway
    weight: Places = 1 + 0 * x + 0 * y
    for anchor in anchors:
        weight = weight * np.clip(_to_one(direction, x, y, anchor), 0, 1)
    return weight


def _to_one(direction: Direction, x: Places, y: Places, anchor: Extent) -> Places:
    centre_x, centre_y = anchor.centre
    distance = np.hypot(
        np.maximum(np.maximum(anchor.left - x, x - anchor.right), 0),
        np.maximum(np.maximum(anchor.top - y, y - anchor.bottom), 0),
    )
    away = np.maximum(np.hypot(x - centre_x, y - centre_y), NO_DISTANCE)
    weights: dict[Direction, Places] = {
        Direction.LEFT: (1 + (centre_x - x) / away) / 2,
        Direction.RIGHT: (1 + (x - centre_x) / away) / 2,
        Direction.TOP: (1 + (centre_y - y) / away) / 2,
        Direction.BOTTOM: (1 + (y - centre_y) / away) / 2,
        Direction.NEAR: 1 - distance,
        Direction.ON: 1 - distance,
        Direction.FAR: distance,
        Direction.INSIDE: 1 - REACH * distance,
        Direction.OUTSIDE: REACH * distance,
        Direction.BEHIND: (1 - distance) * (0.5 + centre_y - y),
        Direction.IN_FRONT: (1 - distance) * (0.5 + y - centre_y),
    }
    return weights[direction]

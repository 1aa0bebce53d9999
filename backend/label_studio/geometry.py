"""Shapes as Label Studio gives them."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["ellipse_extremes", "rectangle_corners"]


def rectangle_corners(value: Mapping[str, Any], turn: float, aspect: float) -> list[tuple[float, float]]:
    """The four corners (x, y) of a rectangle, in percent of the image's width and height, one after the other.

    value: its x, y, width and height, in percent.
    turn: degrees, clockwise about its upper left corner.
    aspect: the image's width over its height, since it is turned in pixels.
    """
    angle = math.radians(turn)
    along = value["width"] * math.cos(angle), value["width"] * math.sin(angle) * aspect
    down = -value["height"] * math.sin(angle) / aspect, value["height"] * math.cos(angle)
    steps = [(0.0, 0.0), along, (along[0] + down[0], along[1] + down[1]), down]
    return [(value["x"] + x, value["y"] + y) for x, y in steps]


def ellipse_extremes(value: Mapping[str, Any], turn: float, aspect: float) -> list[tuple[float, float]]:
    """The upper left and lower right corner (x, y) of the upright rectangle around an ellipse, in percent of the image.

    value: its centre x, y and its radiusX and radiusY, each in percent of the side that it lies along.
    turn: degrees, clockwise about its centre.
    aspect: the image's width over its height, since it is turned in pixels.
    """
    angle = math.radians(turn)
    across, down = value["radiusX"] * aspect, value["radiusY"]  # both in percent of the height
    half_width = math.hypot(across * math.cos(angle), down * math.sin(angle)) / aspect
    half_height = math.hypot(across * math.sin(angle), down * math.cos(angle))
    x, y = value["x"], value["y"]
    return [(x - half_width, y - half_height), (x + half_width, y + half_height)]

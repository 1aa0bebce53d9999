"""Pictures that explain a result. Every function returns a matplotlib Figure; `save` writes it. No global state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from refam.heatmap import Point
from refam.pipeline import Grounding, Segmentation
from refam.sinks import shares
from refam.text import Role, Token
from refam.tint import tinted

__all__ = ["explanation", "overlay", "save"]

PANEL = 2.4  # inches
TITLE = 0.4  # inches
COLUMNS = 7
HEAT_COLOURS = "magma"
MASK_COLOUR = (0, 191, 255)
MASK_OPACITY = 0.55
ROLE_COLOURS = {
    Role.WORD: "tab:green",
    Role.SIDE: "tab:olive",
    Role.SIZE: "tab:olive",
    Role.UNKNOWN: "tab:red",
    Role.STOP: "tab:gray",
    Role.MAGNET: "tab:pink",
    Role.END: "tab:gray",
    Role.BARE: "tab:gray",
}


def overlay(
    image: Image.Image, expression: str, grounding: Grounding | None, mask: NDArray[np.bool_], score: float
) -> Figure:
    """One row: input, heatmap with the points if the transformer ran, mask [H, W] with its score."""
    figure, axes = _grid(1, 3 if grounding else 2, 1.5 * PANEL, image)
    picture = np.array(image.convert("RGB"))
    _show_picture(axes[0], picture, "input")
    if grounding:
        _show_heat(axes[1], picture, grounding.heatmap, "heatmap and points", grounding.points)
    _show_mask(axes[-1], picture, mask, f"mask, score {score:.2f}")
    figure.suptitle(f"“{expression}”")
    return figure


def explanation(
    image: Image.Image, expression: str, grounding: Grounding, result: Segmentation, without_magnets: Grounding
) -> Figure:
    """The whole way from words to mask: input, heatmap without and with magnets, biased heatmap, mask; below, every
    token's map with its role and share, sinks marked, kept tokens framed.

    without_magnets: the same expression's grounding with no magnets appended.
    """
    rows = 1 + -(-len(grounding.tokens) // COLUMNS)
    figure, axes = _grid(rows, COLUMNS, PANEL, image)
    picture = np.array(image.convert("RGB"))
    _show_picture(axes[0], picture, "input")
    _show_heat(axes[1], picture, without_magnets.heatmap, "heatmap without magnets", without_magnets.points[:1])
    _show_heat(axes[2], picture, grounding.heatmap, "heatmap", grounding.points[:1])
    _show_heat(axes[3], picture, grounding.focus, "biased heatmap, points", grounding.points)
    _show_mask(axes[4], picture, result.mask, f"mask, score {result.score:.2f}")
    _list_marks(axes[5])
    parts = zip(grounding.tokens, grounding.maps, shares(grounding.maps), strict=True)
    for panel, (token, token_map, share) in zip(axes[COLUMNS:], parts, strict=False):
        _show_token(panel, picture, token, token_map, share)
    figure.suptitle(f"“{expression}”")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, and make the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _grid(rows: int, columns: int, width: float, image: Image.Image) -> tuple[Figure, list[Axes]]:
    """Panels of a width in inches, as high as the image and its title need."""
    height = width * float(np.clip(image.height / image.width, 0.3, 3)) + TITLE
    figure = Figure(figsize=(columns * width, rows * height + TITLE), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for panel_axes in axes:
        panel_axes.set_axis_off()
    return figure, axes


def _show_picture(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture)
    axes.set_title(title, fontsize=9)


def _show_heat(
    axes: Axes, picture: NDArray[np.uint8], heat: NDArray[np.float32], title: str, points: Sequence[Point] = ()
) -> None:
    """Heat stretched over the picture's frame, with each cell visible; the chosen point is a star, further peaks on the
    target are dots, rivals crosses."""
    height, width = picture.shape[:2]
    axes.imshow(heat, cmap=HEAT_COLOURS, extent=(0, width, height, 0), interpolation="nearest", aspect="equal")
    for index, point in reversed(list(enumerate(points))):
        marker = "*" if index == 0 else "o" if point.on_target else "X"
        size = 170 if index == 0 else 40
        axes.scatter(point.x, point.y, s=size, marker=marker, c="cyan", edgecolors="black", linewidths=0.8)
    axes.set_title(title, fontsize=9)


def _show_mask(axes: Axes, picture: NDArray[np.uint8], mask: NDArray[np.bool_], title: str) -> None:
    painted = tinted(picture.astype(np.float32), mask, MASK_COLOUR, MASK_OPACITY, outside=0.6)
    axes.imshow(painted.astype(np.uint8))
    axes.set_title(title, fontsize=9)


def _show_token(
    axes: Axes, picture: NDArray[np.uint8], token: Token, token_map: NDArray[np.float32], share: float
) -> None:
    marks = f"{token.role}, {share:.0%}" + (", SINK" if token.sink else "")
    _show_heat(axes, picture, token_map, "")
    axes.set_title(f"{token.text}\n{marks}", fontsize=8, color="tab:red" if token.sink else ROLE_COLOURS[token.role])
    if token.kept:
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set(color="tab:green", linewidth=4)


def _list_marks(axes: Axes) -> None:
    lines = (
        "★ chosen point",
        "● further peak on the target",
        "✖ peak on a rival",
        "green frame: part of the heatmap",
        "red: attention sink",
        "%: share of the attention to text",
    )
    axes.text(0, 0.95, "\n".join(lines), va="top", fontsize=8, linespacing=1.6)

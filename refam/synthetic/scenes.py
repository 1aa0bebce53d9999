"""Rendered scenes: a few things on a background, each with its true mask.

Everything follows from a `numpy.random.Generator`, so a scene is its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from refam.synthetic.things import COLOURS, FREE_COLOURED, OWN_PALETTE, RGB, SHAPES, Kind, Primitive

T = TypeVar("T")

SUPERSAMPLING = 3
PATTERN_PERIOD = (7.0, 9.0)  # units; about one transformer token, the scale at which patterns get grounded
SIZES = {"small": (24, 28), "medium": (31, 37), "big": (44, 52)}  # diameter in units

BACKGROUNDS: dict[str, RGB] = {
    "grass": (206, 226, 190),
    "sand": (238, 226, 200),
    "snow": (240, 243, 247),
    "water": (196, 220, 236),
    "stone": (205, 203, 200),
    "night": (58, 60, 84),
}


@dataclass(frozen=True)
class Thing:
    """One thing of a scene.

    colour: the name of its free colour, None where the kind has a palette of its own.
    centre: (x, y) in layout units, of which the scene's side has `side`. mask: bool [H, W], True on the thing.
    """

    kind: Kind
    colour: str | None
    size: str
    centre: tuple[float, float]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """side: the width and height of the layout in units; the image has `scale` pixels to the unit."""

    image: Image.Image
    things: tuple[Thing, ...]
    background: str
    side: int


@dataclass(frozen=True)
class Wish:
    """What a thing must be; None leaves it to chance.

    region: bounds (x0, y0, x1, y1) of the centre, as fractions of the side.
    """

    kind: Kind
    colour: str | None = None
    size: str | None = None
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


def random_wish(rng: np.random.Generator) -> Wish:
    """Own-palette nouns three times in six, free-coloured kinds twice, plain shapes once."""
    family = (OWN_PALETTE, FREE_COLOURED, SHAPES)[rng.choice(3, p=(0.5, 0.33, 0.17))]
    return Wish(pick(rng, family))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def random_scene(rng: np.random.Generator, side: int = 128, count: tuple[int, int] = (2, 5)) -> Scene:
    """Render a scene of `count` (from, to) random things; sometimes two are of one kind."""
    wishes = [random_wish(rng) for _ in range(rng.integers(count[0], count[1] + 1))]
    if rng.random() < 0.3:
        wishes[-1] = Wish(wishes[0].kind)
    return render(rng, wishes, side)


def render(rng: np.random.Generator, wishes: Sequence[Wish], side: int = 128, scale: int = 1) -> Scene:
    """Render the wished things without overlap on a random background.

    Things for which no free place is found are left out, so wishes that matter come first.

    Returns a scene with an RGB image of side * scale pixels each way; models are trained at scale 1, larger scales
    show the same layout in more detail.
    """
    name = pick(rng, tuple(BACKGROUNDS))
    canvas = _background(rng, BACKGROUNDS[name], side).resize((side * scale,) * 2, Image.Resampling.BICUBIC)
    things: list[Thing] = []
    discs: list[tuple[float, float, float]] = []
    for wish in wishes:
        size = wish.size or pick(rng, tuple(SIZES) if side >= 96 else ("small", "medium"))
        diameter = int(rng.integers(SIZES[size][0], SIZES[size][1] + 1))
        centre = _free_place(rng, wish.region, diameter / 2, discs, side)
        if centre is None:
            continue
        discs.append((*centre, diameter / 2))
        colour = (wish.colour or pick(rng, tuple(COLOURS))) if wish.kind.free_coloured else None
        tile, alpha = _draw(rng, wish.kind, colour, diameter * scale, scale)
        corner = (round((centre[0] - diameter / 2) * scale), round((centre[1] - diameter / 2) * scale))
        canvas.paste(tile, corner, alpha)
        mask = Image.new("L", canvas.size)
        mask.paste(alpha, corner)
        visible = np.asarray(mask) > 127
        for other in things:  # corners may touch
            np.logical_and(other.mask, ~visible, out=other.mask)
        things.append(Thing(wish.kind, colour, size, centre, visible))
    return Scene(canvas, tuple(things), name, side)


def _free_place(
    rng: np.random.Generator,
    region: tuple[float, float, float, float],
    radius: float,
    discs: list[tuple[float, float, float]],
    side: int,
) -> tuple[float, float] | None:
    low = np.maximum(np.multiply(region[:2], side), radius + 1)
    high = np.minimum(np.multiply(region[2:], side), side - radius - 1)
    if (low > high).any():
        return None
    for _ in range(60):
        x, y = rng.uniform(low, high)
        if all(np.hypot(x - cx, y - cy) > radius + r + 1 for cx, cy, r in discs):
            return float(x), float(y)
    return None


def _background(rng: np.random.Generator, base: RGB, side: int) -> Image.Image:
    """Plain, a gradient, soft blotches or grain, all around the base colour."""
    colour = np.array(base, dtype=float) + rng.uniform(-10, 10, 3)
    field: NDArray[np.floating] = np.zeros((side, side))
    style = rng.integers(4)
    if style == 1:
        angle = rng.uniform(0, 2 * np.pi)
        ys, xs = np.mgrid[0:side, 0:side] / side - 0.5
        field = 50 * (np.cos(angle) * xs + np.sin(angle) * ys)
    elif style == 2:
        coarse = Image.fromarray(rng.uniform(-22, 22, (6, 6)).astype(np.float32))
        field = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    elif style == 3:
        field = rng.normal(0, 6, (side, side))
    return Image.fromarray((colour + field[..., None]).clip(0, 255).astype(np.uint8))


def _draw(
    rng: np.random.Generator, kind: Kind, colour: str | None, diameter: int, scale: int
) -> tuple[Image.Image, Image.Image]:
    """Draw one thing as (RGB tile, alpha mask), both diameter x diameter pixels, with `scale` pixels to the unit."""
    side = diameter * SUPERSAMPLING
    named = COLOURS[colour] if colour else kind.colour
    assert named is not None  # noqa: S101 - a kind has a colour of its own or is given one
    body = (np.array(named) + rng.uniform(-10, 10, 3)).clip(0, 255).astype(int)
    tile = Image.new("RGB", (side, side), tuple(body.tolist()))
    alpha = Image.new("L", (side, side))
    paint, cut = ImageDraw.Draw(tile), ImageDraw.Draw(alpha)
    if kind.pattern and kind.marks:
        kind.pattern(paint, side, round(rng.uniform(*PATTERN_PERIOD) * scale * SUPERSAMPLING), kind.marks, rng)
    for primitive in kind.outline:
        _fill(cut, primitive, side, 255)
    for primitive, detail in kind.details:
        _fill(paint, primitive, side, detail)
        _fill(cut, primitive, side, 255)
    if rng.random() < 0.5:
        tile, alpha = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (tile, alpha))
    angle = rng.uniform(-12, 12)
    tile, alpha = (part.rotate(angle, Image.Resampling.BILINEAR) for part in (tile, alpha))
    small = (diameter, diameter)
    return tile.resize(small, Image.Resampling.BOX), alpha.resize(small, Image.Resampling.BOX)


def _fill(draw: ImageDraw.ImageDraw, primitive: Primitive, side: int, colour: RGB | int) -> None:
    form, *coordinates = primitive
    getattr(draw, str(form))([float(c) * (side - 1) for c in coordinates], fill=colour)

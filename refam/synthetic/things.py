"""The catalogue of things that rendered scenes are made of: outlines, patterns and palettes, as data.

A thing is drawn in a unit square (x to the right, y downwards, both in [0, 1]) from primitives:
`("ellipse", x0, y0, x1, y1)`, `("rectangle", x0, y0, x1, y1)` or `("polygon", x0, y0, x1, y1, x2, y2, ...)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import ImageDraw

RGB = tuple[int, int, int]
Primitive = tuple[str | float, ...]
Pattern = Callable[[ImageDraw.ImageDraw, int, int, RGB, np.random.Generator], None]

COLOURS: dict[str, RGB] = {
    "red": (208, 30, 42),
    "orange": (245, 122, 20),
    "yellow": (250, 226, 60),
    "green": (50, 160, 70),
    "blue": (40, 90, 215),
    "purple": (130, 60, 170),
    "pink": (245, 130, 185),
    "brown": (108, 66, 40),
}

WHITE, BLACK, CREAM = (248, 248, 246), (22, 22, 26), (238, 222, 190)
TAN, CHOCOLATE, LEAF, DARK_GREEN = (212, 160, 95), (85, 48, 28), (60, 140, 55), (22, 84, 40)
GREY, DARK_GREY, GOLD, SKY = (170, 172, 178), (105, 107, 115), (232, 178, 40), (170, 215, 240)
CYAN, LIME, BERRY = (80, 240, 230), (175, 248, 60), (112, 36, 104)


@dataclass(frozen=True)
class Kind:
    """A kind of thing.

    colour: fixed body colour, or None where each thing takes one of `COLOURS`.
    details: primitives drawn over the patterned body in a colour of their own; they belong to the mask.
    """

    noun: str
    outline: tuple[Primitive, ...]
    pattern: Pattern | None = None
    marks: RGB | None = None
    colour: RGB | None = None
    details: tuple[tuple[Primitive, RGB], ...] = ()

    @property
    def free_coloured(self) -> bool:
        return self.colour is None


def _steps(start: float, stop: float, step: float) -> list[float]:
    return [float(at) for at in np.arange(start, stop, step)]


def stripes(
    draw: ImageDraw.ImageDraw,
    side: int,
    period: int,
    colour: RGB,
    rng: np.random.Generator,
    *,
    slope: float = 0.0,
) -> None:
    """Bands half a period wide; slope 0 is vertical, 1 leans by 45 degrees."""
    lean, width = slope * side, period / 2
    for x in _steps(-side - rng.uniform(0, period), 2 * side, period):
        draw.polygon([(x, 0), (x + width, 0), (x + width + lean, side), (x + lean, side)], fill=colour)


def bands(
    draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator, *, stretch: float = 1.0
) -> None:
    """Horizontal stripes, half a stretched period wide."""
    for y in _steps(-rng.uniform(0, period), side, stretch * period):
        draw.rectangle([0, y, side, y + stretch * period / 2], fill=colour)


def dots(
    draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator, *, fill: float = 0.55
) -> None:
    """A staggered lattice of discs, `fill` periods wide."""
    radius = fill * period / 2
    shift_x, shift_y = float(rng.uniform(0, period)), float(rng.uniform(0, period))
    for row, y in enumerate(_steps(-shift_y, side + period, period)):
        for x in _steps(-shift_x + (row % 2) * period / 2, side + period, period):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def patches(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    """Irregular, closely packed polygons."""
    for y in _steps(0, side + period, period):
        for x in _steps(0, side + period, period):
            angles = np.sort(rng.uniform(0, 2 * np.pi, 6))
            radii = rng.uniform(0.3, 0.55, 6) * period
            cx, cy = x + rng.uniform(-0.15, 0.15) * period, y + rng.uniform(-0.15, 0.15) * period
            draw.polygon([(cx + r * np.cos(a), cy + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)], colour)


def grid(
    draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator, *, stretch: float = 1.0
) -> None:
    """Upright and level lines, three tenths of a stretched period wide."""
    width = max(1, round(0.3 * stretch * period))
    for at in _steps(stretch * rng.uniform(0.2, 0.8) * period, side, stretch * period):
        draw.line([at, 0, at, side], fill=colour, width=width)
        draw.line([0, at, side, at], fill=colour, width=width)


def lattice(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    """Two families of crossing diagonals."""
    width = max(1, round(period * 0.25))
    for at in _steps(-side + rng.uniform(0, period), 2 * side, period * 1.2):
        draw.line([at, 0, at + side, side], fill=colour, width=width)
        draw.line([at + side, 0, at, side], fill=colour, width=width)


def bricks(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    width = max(1, round(period * 0.2))
    for row, y in enumerate(_steps(rng.uniform(0, period / 2), side + period, period * 0.8)):
        draw.line([0, y, side, y], fill=colour, width=width)
        for x in _steps((row % 2) * period * 0.7, side, period * 1.4):
            draw.line([x, y, x, y + period * 0.8], fill=colour, width=width)


def checks(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    half = period / 2
    for row, y in enumerate(_steps(0, side, half)):
        for x in _steps((row % 2) * half, side, period):
            draw.rectangle([x, y, x + half, y + half], fill=colour)


def rings(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    width = max(1, round(period * 0.4))
    for radius in _steps(period * rng.uniform(0.3, 0.6), side, period):
        draw.ellipse([side / 2 - radius, side / 2 - radius, side / 2 + radius, side / 2 + radius], None, colour, width)


def cross(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    """One upright and one level ribbon through the middle."""
    half = max(1, round(period * 0.32))
    draw.rectangle([side / 2 - half, 0, side / 2 + half, side], fill=colour)
    draw.rectangle([0, side / 2 - half, side, side / 2 + half], fill=colour)


def seams(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    """The curved seams of a ball."""
    width = max(1, round(period * 0.28))
    draw.line([side / 2, 0, side / 2, side], fill=colour, width=width)
    draw.line([0, side / 2, side, side / 2], fill=colour, width=width)
    draw.ellipse([-side * 0.65, 0, side * 0.27, side], None, colour, width)
    draw.ellipse([side * 0.73, 0, side * 1.65, side], None, colour, width)


def wedges(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    """Three of the six slices of a beach ball."""
    turn = rng.uniform(0, 360)
    for start in (turn, turn + 120, turn + 240):
        draw.pieslice([-side / 2, -side / 2, 1.5 * side, 1.5 * side], start, start + 60, fill=colour)


def quarters(draw: ImageDraw.ImageDraw, side: int, period: int, colour: RGB, rng: np.random.Generator) -> None:
    """Two opposite quarters, which meet at (0.5, 0.4)."""
    x, y = 0.5 * side, 0.4 * side
    draw.rectangle([0, 0, x, y], fill=colour)
    draw.rectangle([x, y, side, side], fill=colour)


DISC: Primitive = ("ellipse", 0.02, 0.02, 0.98, 0.98)
OVAL: Primitive = ("ellipse", 0.0, 0.16, 1.0, 0.84)
SQUARE: Primitive = ("rectangle", 0.06, 0.06, 0.94, 0.94)
QUADRUPED: tuple[Primitive, ...] = (
    ("ellipse", 0.0, 0.24, 0.86, 0.76),
    ("ellipse", 0.66, 0.06, 1.0, 0.46),
    ("polygon", 0.6, 0.3, 0.72, 0.16, 0.92, 0.4, 0.8, 0.6),
    *(("rectangle", x, 0.6, x + 0.13, 0.98) for x in (0.1, 0.28, 0.5, 0.67)),
)
LONG_NECK: tuple[Primitive, ...] = (
    ("ellipse", 0.04, 0.42, 0.74, 0.82),
    ("polygon", 0.52, 0.56, 0.68, 0.06, 0.84, 0.06, 0.74, 0.64),
    ("ellipse", 0.64, 0.0, 1.0, 0.22),
    *(("rectangle", x, 0.7, x + 0.12, 1.0) for x in (0.12, 0.27, 0.46, 0.6)),
)
FISH: tuple[Primitive, ...] = (
    ("ellipse", 0.0, 0.2, 0.78, 0.8),
    ("polygon", 0.62, 0.5, 1.0, 0.14, 1.0, 0.86),
)
CAP: Primitive = ("polygon", 0.0, 0.56, 0.06, 0.32, 0.24, 0.12, 0.5, 0.04, 0.76, 0.12, 0.94, 0.32, 1.0, 0.56)
WINGS: tuple[Primitive, ...] = (
    ("ellipse", 0.0, 0.02, 0.52, 0.58),
    ("ellipse", 0.48, 0.02, 1.0, 0.58),
    ("ellipse", 0.08, 0.44, 0.5, 0.96),
    ("ellipse", 0.5, 0.44, 0.92, 0.96),
)
CACTUS: tuple[Primitive, ...] = (
    ("rectangle", 0.34, 0.02, 0.66, 0.98),
    ("rectangle", 0.02, 0.22, 0.22, 0.6),
    ("rectangle", 0.02, 0.44, 0.4, 0.62),
    ("rectangle", 0.78, 0.14, 0.98, 0.52),
    ("rectangle", 0.6, 0.36, 0.98, 0.54),
)
MUG: tuple[Primitive, ...] = (("rectangle", 0.04, 0.08, 0.74, 0.94), ("ellipse", 0.5, 0.22, 1.0, 0.76))
STAR: Primitive = (
    "polygon", 0.5, 0.0, 0.62, 0.36, 1.0, 0.37, 0.7, 0.6, 0.81, 0.97,
    0.5, 0.75, 0.19, 0.97, 0.3, 0.6, 0.0, 0.37, 0.38, 0.36,
)  # fmt: skip
PLUS: tuple[Primitive, ...] = (("rectangle", 0.32, 0.02, 0.68, 0.98), ("rectangle", 0.02, 0.32, 0.98, 0.68))


def eye(x: float, y: float, r: float = 0.05) -> tuple[Primitive, RGB]:
    return ("ellipse", x - r, y - r, x + r, y + r), BLACK


OWN_PALETTE = (
    Kind("ladybird", (DISC,), dots, BLACK, COLOURS["red"], ((("ellipse", 0.3, 0.0, 0.7, 0.26), BLACK),)),
    Kind("zebra", QUADRUPED, partial(stripes, slope=0.2), BLACK, WHITE, (eye(0.86, 0.2),)),
    Kind("tiger", QUADRUPED, partial(stripes, slope=-0.2), BLACK, (240, 130, 25), (eye(0.86, 0.2),)),
    Kind("giraffe", LONG_NECK, patches, CHOCOLATE, (240, 205, 95), (eye(0.84, 0.09, 0.04),)),
    Kind("bee", (OVAL,), stripes, BLACK, COLOURS["yellow"], (
        (("ellipse", 0.2, 0.0, 0.48, 0.36), SKY), (("ellipse", 0.46, 0.0, 0.74, 0.36), SKY))),
    Kind("melon", (OVAL,), stripes, DARK_GREEN, (95, 190, 85)),
    Kind("strawberry", (("polygon", 0.04, 0.3, 0.2, 0.12, 0.8, 0.12, 0.96, 0.3, 0.82, 0.66, 0.5, 1.0, 0.18, 0.66),),
         partial(dots, fill=0.5), COLOURS["yellow"], COLOURS["red"],
         ((("polygon", 0.2, 0.2, 0.3, 0.02, 0.5, 0.1, 0.7, 0.02, 0.8, 0.2), LEAF),)),
    Kind("dice", (SQUARE,), dots, COLOURS["blue"], WHITE),
    Kind("wall", (("rectangle", 0.0, 0.14, 1.0, 0.86),), bricks, CREAM, (168, 62, 42)),
    Kind("waffle", (SQUARE,), grid, BERRY, (235, 185, 95)),
    Kind("cookie", (DISC,), partial(dots, fill=0.5), CHOCOLATE, TAN),
    Kind("chessboard", (SQUARE,), checks, BLACK, CREAM),
    Kind("mushroom", (CAP,), dots, WHITE, COLOURS["red"], ((("rectangle", 0.34, 0.56, 0.66, 0.98), CREAM),)),
    Kind("cactus", CACTUS, partial(dots, fill=0.4), BLACK, (40, 130, 75)),
    Kind("goldfish", FISH, stripes, WHITE, (250, 130, 20), (eye(0.16, 0.42),)),
    Kind("pineapple", (("ellipse", 0.16, 0.26, 0.84, 1.0),), lattice, DARK_GREEN, GOLD,
         ((("polygon", 0.3, 0.32, 0.14, 0.04, 0.4, 0.14, 0.5, 0.0, 0.6, 0.14, 0.86, 0.04, 0.7, 0.32), LEAF),)),
    Kind("basketball", (DISC,), seams, BLACK, (235, 115, 35)),
    Kind("moon", (DISC,), partial(dots, fill=0.6), DARK_GREY, (205, 206, 200)),
    Kind("butterfly", WINGS, dots, COLOURS["yellow"], COLOURS["purple"],
         ((("ellipse", 0.45, 0.1, 0.55, 0.9), BLACK),)),
    Kind("gift", (SQUARE,), cross, COLOURS["red"], (60, 190, 215)),
    Kind("frog", (("ellipse", 0.04, 0.18, 0.96, 0.98),), dots, COLOURS["yellow"], (45, 150, 60), (
        (("ellipse", 0.14, 0.02, 0.4, 0.3), WHITE), (("ellipse", 0.6, 0.02, 0.86, 0.3), WHITE),
        eye(0.27, 0.16, 0.06), eye(0.73, 0.16, 0.06))),
    Kind("lollipop", (("ellipse", 0.12, 0.0, 0.88, 0.7),), rings, WHITE, (240, 70, 150),
         ((("rectangle", 0.46, 0.68, 0.54, 1.0), WHITE),)),
    Kind("pizza", (("polygon", 0.02, 0.16, 0.98, 0.16, 0.5, 1.0),), dots, (200, 45, 30), (248, 205, 90),
         ((("rectangle", 0.0, 0.04, 1.0, 0.2), (175, 110, 50)),)),
    Kind("lighthouse", (("polygon", 0.34, 0.18, 0.66, 0.18, 0.8, 1.0, 0.2, 1.0),), bands, COLOURS["red"], WHITE,
         ((("rectangle", 0.36, 0.04, 0.64, 0.2), DARK_GREY), (("polygon", 0.3, 0.07, 0.5, 0.0, 0.7, 0.07), BLACK))),
)  # fmt: skip

# Each has large marks of one fixed colour: with fine marks, or white ones on several kinds, nouns were not grounded.
FREE_COLOURED = (
    Kind("ball", (DISC,), wedges, WHITE),
    Kind("box", (SQUARE,), cross, BLACK),
    Kind("mug", MUG, partial(bands, stretch=1.6), GREY, None, ((("ellipse", 0.76, 0.36, 0.9, 0.62), DARK_GREY),)),
    Kind("net", (SQUARE,), partial(grid, stretch=1.5), CYAN),
    Kind("tent", (("polygon", 0.0, 0.92, 0.5, 0.06, 1.0, 0.92),), None, None, None, (
        (("polygon", 0.24, 0.92, 0.5, 0.3, 0.76, 0.92), BLACK),
        (("polygon", 0.36, 0.92, 0.5, 0.56, 0.64, 0.92), CREAM))),
    Kind("kite", (("polygon", 0.5, 0.0, 0.94, 0.4, 0.5, 1.0, 0.06, 0.4),), quarters, LIME),
)  # fmt: skip

SHAPES = (
    Kind("circle", (DISC,)),
    Kind("square", (SQUARE,)),
    Kind("triangle", (("polygon", 0.0, 0.92, 0.5, 0.06, 1.0, 0.92),)),
    Kind("star", (STAR,)),
    Kind("plus", PLUS),
)

KINDS = OWN_PALETTE + FREE_COLOURED + SHAPES

"""Words for scenes: training captions, and the vocabulary of everything that is said of scenes."""

import numpy as np

from refam.synthetic.scenes import BACKGROUNDS, Scene, Thing, pick
from refam.synthetic.things import COLOURS, KINDS

SIZE_WORDS = {"small": ("small", "little"), "medium": (), "big": ("big", "large")}
# The half of the scene that a side is: bounds of the centre (x0, y0, x1, y1) as fractions.
SIDES = {
    "left": (0.0, 0.0, 0.38, 1.0),
    "right": (0.62, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.38),
    "bottom": (0.0, 0.62, 1.0, 1.0),
}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
SIDE_PHRASES = {
    "left": ("{} on the left", "left {}", "leftmost {}"),
    "right": ("{} on the right", "right {}", "rightmost {}"),
    "top": ("{} at the top", "top {}", "upper {}"),
    "bottom": ("{} at the bottom", "bottom {}", "lower {}"),
}
RELATIONS = {
    "left": ("{} left of {}", "{} to the left of {}"),
    "right": ("{} right of {}", "{} to the right of {}"),
    "top": ("{} above {}",),
    "bottom": ("{} below {}", "{} under {}"),
}
OTHER_WORDS = (
    "a an the one thing object in on at of to with and is it this that picture photo image middle near next beside "
    "between behind red orange yellow green blue purple pink cyan brown white black grey largest biggest smallest tiny "
    "plain striped dotted _ , ."
)


def vocabulary() -> list[str]:
    """Every word and sign of the captions, sorted."""
    phrases = [p for group in (SIDE_PHRASES, RELATIONS, SIZE_WORDS) for options in group.values() for p in options]
    words = " ".join(phrases).replace("{}", " ").split() + OTHER_WORDS.split()
    return sorted({*words, *(kind.noun for kind in KINDS), *COLOURS, *BACKGROUNDS})


def describe(rng: np.random.Generator, thing: Thing) -> str:
    """A thing without article: its noun, its colour where that is free ("blue mug", "blue thing"), seldom its size."""
    noun = thing.kind.noun
    if thing.colour:
        if rng.random() < 0.3:
            noun = pick(rng, ("thing", "one", "object"))
        if noun in ("thing", "one", "object") or rng.random() < 0.85:
            noun = f"{thing.colour} {noun}"
    sizes = SIZE_WORDS[thing.size]
    if sizes and rng.random() < 0.25:
        noun = f"{pick(rng, sizes)} {noun}"
    return noun


def side_of(thing: Thing, canvas: int) -> str | None:
    x, y = thing.centre[0] / canvas, thing.centre[1] / canvas
    inside = [name for name, (x0, y0, x1, y1) in SIDES.items() if x0 <= x <= x1 and y0 <= y <= y1]
    return inside[0] if len(inside) == 1 else None


def relation(a: Thing, b: Thing, canvas: int) -> str | None:
    """Where a lies as seen from b, when one direction clearly prevails."""
    dx, dy = (np.array(a.centre) - np.array(b.centre)) / canvas
    if max(abs(dx), abs(dy)) < 0.2 or min(abs(dx), abs(dy)) > 0.6 * max(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "top" if dy < 0 else "bottom"


def caption(rng: np.random.Generator, scene: Scene) -> str:
    """A training caption: in two of five cases of one thing only, so that referring expressions are in distribution."""
    canvas = scene.side
    order = rng.permutation(len(scene.things))
    if rng.random() < 0.6:
        order = order[: rng.integers(2, 5)]
        text = " and ".join(_placed(rng, scene.things[i], canvas, 0.2) for i in order)
        return f"{text} on {scene.background}" if rng.random() < 0.2 else text
    thing = scene.things[order[0]]
    if len(order) > 1 and rng.random() < 0.3:
        other = scene.things[order[1]]
        direction = relation(thing, other, canvas)
        if direction:
            pair = [f"{_article(rng)} {describe(rng, each)}" for each in (thing, other)]
            return pick(rng, RELATIONS[direction]).format(*pair)
    return _placed(rng, thing, canvas, 0.35)


def _placed(rng: np.random.Generator, thing: Thing, canvas: int, chance: float) -> str:
    text = describe(rng, thing)
    side = side_of(thing, canvas)
    if side and rng.random() < chance:
        text = pick(rng, SIDE_PHRASES[side]).format(text)
    return f"{_article(rng)} {text}"


def _article(rng: np.random.Generator) -> str:
    return "a" if rng.random() < 0.5 else "the"

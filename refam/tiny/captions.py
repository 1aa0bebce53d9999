"""Words for scenes: training captions, referring expressions with their targets, and the vocabulary of both."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .scenes import BACKGROUNDS, Scene, Thing, Wish, pick, random_wish, render
from .things import COLOURS, FREE_COLOURED, KINDS, OWN_PALETTE, SHAPES, Kind

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


@dataclass(frozen=True)
class Referral:
    """A scene, an expression, and the index among the scene's things of what it refers to."""

    scene: Scene
    expression: str
    target: int


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
    canvas = scene.image.width
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


def _clutter(rng: np.random.Generator, without: str) -> list[Wish]:
    """One to three other things, none of the kind `without`."""
    count = rng.integers(1, 4)
    wishes: list[Wish] = []
    while len(wishes) < count:
        wish = random_wish(rng)
        if wish.kind.noun != without:
            wishes.append(wish)
    return wishes


def noun(rng: np.random.Generator) -> Referral:
    """The only thing of its kind, half of the time beside a kind whose colour resembles its own."""
    kind = pick(rng, OWN_PALETTE)
    others = _clutter(rng, kind.noun)
    if rng.random() < 0.5:
        alike = sorted(
            (other for other in OWN_PALETTE if other is not kind),
            key=lambda other: float(np.abs(np.subtract(other.colour, kind.colour)).sum()),  # type: ignore[arg-type]
        )
        others[0] = Wish(pick(rng, alike[:4]))
    return _referral(rng, [Wish(kind), *others], f"the {kind.noun}")


def colour_noun(rng: np.random.Generator) -> Referral:
    """Beside the same noun in another colour and another kind in the same colour."""
    kind, rival = rng.choice(len(FREE_COLOURED), 2, replace=False)
    colour, other = rng.choice(tuple(COLOURS), 2, replace=False)
    wishes = [
        Wish(FREE_COLOURED[kind], colour),
        Wish(FREE_COLOURED[kind], other),
        Wish(FREE_COLOURED[rival], colour),
    ]
    return _referral(rng, wishes, f"the {colour} {FREE_COLOURED[kind].noun}")


def colour(rng: np.random.Generator) -> Referral:
    """The only free-coloured thing of its colour, among free-coloured things of other colours."""
    chosen, *others = rng.choice(tuple(COLOURS), int(rng.integers(3, 5)), replace=False)
    kinds = FREE_COLOURED + SHAPES
    wishes = [Wish(pick(rng, kinds), each) for each in (chosen, *others)]
    return _referral(rng, wishes, f"the {chosen} {pick(rng, ('thing', 'one', 'object'))}")


def position(rng: np.random.Generator) -> Referral:
    """One of two of a kind, told apart by its side alone."""
    kind, colour_ = _any_patterned(rng)
    side = pick(rng, tuple(SIDES))
    wishes = [Wish(kind, colour_, None, SIDES[side]), Wish(kind, colour_, None, SIDES[OPPOSITE[side]])]
    text = pick(rng, SIDE_PHRASES[side]).format(_name(kind.noun, colour_))
    return _referral(rng, [*wishes, *_clutter(rng, kind.noun)[:2]], f"the {text}", needed=2)


def relation_to(rng: np.random.Generator) -> Referral:
    """One of two of a kind, told apart by where it lies from an anchor that lies between them."""
    kind, colour_ = _any_patterned(rng)
    anchor = pick(rng, [k for k in OWN_PALETTE if k is not kind])
    side = pick(rng, tuple(SIDES))
    across = (0.3, 0.38, 0.7, 0.62) if side in ("top", "bottom") else (0.38, 0.3, 0.62, 0.7)
    wishes = [
        Wish(kind, colour_, "medium", _band(SIDES[side], side)),
        Wish(kind, colour_, "medium", _band(SIDES[OPPOSITE[side]], side)),
        Wish(anchor, None, "small", across),
    ]
    text = pick(rng, RELATIONS[side]).format(f"the {_name(kind.noun, colour_)}", f"the {anchor.noun}")
    return _referral(rng, wishes, text)


def _band(region: tuple[float, float, float, float], side: str) -> tuple[float, float, float, float]:
    """Keep a side's region near the middle of the other axis, so that the relation is unmistakable."""
    x0, y0, x1, y1 = region
    return (0.3, y0, 0.7, y1) if side in ("top", "bottom") else (x0, 0.3, x1, 0.7)


def size(rng: np.random.Generator) -> Referral:
    """One of two of a kind, told apart by size alone."""
    kind, colour_ = _any_patterned(rng)
    chosen, other = ("big", "small") if rng.random() < 0.5 else ("small", "big")
    wishes = [Wish(kind, colour_, chosen), Wish(kind, colour_, other)]
    text = f"the {pick(rng, SIZE_WORDS[chosen])} {_name(kind.noun, colour_)}"
    return _referral(rng, [*wishes, *_clutter(rng, kind.noun)[:1]], text, needed=2)


def shape(rng: np.random.Generator) -> Referral:
    """A plain shape among plain shapes; the outline alone tells."""
    kinds = [SHAPES[i] for i in rng.permutation(len(SHAPES))[:3]]
    return _referral(rng, [Wish(kind) for kind in kinds], f"the {kinds[0].noun}")


REFERRALS: dict[str, Callable[[np.random.Generator], Referral]] = {
    "noun": noun,
    "colour_noun": colour_noun,
    "colour": colour,
    "position": position,
    "relation": relation_to,
    "size": size,
    "shape": shape,
}


def _any_patterned(rng: np.random.Generator) -> tuple[Kind, str | None]:
    kind = pick(rng, OWN_PALETTE + FREE_COLOURED)
    return kind, pick(rng, tuple(COLOURS)) if kind.free_coloured else None


def _name(noun_: str, colour_: str | None) -> str:
    return f"{colour_} {noun_}" if colour_ else noun_


def _referral(rng: np.random.Generator, wishes: list[Wish], expression: str, needed: int | None = None) -> Referral:
    """Render until the target (the first wish) and its rivals (the first `needed` wishes) all found a place."""
    while True:
        scene = render(rng, wishes)
        placed = [thing.kind for thing in scene.things]
        if placed[: needed or len(wishes)] == [wish.kind for wish in wishes[: needed or len(wishes)]]:
            return Referral(scene, expression, target=0)

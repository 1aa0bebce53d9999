"""Referring expressions of seven kinds, each in a scene that holds what it must be told apart from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refam.synthetic.captions import OPPOSITE, RELATIONS, SIDE_PHRASES, SIDES, SIZE_WORDS
from refam.synthetic.scenes import Scene, Wish, pick, random_wish, render
from refam.synthetic.things import COLOURS, FREE_COLOURED, OWN_PALETTE, SHAPES, Kind

__all__ = ["REFERRALS", "Referral", "refer"]


@dataclass(frozen=True)
class Referral:
    """A scene, an expression, and the index among the scene's things of what it refers to."""

    scene: Scene
    expression: str
    target: int


@dataclass(frozen=True)
class Wanted:
    """Things to render, the target first; of these the first `needed` must find a place (None: all)."""

    wishes: list[Wish]
    expression: str
    needed: int | None = None


def refer(rng: np.random.Generator, kind: str, scale: int = 1) -> Referral:
    """A referral of one of the kinds of `REFERRALS`, its scene rendered at `scale` pixels to the unit."""
    wanted = REFERRALS[kind](rng)
    needed = [wish.kind for wish in wanted.wishes[: wanted.needed]]
    while True:
        scene = render(rng, wanted.wishes, scale=scale)
        if [thing.kind for thing in scene.things][: len(needed)] == needed:
            return Referral(scene, wanted.expression, target=0)


def _clutter(rng: np.random.Generator, without: str) -> list[Wish]:
    """One to three other things, none of the kind `without`."""
    count = rng.integers(1, 4)
    wishes: list[Wish] = []
    while len(wishes) < count:
        wish = random_wish(rng)
        if wish.kind.noun != without:
            wishes.append(wish)
    return wishes


def noun(rng: np.random.Generator) -> Wanted:
    """The only thing of its kind, half of the time beside a kind whose colour resembles its own."""
    kind = pick(rng, OWN_PALETTE)
    others = _clutter(rng, kind.noun)
    if rng.random() < 0.5:
        alike = sorted(
            (other for other in OWN_PALETTE if other is not kind),
            key=lambda other: float(np.abs(np.subtract(other.colour, kind.colour)).sum()),  # type: ignore[arg-type]
        )
        others[0] = Wish(pick(rng, alike[:4]))
    return Wanted([Wish(kind), *others], f"the {kind.noun}")


def colour_noun(rng: np.random.Generator) -> Wanted:
    """Beside the same noun in another colour and another kind in the same colour."""
    kind, rival = rng.choice(len(FREE_COLOURED), 2, replace=False)
    colour, other = rng.choice(tuple(COLOURS), 2, replace=False)
    wishes = [
        Wish(FREE_COLOURED[kind], colour),
        Wish(FREE_COLOURED[kind], other),
        Wish(FREE_COLOURED[rival], colour),
    ]
    return Wanted(wishes, f"the {colour} {FREE_COLOURED[kind].noun}")


def colour(rng: np.random.Generator) -> Wanted:
    """The only free-coloured thing of its colour, among free-coloured things of other colours."""
    chosen, *others = rng.choice(tuple(COLOURS), int(rng.integers(3, 5)), replace=False)
    kinds = FREE_COLOURED + SHAPES
    wishes = [Wish(pick(rng, kinds), each) for each in (chosen, *others)]
    return Wanted(wishes, f"the {chosen} {pick(rng, ('thing', 'one', 'object'))}")


def position(rng: np.random.Generator) -> Wanted:
    """One of two of a kind, told apart by its side alone."""
    kind, colour_ = _any_patterned(rng)
    side = pick(rng, tuple(SIDES))
    wishes = [Wish(kind, colour_, None, SIDES[side]), Wish(kind, colour_, None, SIDES[OPPOSITE[side]])]
    text = pick(rng, SIDE_PHRASES[side]).format(_name(kind.noun, colour_))
    return Wanted([*wishes, *_clutter(rng, kind.noun)[:2]], f"the {text}", needed=2)


def relation_to(rng: np.random.Generator) -> Wanted:
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
    return Wanted(wishes, text)


def _band(region: tuple[float, float, float, float], side: str) -> tuple[float, float, float, float]:
    """Keep a side's region near the middle of the other axis, so that the relation is unmistakable."""
    x0, y0, x1, y1 = region
    return (0.3, y0, 0.7, y1) if side in ("top", "bottom") else (x0, 0.3, x1, 0.7)


def size(rng: np.random.Generator) -> Wanted:
    """One of two of a kind, told apart by size alone."""
    kind, colour_ = _any_patterned(rng)
    chosen, other = ("big", "small") if rng.random() < 0.5 else ("small", "big")
    wishes = [Wish(kind, colour_, chosen), Wish(kind, colour_, other)]
    text = f"the {pick(rng, SIZE_WORDS[chosen])} {_name(kind.noun, colour_)}"
    return Wanted([*wishes, *_clutter(rng, kind.noun)[:1]], text, needed=2)


def shape(rng: np.random.Generator) -> Wanted:
    """A plain shape among plain shapes; the outline alone tells."""
    kinds = [SHAPES[i] for i in rng.permutation(len(SHAPES))[:3]]
    return Wanted([Wish(kind) for kind in kinds], f"the {kinds[0].noun}")


REFERRALS: dict[str, Callable[[np.random.Generator], Wanted]] = {
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

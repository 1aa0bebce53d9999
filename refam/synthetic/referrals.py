"""Referring expressions, each in a scene that holds what it must be told apart from: seven kinds that refer to one
thing, and six that say more, or refer to several things or none."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refam.synthetic.captions import OPPOSITE, RELATIONS, SIDE_PHRASES, SIDES, SIZE_WORDS
from refam.synthetic.scenes import Scene, Wish, pick, random_wish, render
from refam.synthetic.things import COLOURS, FREE_COLOURED, OWN_PALETTE, SHAPES, Kind

__all__ = ["FURTHER_REFERRALS", "REFERRALS", "Referral", "refer"]


@dataclass(frozen=True)
class Referral:
    """A scene, an expression, and the indices among the scene's things of what it refers to."""

    scene: Scene
    expression: str
    targets: tuple[int, ...]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """The true mask [H, W]: of all that is referred to, which may be nothing."""
        mask = np.zeros(self.scene.image.size[::-1], dtype=bool)
        for number in self.targets:
            mask |= self.scene.things[number].mask
        return mask


@dataclass(frozen=True)
class Wanted:
    """Things to render, the targets first; of these the first `needed` must find a place (None: all)."""

    wishes: list[Wish]
    expression: str
    needed: int | None = None
    targets: int = 1


def refer(rng: np.random.Generator, kind: str, scale: int = 1) -> Referral:
    """A referral of one of the kinds of REFERRALS or FURTHER_REFERRALS, its scene rendered at `scale` pixels to the
    unit."""
    wanted = {**REFERRALS, **FURTHER_REFERRALS}[kind](rng)
    needed = [wish.kind for wish in wanted.wishes[: wanted.needed]]
    while True:
        scene = render(rng, wanted.wishes, scale=scale)
        if [thing.kind for thing in scene.things][: len(needed)] == needed:
            return Referral(scene, wanted.expression, tuple(range(wanted.targets)))


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
    alike = _any_patterned(rng)
    anchor = pick(rng, [kind for kind in OWN_PALETTE if kind is not alike[0]])
    side = pick(rng, tuple(SIDES))
    text = pick(rng, RELATIONS[side]).format(f"the {_name(alike[0].noun, alike[1])}", f"the {anchor.noun}")
    return Wanted(_around(alike, anchor, side), text)


def _around(alike: tuple[Kind, str | None], anchor: Kind, side: str) -> list[Wish]:
    """Two of a kind and colour with an anchor between them, the first on a side of it."""
    across = (0.3, 0.38, 0.7, 0.62) if side in ("top", "bottom") else (0.38, 0.3, 0.62, 0.7)
    return [
        Wish(*alike, "medium", _band(SIDES[side], side)),
        Wish(*alike, "medium", _band(SIDES[OPPOSITE[side]], side)),
        Wish(anchor, None, "small", across),
    ]


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


def redundant_size(rng: np.random.Generator) -> Wanted:
    """The only thing of its kind, with its size."""
    kind, colour_ = _any_patterned(rng)
    chosen = pick(rng, ("big", "small"))
    text = f"the {pick(rng, SIZE_WORDS[chosen])} {_name(kind.noun, colour_)}"
    return Wanted([Wish(kind, colour_, chosen), *_clutter(rng, kind.noun)], text, needed=1)


def row(rng: np.random.Generator) -> Wanted:
    """The first, middle or last of three of a kind side by side, or one upon the other."""
    return _of_three(
        rng, pick(rng, ((0, "the {first}most {noun}"), (1, "the {noun} in the middle"), (2, "the {last}most {noun}")))
    )


def ordinal(rng: np.random.Generator) -> Wanted:
    """One of three of a kind side by side, or one upon the other, by its number from a side."""
    place, number = pick(rng, ((0, "first"), (1, "second"), (2, "third")))
    if rng.random() < 0.5:
        return _of_three(rng, (place, f"the {number} {{noun}} from the {{first}}"))
    return _of_three(rng, (2 - place, f"the {number} {{noun}} from the {{last}}"))


def _of_three(rng: np.random.Generator, chosen: tuple[int, str]) -> Wanted:
    place, template = chosen
    kind, colour_ = _any_patterned(rng)
    level = rng.random() < 0.5
    first, last = ("left", "right") if level else ("top", "bottom")
    strips = [(0.0, 0.22), (0.4, 0.6), (0.78, 1.0)]
    wishes = [
        Wish(kind, colour_, "medium", (low, 0.25, high, 0.75) if level else (0.25, low, 0.75, high))
        for low, high in strips
    ]
    wishes.insert(0, wishes.pop(place))
    text = template.format(noun=_name(kind.noun, colour_), first=first, last=last)
    return Wanted([*wishes, *_clutter(rng, kind.noun)[:1]], text, needed=3)


def negated(rng: np.random.Generator) -> Wanted:
    """One of two of a kind, by a colour, a side or a relation that it does not have."""
    way = rng.integers(3)
    if way == 0:
        kind, rival = (FREE_COLOURED[i] for i in rng.choice(len(FREE_COLOURED), 2, replace=False))
        colour_, other = rng.choice(tuple(COLOURS), 2, replace=False)
        wishes = [Wish(kind, other), Wish(kind, colour_), Wish(rival, colour_)]
        return Wanted(wishes, f"the {kind.noun} that is not {colour_}")
    side = pick(rng, tuple(SIDES))
    if way == 1:
        kind, colour_ = _any_patterned(rng)
        wishes = [Wish(kind, colour_, None, SIDES[OPPOSITE[side]]), Wish(kind, colour_, None, SIDES[side])]
        where = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}[side]
        text = f"the {_name(kind.noun, colour_)} that is not {where}"
        return Wanted([*wishes, *_clutter(rng, kind.noun)[:2]], text, needed=2)
    alike = _any_patterned(rng)
    anchor = pick(rng, [kind for kind in OWN_PALETTE if kind is not alike[0]])
    target = f"the {_name(alike[0].noun, alike[1])} that is not"
    return Wanted(_around(alike, anchor, OPPOSITE[side]), RELATIONS[side][0].format(target, f"the {anchor.noun}"))


def every(rng: np.random.Generator) -> Wanted:
    """All of a kind, two or three, beside other things."""
    kind, colour_ = _any_patterned(rng)
    count = int(rng.integers(2, 4))
    number = ("both", "two") if count == 2 else ("three",)
    text = pick(rng, ("all the {}", "all {}", "every {}", *(f"{each} {{}}" for each in number)))
    name = _name(kind.noun, colour_) if text.startswith("every") else _plural(kind.noun, colour_)
    wishes = [Wish(kind, colour_, pick(rng, ("small", "medium"))) for _ in range(count)]
    return Wanted([*wishes, *_clutter(rng, kind.noun)[:2]], text.format(name), needed=count, targets=count)


def absent(rng: np.random.Generator) -> Wanted:
    """A thing that is not there: of a kind that nothing is of, or of a colour that none of its kind has."""
    if rng.random() < 0.5:
        wanted = noun(rng)
        return Wanted(wanted.wishes[1:], wanted.expression, targets=0)
    wanted = colour_noun(rng)
    alike = wanted.wishes[1]
    return Wanted([alike, *_clutter(rng, alike.kind.noun)], wanted.expression, targets=0, needed=1)


REFERRALS: dict[str, Callable[[np.random.Generator], Wanted]] = {
    "noun": noun,
    "colour_noun": colour_noun,
    "colour": colour,
    "position": position,
    "relation": relation_to,
    "size": size,
    "shape": shape,
}

FURTHER_REFERRALS: dict[str, Callable[[np.random.Generator], Wanted]] = {
    "redundant_size": redundant_size,
    "row": row,
    "ordinal": ordinal,
    "negated": negated,
    "all": every,
    "absent": absent,
}


def _any_patterned(rng: np.random.Generator) -> tuple[Kind, str | None]:
    kind = pick(rng, OWN_PALETTE + FREE_COLOURED)
    return kind, pick(rng, tuple(COLOURS)) if kind.free_coloured else None


def _name(noun_: str, colour_: str | None) -> str:
    return f"{colour_} {noun_}" if colour_ else noun_


def _plural(noun_: str, colour_: str | None) -> str:
    """Of the catalogue's nouns: "two zebras", "two blue boxes"."""
    irregular = {
        "dice": "dice",
        "goldfish": "goldfish",
        "cactus": "cactuses",
        "box": "boxes",
        "strawberry": "strawberries",
        "butterfly": "butterflies",
    }
    return _name(irregular.get(noun_, f"{noun_}s"), colour_)

"""What was read in an expression, in words."""

from refam.language.phrase import Direction, Phrase, Rank, Relation, Size, Thing

__all__ = ["describe"]

EXTREMES = {
    Size.BIG: "biggest",
    Size.SMALL: "smallest",
    Size.TALL: "tallest",
    Size.SHORT: "shortest",
    Size.WIDE: "widest",
    Size.NARROW: "narrowest",
}
SUFFIXES = {1: "st", 2: "nd", 3: "rd"}
LINKS = {
    Direction.LEFT: "left of",
    Direction.RIGHT: "right of",
    Direction.TOP: "above",
    Direction.BOTTOM: "below",
    Direction.FAR: "far from",
    Direction.IN_FRONT: "in front of",
}


def describe(phrase: Phrase) -> str:
    """The target and what is said of it, such as "zebra, 2nd from the left, near (box)"."""
    return _thing(phrase.target, phrase)


def _thing(thing: Thing, phrase: Phrase) -> str:
    parts = [phrase.name_of(thing)] if thing.words else []
    if thing.count != 1:
        parts.append("all" if thing.count is None else f"{thing.count} of them")
    parts += [f"not {phrase.words[index].text}" for index in sorted(thing.lacking)]
    parts += [_rank(rank) for rank in thing.ranks]
    parts += [_relation(relation, phrase) for relation in thing.relations]
    parts += [f"except ({_thing(excluded, phrase)})" for excluded in thing.excluded]
    return ", ".join(parts)


def _rank(rank: Rank) -> str:
    number = "" if rank.number == 1 else f"{rank.number}{SUFFIXES.get(rank.number, 'th')} "
    if isinstance(rank.by, Size):
        text = f"{number}{EXTREMES[rank.by]}"
    elif rank.by is Direction.MIDDLE:
        text = "in the middle"
    elif rank.number == 1:
        text = f"on the {rank.by} side" if rank.by in {Direction.LEFT, Direction.RIGHT} else f"at the {rank.by}"
    else:
        text = f"{number}from the {rank.by}"
    return f"not {text}" if rank.negated else text


def _relation(relation: Relation, phrase: Phrase) -> str:
    anchors = " and ".join(f"({_thing(anchor, phrase)})" for anchor in relation.anchors)
    link = LINKS.get(relation.direction, str(relation.direction))
    return f"{'not ' if relation.negated else ''}{link} {anchors}"

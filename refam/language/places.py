"""Sides of the picture, sizes and depths: which of several like things is meant."""

from refam.language import vocabulary as english
from refam.language.cursor import Cursor
from refam.language.draft import Draft
from refam.language.phrase import Direction, Rank, Size

__all__ = ["read_depth", "read_ordinal_side", "read_place", "read_sides", "read_size"]

PREPOSITIONS = frozenset({"on", "in", "at", "to", "from", "towards", "near"})
DEGREES = frozenset({"far", "very", "extreme", "absolute"})


def read_size(cursor: Cursor, draft: Draft, *, negated: bool = False) -> bool:
    """A size, perhaps numbered: "big", "second largest"."""
    size = english.SIZES.get(cursor.word())
    if size is None:
        return False
    draft.ranks.append(Rank(size, draft.ordinal or 1, negated))
    draft.ordinal = None
    cursor.sizes.add(cursor.at)
    cursor.skip()
    return True


def read_sides(cursor: Cursor, draft: Draft, *, negated: bool = False) -> None:
    """Sides of the picture that stand here: "left", "top right corner of the picture"."""
    while cursor.word() in english.SIDES:
        draft.ranks.append(Rank(english.SIDES[cursor.word()], negated=negated))
        cursor.sides.add(cursor.at)
        cursor.skip()
        _skip_part(cursor)


def read_place(cursor: Cursor, draft: Draft, *, negated: bool = False) -> bool:
    """A side of the picture: "on the left", "in the top right corner", or "leftmost" behind the name."""
    side = 0
    while side < 2 and cursor.word(side) in PREPOSITIONS:
        side += 1
    has_preposition = side > 0
    side += cursor.word(side) in english.DETERMINERS
    while cursor.word(side) in DEGREES:
        side += 1
    if cursor.word(side) not in english.SIDES or cursor.anchor_of_side(side) is not None:
        return False
    end = side
    while cursor.word(end) in english.SIDES or cursor.is_part(end):
        end += 1
    describes_other = cursor.content(end) and not cursor.breaks(end) and cursor.word(end) not in english.ACTIONS
    if (has_preposition and describes_other) or not (has_preposition or draft.named):
        return False  # "on the left sofa"; or an adjective of the name to come
    cursor.skip(side)
    read_sides(cursor, draft, negated=negated)
    return True


def read_ordinal_side(cursor: Cursor, draft: Draft, *, negated: bool = False) -> bool:
    """ "from the left", which says from where an ordinal counts."""
    if draft.ordinal is None or cursor.word() not in PREPOSITIONS:
        return False
    ahead = 1 + (cursor.word(1) in english.DETERMINERS)
    side = english.SIDES.get(cursor.word(ahead))
    if side is None or side is Direction.MIDDLE or cursor.anchor_of_side(ahead) is not None:
        return False
    draft.ranks.append(Rank(side, draft.ordinal, negated))
    draft.ordinal = None
    cursor.sides.add(cursor.at + ahead)
    cursor.skip(ahead + 1)
    _skip_part(cursor)
    return True


def read_depth(cursor: Cursor, draft: Draft, *, negated: bool = False) -> bool:
    """ "in the background", "closest to the camera": how large a thing looks tells how far away it is."""
    for phrase, size in english.DEPTHS.items():
        if cursor.stands(*phrase) and cursor.word(len(phrase)) != "of":
            draft.ranks.append(Rank(size, negated=negated))
            cursor.skip(len(phrase))
            return True
    link = cursor.link()
    if link is None or link[1] not in {Direction.NEAR, Direction.FAR}:
        return False
    ahead = link[0] + (cursor.word(link[0]) in english.DETERMINERS)
    if cursor.word(ahead) not in english.VIEWERS:
        return False
    draft.ranks.append(Rank(Size.BIG if link[1] is Direction.NEAR else Size.SMALL, negated=negated))
    cursor.skip(ahead + 1)
    return True


def _skip_part(cursor: Cursor) -> None:
    """Read over "most", "hand side", "corner", and "of the picture"."""
    while cursor.is_part():
        cursor.skip()
    if cursor.word() in {"of", "in"}:
        ahead = 1 + (cursor.word(1) in english.DETERMINERS)
        if cursor.word(ahead) in english.PICTURE:
            cursor.skip(ahead + 1)

"""A noun phrase: how many of what, with the words that stand before its name."""

import re

from refam.language import vocabulary as english
from refam.language.cursor import Cursor, negates
from refam.language.draft import Draft, refuse
from refam.language.phrase import Direction, Rank
from refam.language.places import read_place, read_sides, read_size

__all__ = ["read_noun", "read_quantity"]

NAMED_BY_ORDINAL = frozenset({("first", "aid"), ("second", "hand"), ("third", "party")})
LARGEST_COUNT = 50  # a larger number counts no things in a picture


def read_noun(cursor: Cursor, draft: Draft) -> None:
    """Words up to the first that opens a relation, a clause or an exception, once a name has come."""
    while not cursor.ended and not (draft.named and (cursor.breaks() or _ends(cursor, draft))):
        start = cursor.at
        if cursor.word() in english.SINGULAR_DETERMINERS and not draft.counted:
            draft.singular = True
        if not (_read_quantifier(cursor, draft) or _read_adjective(cursor, draft) or _read_name(cursor, draft)):
            break
        draft.head.extend(range(start, cursor.at))
    if english.is_plural(draft.noun) and not draft.singular and not draft.counted:
        draft.count = None


def _ends(cursor: Cursor, draft: Draft) -> bool:
    word = cursor.word()
    return (
        word in english.CLAUSES
        or word in english.ACTIONS
        or word in {"or", "but", "without"}
        or negates(word)
        or cursor.excludes()
        or cursor.link() is not None
        or cursor.anchor_of_side() is not None
        or (word in {"and", "plus"} and _opens_other(cursor))
        or (word in english.ORDINALS and cursor.word(1) == "from")
    )


def _opens_other(cursor: Cursor) -> bool:
    """Whether what follows "and" is not of this noun phrase: "a dog and the cat", "red and on the left"."""
    word = cursor.word(1)
    others = english.RELATIVES | english.CLAUSES | english.ACTIONS | english.SIDES.keys()
    return cursor.opens_thing(1) or negates(word) or word in others or cursor.link(1) is not None


def _read_quantifier(cursor: Cursor, draft: Draft) -> bool:
    """What says how many, or which of several; not behind the name."""
    if draft.named:
        return False
    if not draft.head and read_place(cursor, draft):  # "on the left, the zebra"
        return True
    if cursor.word() == "of":
        if draft.ranks or draft.ordinal is not None:
            draft.count_to(1)  # "the smallest of the mugs"
        cursor.skip()
        return True
    return read_quantity(cursor, draft)


def read_quantity(cursor: Cursor, draft: Draft) -> bool:
    """A number, an ordinal or a word such as "all" or "both"."""
    word, following = cursor.word(), cursor.word(1)
    if word == "last" and following and "from" in (cursor.word(ahead) for ahead in range(1, 6)):
        raise refuse("last")
    written = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)", word)
    ordinal = int(written[1]) if written else english.ORDINALS.get(word, 0)
    if ordinal and (word, following) not in NAMED_BY_ORDINAL:
        draft.ordinal = ordinal
        cursor.skip()
        read_size(cursor, draft)
        return True
    counted = _count(cursor, draft)
    if counted is None:
        return False
    count, length = counted
    if not (draft.counted and draft.count):  # "one of the two mugs" is one
        draft.count_to(count or None)
    cursor.skip(length)
    return True


def _count(cursor: Cursor, draft: Draft) -> tuple[int, int] | None:
    """How many are meant, 0 for all, and how many words say so; None where none does."""
    word, following = cursor.word(), cursor.word(1)
    number = int(word) if word.isascii() and word.isdecimal() else english.NUMBERS.get(word, 0)
    if word == "both":
        return 2, 1
    if 0 < number <= LARGEST_COUNT and _can_be_counted(cursor, plural=number > 1):
        return number, 1
    if word in english.ALL:
        if following == "but":
            raise refuse("only negated")
        return 0, 1
    if word in english.GROUPS and following == "of":
        return 0, 2
    if word in {"pair", "couple"} and following == "of":
        return (1 if cursor.word(2) in english.SINGULARS_IN_S else 2), 2
    return None


def _can_be_counted(cursor: Cursor, *, plural: bool) -> bool:
    following = cursor.word(1)
    return (
        cursor.content(1)
        or following in english.SIZES.keys() | english.SIDES.keys() | english.ORDINALS.keys()
        or following in {"of", "the", "other"}
        or (plural and following in english.PRONOUNS)
    )


def _read_adjective(cursor: Cursor, draft: Draft) -> bool:
    """A size, a side, or what it is not: "non-red", "not red"."""
    word = cursor.word()
    if cursor.is_name_with_side():
        return False
    if negates(word) and cursor.content(1) and (word == "non" or cursor.content(2)):
        draft.lacking.append(cursor.at + 1)
        cursor.skip(2)
        return True
    if word in english.CLOSENESS and not draft.named:
        draft.ranks.append(Rank(english.CLOSENESS[word]))
        cursor.sizes.add(cursor.at)
        cursor.skip()
        return True
    if word in {"far", "very"} and cursor.word(1) in english.SIDES:
        cursor.skip()
        return True
    if word in english.SIDES and cursor.word(1) in english.DIRECTED:
        cursor.skip(2)  # "left-facing" is no place
        return True
    return read_size(cursor, draft) or _read_side(cursor, draft)


def _read_side(cursor: Cursor, draft: Draft) -> bool:
    """A side before or behind the name: "the left zebra", "the zebra left"."""
    word = cursor.word()
    if word not in english.SIDES:
        return False
    if cursor.anchor_of_side() is not None:  # of a thing without a name: "left of the box"
        if cursor.is_part(1) or english.SIDES[word] not in {Direction.LEFT, Direction.RIGHT}:
            raise refuse("part")
        draft.pronoun = True
        return False
    if word == "right" and cursor.link(1):
        cursor.skip()  # "right next to" is "directly next to"
    else:
        read_sides(cursor, draft)
    return True


def _read_name(cursor: Cursor, draft: Draft) -> bool:
    """A word that names the thing, or one without a meaning of its own. False where a relation or a clause opens."""
    word = cursor.word()
    if word in english.PRONOUNS:
        draft.pronoun = True
        if word in {"ones", "everything"} and not draft.counted:
            draft.count = None
    elif cursor.content() or word in english.SIDES:
        if "of" not in (cursor.text_of(index) for index in draft.head):
            draft.noun, draft.noun_at = word, cursor.at
        draft.words.append(cursor.at)
    elif not draft.named and (word in english.CLAUSES | english.ACTIONS or cursor.link() is not None):
        return False
    cursor.skip()
    return True

"""What a referring expression says, read without a parser: target, position, relation.

"the ball left of the zebra"    target: ball     relation: left of, anchor: zebra
"the small zebra on the left"   target: small zebra     position: left
"""

import re
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Direction", "Phrase", "Relation", "Word", "is_stop_word", "read_phrase"]


class Direction(StrEnum):
    """A side of the picture, or of another thing."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    MIDDLE = "middle"
    NEAR = "near"


@dataclass(frozen=True)
class Word:
    """A word of the lower-cased expression and its place there, expression[start:end]."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Relation:
    """Where the target lies relative to another thing, the anchor, whose words are given by their indices."""

    direction: Direction
    anchor: frozenset[int]


@dataclass(frozen=True)
class Phrase:
    """An expression's words, and their indices by what they say.

    Attributes:
        words: all words, in order.
        target: words of the noun phrase that names the target; all words where none could be told apart.
        directions: words that name a side, of the picture or of an anchor.
        positions: the target's sides of the picture, without repeats.
        relation: the target's place relative to an anchor, if it has one.
    """

    words: tuple[Word, ...]
    target: frozenset[int]
    directions: frozenset[int]
    positions: tuple[Direction, ...]
    relation: Relation | None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = _words(
    """
    a an the this that these those some any each every either neither no such same other another all both
    thing things object objects item items
    i me my you your he him his she her hers it its we us our they them their one ones
    who whom whose which what where when while why how
    of on in at by to from with without for into onto over under above below beneath underneath behind beside besides
    between among amongst against along across around near inside outside within off out up down through toward towards
    about as than next there here away
    and or but nor so if then also just only very too quite more most less least not
    is are was were be been being am has have had having do does did doing can could will would shall should may might
    must
    """
)

SIDES = {
    "left": Direction.LEFT,
    "leftmost": Direction.LEFT,
    "right": Direction.RIGHT,
    "rightmost": Direction.RIGHT,
    "top": Direction.TOP,
    "topmost": Direction.TOP,
    "upper": Direction.TOP,
    "uppermost": Direction.TOP,
    "bottom": Direction.BOTTOM,
    "bottommost": Direction.BOTTOM,
    "lower": Direction.BOTTOM,
    "lowest": Direction.BOTTOM,
    "lowermost": Direction.BOTTOM,
    "highest": Direction.TOP,
    "middle": Direction.MIDDLE,
    "center": Direction.MIDDLE,
    "centre": Direction.MIDDLE,
    "central": Direction.MIDDLE,
}
PREPOSITIONS = {
    "above": Direction.TOP,
    "over": Direction.TOP,
    "below": Direction.BOTTOM,
    "under": Direction.BOTTOM,
    "beneath": Direction.BOTTOM,
    "underneath": Direction.BOTTOM,
    "near": Direction.NEAR,
    "beside": Direction.NEAR,
    "by": Direction.NEAR,
    "next": Direction.NEAR,
    "closest": Direction.NEAR,
    "nearest": Direction.NEAR,
}
PARTS = _words("side corner part edge end half area hand")
PICTURE = _words("image picture photo photograph frame screen scene view shot")
RELATIVES = _words("that which who whose whom where when while as")
HEAD_ENDS = (
    RELATIVES
    | frozenset(PREPOSITIONS)
    | _words(
        """
        on in at to from with without for into onto behind between among amongst against along across around inside
        outside within off through toward towards about
        is are was were has have had
        wearing holding standing sitting riding looking facing carrying eating playing walking running lying laying
        leaning using touching
        """
    )
)


def is_stop_word(word: str) -> bool:
    """Whether a lower-cased word only serves grammar."""
    return word in STOP_WORDS


def read_phrase(expression: str) -> Phrase:
    """Read a lower-cased expression. Never fails: what is not understood is left out of every group but the target."""
    words = tuple(Word(m[0], m.start(), m.end()) for m in re.finditer(r"[^\W_]+(?:['’][^\W_]+)*", expression))  # noqa: RUF001
    texts = [word.text for word in words]
    relation_at, relation = _find_relation(texts)
    target = _head(texts, expression, words)
    return Phrase(
        words=words,
        target=target or frozenset(range(len(words))),
        directions=frozenset(i for i, text in enumerate(texts) if text in SIDES),
        positions=_positions(texts, target, relation_at),
        relation=relation,
    )


def _is_content(text: str) -> bool:
    return text not in STOP_WORDS and text not in SIDES


def _head(texts: list[str], expression: str, words: tuple[Word, ...]) -> frozenset[int]:
    """Words up to the first that opens a relation or a clause, once a content word has come."""
    head: list[int] = []
    for index, text in enumerate(texts):
        found = any(_is_content(texts[i]) for i in head)
        after_comma = index > 0 and "," in expression[words[index - 1].end : words[index].start]
        if found and (text in HEAD_ENDS or after_comma or _opens_relation(texts, index)):
            break
        if text in HEAD_ENDS and not found:
            if head:
                break
            continue
        head.append(index)
    return frozenset(head) if any(_is_content(texts[i]) for i in head) else frozenset()


def _opens_relation(texts: list[str], index: int) -> bool:
    """Whether a side at this index is a relation ("left of the zebra"), not an adjective or a side of the picture."""
    return texts[index] in SIDES and _anchor_start(texts, index) is not None


def _anchor_start(texts: list[str], index: int) -> int | None:
    """Index where the anchor begins behind the side at `index` ("left [side] of X"); None if X is the picture."""
    after = index + 1
    while after < len(texts) and (texts[after] in PARTS or texts[after] in SIDES):
        after += 1
    if after >= len(texts) or texts[after] != "of":
        return None
    anchor = _anchor(texts, after + 1)
    if not anchor or texts[max(anchor)] in PICTURE:
        return None
    return after + 1


def _anchor(texts: list[str], start: int) -> frozenset[int]:
    """Content words of the noun phrase that begins at `start`."""
    words: list[int] = []
    for index in range(start, len(texts)):
        if words and texts[index] in HEAD_ENDS:
            break
        if _is_content(texts[index]):
            words.append(index)
        elif words and texts[index] in SIDES:
            break
    return frozenset(words)


def _find_relation(texts: list[str]) -> tuple[int, Relation | None]:
    """The first relation with an anchor, and the index where it begins (the number of words if there is none)."""
    for index, text in enumerate(texts):
        if _opens_relation(texts, index):
            start = _anchor_start(texts, index)
            if start is not None and SIDES[text] is not Direction.MIDDLE:
                return index, Relation(SIDES[text], _anchor(texts, start))
        elif text in PREPOSITIONS and index > 0:
            anchor = _anchor(texts, index + 1)
            if anchor and texts[max(anchor)] not in PICTURE:
                return index, Relation(PREPOSITIONS[text], anchor)
    return len(texts), None


def _positions(texts: list[str], target: frozenset[int], relation_at: int) -> tuple[Direction, ...]:
    """The target's sides of the picture: sides in its noun phrase, and later ones that describe no other thing."""
    found: dict[Direction, None] = {}
    for index, text in enumerate(texts):
        if text not in SIDES or _opens_relation(texts, index):
            continue
        following = texts[index + 1] if index + 1 < len(texts) else ""
        if text == "right" and following in PREPOSITIONS and texts[index - 1] != "the":
            continue  # "right above the box" means "directly"
        describes_other = following and _is_content(following) and following not in PARTS and index > relation_at
        if index in target or not describes_other:
            found[SIDES[text]] = None
    return tuple(found)

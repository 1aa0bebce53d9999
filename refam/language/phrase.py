"""What a referring expression says, as data: of which thing, how many, where, how large, and what it is not."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Direction", "Phrase", "Rank", "Relation", "Size", "Thing", "Word"]


class Direction(StrEnum):
    """A side of the picture, or where a thing lies as seen from another one."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    MIDDLE = "middle"
    NEAR = "near"
    FAR = "far"
    ON = "on"
    INSIDE = "inside"
    OUTSIDE = "outside"
    BETWEEN = "between"
    BEHIND = "behind"
    IN_FRONT = "in front"


class Size(StrEnum):
    """An extreme of like things: by area, height or width."""

    BIG = "big"
    SMALL = "small"
    TALL = "tall"
    SHORT = "short"
    WIDE = "wide"
    NARROW = "narrow"


@dataclass(frozen=True)
class Word:
    """A word of the lower-cased expression and its place there, expression[start:end]."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Rank:
    """Which of several like things is meant: the `number`-th counted from a side of the picture, or by size; or, if
    negated, none that this would mean."""

    by: Direction | Size
    number: int = 1
    negated: bool = False


@dataclass(frozen=True)
class Relation:
    """Where a thing lies relative to its anchors, of which "between" may have two; or where it does not."""

    direction: Direction
    anchors: "tuple[Thing, ...]"
    negated: bool = False


@dataclass(frozen=True)
class Thing:
    """What a noun phrase means.

    Attributes:
        words: indices of the words that name it; no side, size, number or stop word. Empty for "the one on the left".
        noun: those of the words that name its kind, such as "traffic light"; empty for "the red one".
        lacking: of what it is not or does not have ("not red", "without a hat"), the indices of the words.
        ranks: which of several such things it is.
        relations: where it lies.
        excluded: of such things, those that are not meant ("except the red one"); named by nothing where they are told
            by their place alone.
        count: how many are meant; None for all there are.
    """

    words: frozenset[int] = frozenset()
    noun: frozenset[int] = frozenset()
    lacking: frozenset[int] = frozenset()
    ranks: tuple[Rank, ...] = ()
    relations: tuple[Relation, ...] = ()
    excluded: "tuple[Thing, ...]" = ()
    count: int | None = 1

    def and_others(self) -> "Iterator[Thing]":
        """This thing, and all that it is told by: its anchors, theirs .., and what is left out."""
        yield self
        for thing in (*(anchor for relation in self.relations for anchor in relation.anchors), *self.excluded):
            yield from thing.and_others()

    @property
    def attributes(self) -> frozenset[int]:
        """Indices of the words that say how it looks."""
        return self.words - self.noun

    @property
    def is_one(self) -> bool:
        """Whether it is a single thing, told by what and where it is alone."""
        numbered = any(rank.number > 1 for rank in self.ranks)
        return self.count == 1 and not numbered and not self.lacking and not self.excluded


@dataclass(frozen=True)
class Phrase:
    """An expression, lower-cased and without what only asks for a mask ("please segment").

    Attributes:
        text: the expression.
        words: all its words, in order.
        target: what is looked for.
        head: indices of all words of the target's noun phrase, stop words among them; all words if it has none.
        sides, sizes: indices of words that name a side, or a size.
        unread: indices of words that matter, and that are part of nothing that was read.
    """

    text: str
    words: tuple[Word, ...]
    target: Thing
    head: frozenset[int]
    sides: frozenset[int] = field(default=frozenset())
    sizes: frozenset[int] = field(default=frozenset())
    unread: frozenset[int] = field(default=frozenset())

    def tells_looks_of(self, thing: Thing) -> bool:
        """Whether it says how a thing looks, or does not; of the target also what was not read, and that a transformer
        alone understands, such as "wearing a hat"."""
        return bool(thing.attributes or thing.lacking or (thing is self.target and self.unread))

    def name_of(self, thing: Thing) -> str:
        """The words that name a thing, such as "red mug"."""
        return self._joined(thing.words)

    def noun_of(self, thing: Thing) -> str:
        """Those that name its kind, such as "mug"."""
        return self._joined(thing.noun)

    def _joined(self, indices: frozenset[int]) -> str:
        return " ".join(self.words[index].text for index in sorted(indices))

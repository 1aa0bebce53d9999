"""A thing as far as it is read, and what is refused."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from refam.errors import ExpressionError
from refam.language.phrase import Rank, Relation, Thing
from refam.language.vocabulary import ATTRIBUTES

__all__ = ["Draft", "refuse"]

REFUSALS = {
    "only negated": "The text says only what is not meant; write what to look for, such as 'the mug' or "
    "'the mug that is not red'.",
    "nothing named": "The text names no kind of thing; write what to look for, such as 'the mug on the left'.",
    "no side": "The text counts, but does not say from which side; write it so: 'the second zebra from the left'.",
    "last": "Count from the other side instead, so: 'the first zebra from the right'.",
    "several": "The text names several kinds of things; give each a text of its own, as a list: "
    "['the dog', 'the cat'].",
    "choice": "The text leaves a choice; give each thing a text of its own, as a list: ['the dog', 'the cat'].",
    "many": "The text names too many things; write what to look for and, at most, how it lies to a few others.",
    "part": "The text asks for a part of a thing, and what is found are whole things; name the thing alone.",
}


def refuse(reason: str) -> ExpressionError:
    """The error, to be raised, that says why a text is not read and what to write instead."""
    return ExpressionError(REFUSALS[reason])


@dataclass
class Draft:
    """A Thing in the making.

    Attributes:
        head: the indices of its noun phrase's words.
        counted: whether the text says how many there are.
        ordinal: a number whose side has not come yet.
        pronoun: whether it is named by a word such as "one" or "thing".
        noun: the word that names it, whose ending tells whether it is a plural.
        noun_at: its index.
        singular: whether its article tells that it is none.
    """

    words: list[int] = field(default_factory=list)
    lacking: list[int] = field(default_factory=list)
    ranks: list[Rank] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    excluded: list[Thing] = field(default_factory=list)
    count: int | None = 1
    head: list[int] = field(default_factory=list)
    counted: bool = False
    ordinal: int | None = None
    pronoun: bool = False
    noun: str = ""
    noun_at: int | None = None
    singular: bool = False

    @property
    def named(self) -> bool:
        """Whether a word that names it has come."""
        return bool(self.words) or self.pronoun

    def count_to(self, count: int | None) -> None:
        """Note how many the text says there are; None for all."""
        self.count, self.counted = count, True

    def thing(self, text_of: Callable[[int], str]) -> Thing:
        """The thing; text_of: gives a word by its index. Raises ExpressionError if its ordinal lacks a side."""
        if self.ordinal is not None:
            raise refuse("no side")
        return Thing(
            words=frozenset(self.words),
            noun=frozenset(self._noun(text_of)),
            lacking=frozenset(self.lacking),
            ranks=tuple(self.ranks),
            relations=tuple(self.relations),
            excluded=tuple(self.excluded),
            count=self.count,
        )

    def _noun(self, text_of: Callable[[int], str]) -> Iterator[int]:
        """Indices of the noun and of the words right before it that belong to it, as in "traffic light"."""
        at = None if self.pronoun else self.noun_at  # of "the red one" there is none
        while at is not None and at in self.words:
            yield at
            at = at - 1 if at and text_of(at - 1) not in ATTRIBUTES else None

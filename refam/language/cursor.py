"""The words of an expression, and the place up to which they are read."""

import re
from collections.abc import Sequence

from refam.language import vocabulary as english
from refam.language.phrase import Direction, Word

__all__ = ["Cursor", "find_words", "negates"]

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
BREAK = re.compile(r"[,;:.!?()]|\s[-–—]\s")  # noqa: RUF001 - people type all dashes
CONTRACTED_NOT = re.compile(r"(?:is|are|was|were|does|do|did|has|have|ca|wo|ai)n'?t")


def find_words(text: str) -> tuple[Word, ...]:
    """A lower-cased text's words, in any script."""
    return tuple(Word(match[0], match.start(), match.end()) for match in WORD.finditer(text))


def negates(word: str) -> bool:
    """Whether a word turns what follows into its opposite."""
    return word in english.NEGATIONS or bool(CONTRACTED_NOT.fullmatch(word))


class Cursor:
    """at: index of the next word. sides, sizes: indices of the words that were read as such."""

    def __init__(self, text: str, words: Sequence[Word]) -> None:
        self.at = 0
        self.sides: set[int] = set()
        self.sizes: set[int] = set()
        self._words = [word.text for word in words]
        ends = [0, *(word.end for word in words)]
        self._breaks = [bool(BREAK.search(text, end, word.start)) for end, word in zip(ends, words, strict=False)]

    @property
    def ended(self) -> bool:
        """Whether all words are read."""
        return self.at >= len(self._words)

    def word(self, ahead: int = 0) -> str:
        """A word so many places from the next one; empty beyond the ends."""
        place = self.at + ahead
        return self._words[place] if 0 <= place < len(self._words) else ""

    def text_of(self, index: int) -> str:
        """The word of an index."""
        return self._words[index]

    def breaks(self, ahead: int = 0) -> bool:
        """Whether a comma or the like stands before a word, or nothing follows."""
        place = self.at + ahead
        return place >= len(self._breaks) or self._breaks[place]

    def skip(self, count: int = 1) -> None:
        """Read on."""
        self.at += count

    def stands(self, *phrase: str, ahead: int = 0) -> bool:
        """Whether these words stand here."""
        return tuple(self._words[self.at + ahead : self.at + ahead + len(phrase)]) == phrase

    def skip_all(self, words: frozenset[str]) -> None:
        """Read on while the next word is one of these."""
        while self.word() in words:
            self.at += 1

    def content(self, ahead: int = 0) -> bool:
        """Whether a word there may name a thing, or what it is like."""
        word = self.word(ahead)
        return bool(word) and not (
            english.is_stop_word(word) or word in english.SIDES or word in english.SIZES or negates(word)
        )

    def content_follows(self) -> bool:
        """Whether any of the words to come may name a thing."""
        return any(self.content(ahead) for ahead in range(len(self._words) - self.at))

    def opens_thing(self, ahead: int = 0) -> bool:
        """Whether a noun phrase of its own seems to begin there: "the ..", "two ..", "cats"."""
        word = self.word(ahead)
        quantities = english.ALL | english.NUMBERS.keys() | {"both"}
        return word in english.DETERMINERS or word in quantities or english.is_plural(word)

    def is_part(self, ahead: int = 0) -> bool:
        """Whether a word there only says that a side is one: "left side", "left hand corner"."""
        word = self.word(ahead)
        return word in english.PARTS or (word == "hand" and self.word(ahead + 1) in english.PARTS)

    def excludes(self, ahead: int = 0) -> bool:
        """Whether "except the ..", "other than ..", "but the ..", "not the .." stands there."""
        word, second = self.word(ahead), self.word(ahead + 1)
        return (
            word in {"except", "excluding", "minus"}
            or (word, second) in {("other", "than"), ("apart", "from"), ("aside", "from"), ("rather", "than")}
            or (word == "but" and second in english.DETERMINERS)
            or (word == "not" and second in english.DETERMINERS)
        )

    def link(self, ahead: int = 0) -> tuple[int, Direction] | None:
        """How many words there put what is before them into a relation with what follows, and which."""
        for phrase, direction in english.LINK_PHRASES:
            if self.stands(*phrase, ahead=ahead):
                return len(phrase), direction
        return None

    def anchor_of_side(self, ahead: int = 0) -> int | None:
        """How far ahead the anchor of "left [side] of .." begins; None if there is none, or it is the picture."""
        if self.word(ahead) not in english.PLAIN_SIDES:
            return None
        after = ahead
        while self.word(after) in english.PLAIN_SIDES or self.is_part(after):
            after += 1
        if self.word(after) != "of":
            return None
        left = range(after + 1, len(self._words) - self.at)
        anchor = next((self.word(place) for place in left if self.content(place)), "")
        return after + 1 if anchor and anchor not in english.PICTURE else None

    def is_name_with_side(self) -> bool:
        """Whether the side here is part of a name: "right turn sign", "top hat"."""
        named = english.NAMED_BY_SIDE.get(self.word(), frozenset())
        return self.word() in english.SIDES and (self.word(1) in english.TURNED or self.word(1) in named)

"""Which of a label config's labels a mask gets."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from backend.errors import TaskError
from backend.label_studio.request import Label
from refam.language.vocabulary import singulars

__all__ = ["choose_label"]

WITHOUT_BLANKS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")  # or with endings
WORD = re.compile(r"[^\W_]+")
LEAST_WORD = 3  # letters of an alias that a text may name: "a" and "2" stand in any text


def choose_label(labels: Sequence[Label], wanted: Any, text: str, default: str | None = None) -> str:
    """The name of the label that is wanted; else of the only one; else of the one that comes first in the text; else of
    the default.

    labels: those that a mask of the task may have, by name or alias; at least one.
    wanted: what a task says; nothing if it is empty.
    Raises TaskError if the label is unknown, or none can be told.
    """
    names = list(dict.fromkeys(label.name for label in labels))
    if wanted:
        remedy = f"Use one of {_listed(names, 'and')}, or add it to the label config."
        return _known(labels, str(wanted), "the label", "label", remedy)
    if len(names) == 1:
        return names[0]
    named = _spellings(tuple(labels)).first_in(text)
    if named is not None:
        return named
    if default:
        remedy = f"Set it to one of {_listed(names, 'and')}."
        return _known(labels, default, "the default label", "REFAM_BACKEND_DEFAULT_LABEL", remedy)
    either = _listed(names, "or")
    raise TaskError(
        "label",
        "the text does not say which label its mask gets.",
        f"Name {either} in the text, put it beside the text or into the task's field 'label', "
        "or set REFAM_BACKEND_DEFAULT_LABEL.",
        annotator=f"Name {either} in the prompt.",
    )


def _known(labels: Sequence[Label], wanted: str, what: str, field: str, remedy: str) -> str:
    words = _words(wanted)
    for label in labels:
        if words in (_words(label.name), _words(label.answer)):
            return label.name
    alike = [label.name for label in labels if _same_words(words, _words(label.name))]
    if alike:
        return alike[0]
    raise TaskError(field, f"{what} {wanted[:100]!r} is not in the label config.", remedy)


class _Spellings:
    """The names of labels, and those of their aliases that are words, to be found in texts in one pass."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._by_ends: dict[tuple[int, str, str], list[tuple[str, list[str], str]]] = {}
        self._without_blanks: list[tuple[str, str]] = []
        for label in labels:
            for spelling in dict.fromkeys((label.name, label.answer)):
                if spelling != label.name and not _is_word(spelling):
                    continue
                if any(unicodedata.name(character, "").startswith(WITHOUT_BLANKS) for character in spelling):
                    self._without_blanks.append((_plain(spelling).strip(), label.name))
                else:
                    words = _words(spelling)
                    for ends in _ends(words):
                        self._by_ends.setdefault(ends, []).append((spelling, words, label.name))
        self._lengths = sorted({length for length, *_ in self._by_ends})

    def first_in(self, text: str) -> str | None:
        """The label that a text names first, in words of its own, in singular or plural; anywhere in scripts without
        blanks. Of several in one place the longest."""
        plain = _plain(text)
        found = [
            (place, -len(spelling), name)
            for spelling, name in self._without_blanks
            if (place := plain.find(spelling)) >= 0
        ]
        matches = list(WORD.finditer(plain))
        words = [match[0] for match in matches]
        for start, match in enumerate(matches):
            here = [
                (match.start(), -len(spelling), name)
                for length in self._lengths
                for ends in _ends(words[start : start + length])
                for spelling, own, name in self._by_ends.get(ends, ())
                if _same_words(own, words[start : start + length])
            ]
            if here:
                found += here
                break
        return min(found)[2] if found else None


def _ends(words: Sequence[str]) -> list[tuple[int, str, str]]:
    """What words have in common with those that are the same in singular and plural: their number, and what the first
    and the last may be the plural of."""
    return [(len(words), first, last) for first in singulars(words[0]) for last in singulars(words[-1])]


def _is_word(alias: str) -> bool:
    return not alias.isascii() or (len(alias) >= LEAST_WORD and not alias.isdecimal())


@lru_cache(maxsize=64)
def _spellings(labels: tuple[Label, ...]) -> _Spellings:
    return _Spellings(labels)


def _words(name: str) -> list[str]:
    """A name's words: "Traffic_light" has two."""
    return WORD.findall(_plain(name)) or [_plain(name).strip()]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _same_words(one: Sequence[str], other: Sequence[str]) -> bool:
    return len(one) == len(other) and all(singulars(a) & singulars(b) for a, b in zip(one, other, strict=True))


def _listed(names: Sequence[str], last: str) -> str:
    """ "Mug, Animal or Other"."""
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]

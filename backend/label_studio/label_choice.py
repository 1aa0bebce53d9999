"""Which of a label config's labels a mask gets."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from backend.errors import TaskError
from backend.label_studio.request import Label
from refam.language.vocabulary import singulars

__all__ = ["choose_label"]

WITHOUT_BLANKS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")  # or with endings


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
    found = [(place, -len(spelling), name) for name, spelling, place in _mentions(labels, text)]
    if found:
        return min(found)[2]
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


def _mentions(labels: Sequence[Label], text: str) -> Iterator[tuple[str, str, int]]:
    """(name, spelling, place) of each label that a text names, by its name, or by its alias if that is a word."""
    for label in labels:
        for spelling in dict.fromkeys((label.name, label.answer)):
            if spelling != label.name and spelling.isascii() and (len(spelling) < LEAST_WORD or spelling.isdecimal()):
                continue
            place = _mention(spelling, text)
            if place is not None:
                yield label.name, spelling, place


def _mention(label: str, text: str) -> int | None:
    """Where a text names a label: in words of its own, in singular or plural; anywhere in scripts without blanks."""
    if any(unicodedata.name(character, "").startswith(WITHOUT_BLANKS) for character in label):
        place = _plain(text).find(_plain(label).strip())
        return place if place >= 0 else None
    words, found = _words(label), list(re.finditer(r"[^\W_]+", _plain(text)))
    for start in range(len(found) - len(words) + 1 if words else 0):
        if _same_words(words, [match[0] for match in found[start : start + len(words)]]):
            return found[start].start()
    return None


def _words(name: str) -> list[str]:
    """A name's words: "Traffic_light" has two."""
    return re.findall(r"[^\W_]+", _plain(name)) or [_plain(name).strip()]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _same_words(one: Sequence[str], other: Sequence[str]) -> bool:
    return len(one) == len(other) and all(singulars(a) & singulars(b) for a, b in zip(one, other, strict=True))


def _listed(names: Sequence[str], last: str) -> str:
    """ "Mug, Animal or Other"."""
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]

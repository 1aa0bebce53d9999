"""Which of a text's words ask for a mask, and which say of what: "please segment [the zebra] in this picture"."""

from collections.abc import Sequence

from refam.language import vocabulary as english
from refam.language.cursor import negates

__all__ = ["asked_for"]

QUESTIONS = frozenset({"wheres", "whats", "where's", "what's"})
TRAILING = frozenset({"please", "thanks", "thank", "you", "here", "is", "are", "there"})
DRAWN = english.PICTURE | {"mask", "outline", "pixels"}


def asked_for(words: Sequence[str]) -> tuple[int, int]:
    """Where the phrase begins and ends among a text's words."""
    first, last = 0, len(words)
    while last - first > 1 and (length := _opening(words[first : first + 3], at_start=first == 0)):
        first += length
    while last - first > 1 and words[last - 1] in TRAILING:
        last -= 1
    return min(first, last - 1), last


def _opening(words: Sequence[str], *, at_start: bool) -> int:
    """How many of the next words only ask, with one or two after them."""
    word, following, third = [*words, "", ""][:3]
    if negates(word) or negates(following) or word in english.NEGATED_COMMANDS:
        return 0
    phrase_follows = following in english.DETERMINERS | english.ALL | english.NUMBERS.keys() | {"both", "me", "out"}
    rules = (
        (word in english.COMMANDS, 1),
        (word in english.COURTESIES and following not in english.COPULAS, 1),
        (word in english.AMBIGUOUS_COMMANDS and (phrase_follows or following in english.COURTESIES or not at_start), 1),
        (word in english.ASKED and following in english.COPULAS, 2),
        (word in english.ASKED and following == "one" and third in english.COPULAS, 3),
        (word == "there" and following in english.COPULAS, 2),
        (word in english.COPULAS and following == "there", 2),
        (word == "how" and following == "many", 2),
        (word in QUESTIONS or word in {"which", "what", "there's"}, 1),
        (word in DRAWN and following == "of", 2),
        (following in DRAWN and third == "of", 3),
        (word in {"out", "where"} and following in english.COURTESIES - {"for", "at"}, 1),
    )
    return next((length for applies, length in rules if applies), 0)

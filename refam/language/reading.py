"""A referring expression -> what it says, read from left to right without a parser.

"the small zebra on the left"       a zebra: the smallest, the first from the left
"the ball left of the zebra"        a ball: left of a zebra
"all the mugs that are not red"     all mugs, but red ones
"the second zebra from the left"    a zebra: the second from the left
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from refam.language import vocabulary as english
from refam.language.cursor import Cursor, find_words, negates
from refam.language.draft import Draft, refuse
from refam.language.noun import read_noun, read_quantity
from refam.language.phrase import Direction, Phrase, Relation, Thing, Word
from refam.language.places import read_depth, read_ordinal_side, read_place, read_size
from refam.language.request import asked_for

__all__ = ["read_phrase"]

DEEPEST = 3  # anchors of anchors; beyond, a relation is the one's before
MOST_THINGS = 8  # in a text, each of which is looked for
DO = frozenset({"do", "does", "did"})


def read_phrase(expression: str) -> Phrase:
    """Read a lower-cased expression.

    Raises ExpressionError where it says only what is not meant, asks for several kinds of things, for too many or for a
    part of one, or leaves open from which side it counts.
    """
    expression = expression.replace("’", "'")  # noqa: RUF001 - people type both
    words = find_words(expression)
    first, last = asked_for([word.text for word in words])
    text = expression[words[first].start : words[last - 1].end] if words else expression
    words = find_words(text)
    cursor = Cursor(text, words)
    target = _read_target(cursor)
    thing = target.thing(cursor.text_of)
    if len(list(thing.and_others())) > MOST_THINGS:
        raise refuse("many")
    read = frozenset[int]().union(*(each.words | each.lacking for each in thing.and_others()))
    return Phrase(
        text=text,
        words=words,
        target=thing,
        head=frozenset(target.head) or frozenset(range(len(words))),
        sides=frozenset(cursor.sides),
        sizes=frozenset(cursor.sizes),
        unread=frozenset(_that_matter(words)) - read - cursor.sides - cursor.sizes,
    )


def _that_matter(words: tuple[Word, ...]) -> Iterator[int]:
    """Indices of words that say more than a number, a link, a place or what serves grammar alone."""
    serving = english.ORDINALS.keys() | english.NUMBERS.keys() | english.ALL | english.GROUPS
    serving |= english.PICTURE | english.PARTS | english.VIEWERS
    serving |= {word for phrase in (*english.LINKS, *map(" ".join, english.DEPTHS)) for word in phrase.split()}
    for index, word in enumerate(words):
        if not (english.is_stop_word(word.text) or word.text in serving or word.text[0].isdigit()):
            yield index


def _read_target(cursor: Cursor) -> Draft:
    if _opens_with_negation(cursor):
        raise refuse("only negated")
    target = Draft()
    while not cursor.ended:
        before = cursor.at
        if not target.named:
            read_noun(cursor, target)
        _Modifiers(cursor, target).read()
        if cursor.at == before:
            cursor.skip()
    if not target.words and target.lacking:
        raise refuse("only negated")
    if not target.words:
        raise refuse("nothing named")
    return target


def _opens_with_negation(cursor: Cursor) -> bool:
    """Whether it begins with what is not meant: "not the zebra", "do not select ..", "no mugs". Something is named by
    "not red mugs" and "non-red mugs"."""
    first = 1 if cursor.word() in {"do", "does", "should"} else 0
    if cursor.word(first) in english.NEGATED_COMMANDS | {"no", "nothing", "none", "without"} or cursor.excludes(first):
        return True
    named_after = first == 0 and cursor.content(1) and cursor.content(2)
    return negates(cursor.word(first)) and not named_after


@dataclass
class _Modifiers:
    """What is said of a thing behind its name: positions, relations, ordinals, attributes and exceptions.

    anchor: whether the thing is an anchor, of which no more is said once the text speaks of the target again.
    depth: how many things it is told by the way: the target has 0, its anchors 1, theirs 2.
    negated: whether a "not" holds for what comes next. predicate: whether an "is" does.
    """

    cursor: Cursor
    thing: Draft
    anchor: bool = False
    depth: int = 0
    negated: bool = False
    predicate: bool = False

    def read(self) -> None:
        steps: tuple[Callable[[], bool], ...] = (
            self._exclusion,
            self._conjunction,
            self._negation,
            self._connective,
            self._position,
            self._turned,
            self._size,
            self._ordinal,
            self._attribute,
        )
        while not self.cursor.ended and not self._left_to_target():
            if not any(step() for step in steps):
                self.cursor.skip()

    def _left_to_target(self) -> bool:
        cursor = self.cursor
        if self.depth > DEEPEST:
            return True
        if not self.anchor:
            return not self.thing.named and cursor.content()
        concerns = english.RELATIVES | english.COPULAS
        goes_on = cursor.link() is not None or cursor.anchor_of_side() is not None or cursor.word() in concerns
        return cursor.breaks() or cursor.word() in {"and", "or", "but"} or not goes_on

    def _done(self) -> bool:
        self.negated = self.predicate = False
        return True

    def _exclusion(self) -> bool:
        """What is left out: by its name, or by its place among its like ("except the one on the left")."""
        cursor, thing = self.cursor, self.thing
        if not cursor.excludes():
            return False
        cursor.skip(2 if cursor.word() in {"other", "apart", "aside", "rather"} else 1)
        cursor.skip_all(frozenset({"for"}))
        other = Draft()
        read_noun(cursor, other)
        _Modifiers(cursor, other, depth=self.depth + 1).read()
        excluded = other.thing(cursor.text_of)
        if not (excluded.words or excluded.ranks or excluded.relations):
            raise refuse("only negated")
        thing.excluded.append(excluded)
        return self._done()

    def _conjunction(self) -> bool:
        """ "and" before what else is said; alternatives, and a second thing beside it, are refused."""
        cursor = self.cursor
        word = cursor.word()
        if word not in {"and", "or", "plus", "but"}:
            return False
        cursor.skip()
        if word == "or" and not self.negated and cursor.word():
            raise refuse("choice")
        if self.thing.words and not self.negated and cursor.opens_thing() and cursor.content_follows():
            raise refuse("several")
        self.negated = self.negated and word != "but"
        return True

    def _negation(self) -> bool:
        word = self.cursor.word()
        if not (negates(word) or word in {"no", "without"}):
            return False
        denies_action = word.startswith(("do", "did")) or self.cursor.word(-1) in DO
        self.cursor.skip()
        self.negated = word == "nor" or not self.negated
        self.predicate = True
        if denies_action:
            self.cursor.skip()  # "does not have ..", "doesn't stand on .."
        return True

    def _connective(self) -> bool:
        word = self.cursor.word()
        if word not in english.COPULAS | english.RELATIVES | english.DETERMINERS:
            return False
        self.predicate = self.predicate or word in english.COPULAS
        self.cursor.skip()
        return True

    def _position(self) -> bool:
        for read in (read_ordinal_side, read_depth, read_place):
            if read(self.cursor, self.thing, negated=self.negated):
                return self._more_may_be_negated()
        return self._relation() and self._more_may_be_negated()

    def _more_may_be_negated(self) -> bool:
        """Of "not on the left or at the top" both are negated."""
        self.negated = self.negated and self.cursor.word() in {"or", "nor"}
        self.predicate = False
        return True

    def _turned(self) -> bool:
        """Skip "facing left", "looking to the right": how a thing is turned is no place."""
        cursor, side = self.cursor, 1
        if cursor.word() not in english.DIRECTED:
            return False
        while cursor.word(side) in {"to", "towards", "toward"} | english.DETERMINERS:
            side += 1
        if cursor.word(side) not in english.SIDES or cursor.anchor_of_side(side) is not None:
            return False
        cursor.skip(side + 1)
        return self._done()

    def _size(self) -> bool:
        cursor = self.cursor
        if not self.predicate or not read_size(cursor, self.thing, negated=self.negated):
            return False
        if cursor.word() == "than":
            cursor.skip()
            read_noun(cursor, Draft())
        self.negated = False
        return True

    def _ordinal(self) -> bool:
        if self.cursor.word() not in english.ORDINALS or not (self.predicate or self.cursor.word(1) == "from"):
            return False
        return read_quantity(self.cursor, self.thing)

    def _attribute(self) -> bool:
        """What the thing is ("that is red"), or is not or has not ("not wearing a hat"). What it has or does is read by
        the transformer alone."""
        cursor = self.cursor
        alone = cursor.breaks() and cursor.breaks(1)  # "a mug, red"
        if not cursor.content() or not (self.negated or self.predicate or alone) or cursor.word() in english.ACTIONS:
            return False
        found = self._attribute_words()
        if self.negated:
            self.thing.lacking += found
        else:
            self.thing.words += found
            self.thing.head += found
        return self._done()

    def _attribute_words(self) -> list[int]:
        cursor = self.cursor
        found: list[int] = []
        enders = english.RELATIVES | english.SIDES.keys() | {"but", "except"}
        while not cursor.ended and not (found and (cursor.breaks() or cursor.link() is not None)):
            word = cursor.word()
            if found and (word in enders or (word in {"and", "or"} and not self.negated)):
                break
            if cursor.content():
                found.append(cursor.at)
            cursor.skip()
        return found

    def _relation(self) -> bool:
        """ "left of the zebra", "between the mug and the box"."""
        cursor, ahead = self.cursor, 0
        while cursor.word(ahead) in {"on", "in", "at", "to", "from"} | english.DETERMINERS:
            ahead += 1
        after = cursor.anchor_of_side(ahead)
        link: tuple[int, Direction] | None = cursor.link()
        if after is not None:
            side = english.SIDES[cursor.word(ahead)]
            cursor.sides.add(cursor.at + ahead)
            link = after, Direction.INSIDE if side is Direction.MIDDLE else side
        if link is None:
            return False
        length, direction = link
        cursor.skip(length)
        if anchors := self._anchors(direction):
            self.thing.relations.append(Relation(direction, anchors, self.negated))
        return True

    def _anchors(self, direction: Direction) -> tuple[Thing, ...]:
        """The things that a relation names, the picture left out."""
        cursor = self.cursor
        found: list[Thing] = []
        while not cursor.ended:
            if negates(cursor.word()):
                raise refuse("only negated")
            anchor = Draft()
            read_noun(cursor, anchor)
            if not anchor.words:
                break
            _Modifiers(cursor, anchor, anchor=True, depth=self.depth + 1).read()
            if any(cursor.text_of(index) not in english.PICTURE for index in anchor.words):
                found.append(anchor.thing(cursor.text_of))
            both = direction is Direction.BETWEEN and len(found) == 1
            if cursor.word() != "and" or not (both or cursor.word(1) in english.DETERMINERS | english.NUMBERS.keys()):
                break
            cursor.skip()
        return tuple(found)

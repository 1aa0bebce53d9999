"""What texts are read as: the rows of docs/texts.md, and what holds for any text."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refam.errors import ExpressionError
from refam.language.description import describe
from refam.language.draft import REFUSALS
from refam.language.phrase import Direction, Rank, Size
from refam.language.reading import read_phrase
from tests.support.documents import table_rows

TEXTS = table_rows(Path("docs/texts.md"), "text")
REASONS = {message: reason for reason, message in REFUSALS.items()}


def reading(text):
    try:
        return describe(read_phrase(text))
    except ExpressionError as error:
        return f"refused: {REASONS[str(error)]}"


def test_there_is_a_corpus_of_texts():
    assert len(TEXTS) >= 250
    assert {row[1] for row in TEXTS if row[1].startswith("refused")} >= {
        f"refused: {reason}" for reason in REFUSALS if reason not in {"last", "many"}
    }


@pytest.mark.parametrize(("text", "meaning"), TEXTS)
def test_a_text_is_read_as_the_documents_say(text, meaning):
    assert reading(text) == meaning


def test_counting_from_the_end_is_refused_with_the_other_side():
    assert reading("the last zebra from the left") == "refused: last"


@pytest.mark.parametrize(
    "phrase",
    [
        "left of the zebra ",
        "except the red one ",
        "not the zebra ",
        "by a ",
        "and the ",
        "the left ",
        "or ",
        "2 of the ",
    ],
)
def test_a_long_text_takes_no_longer_than_its_length(phrase):
    start = time.process_time()
    reading("the zebra " + phrase * (4000 // len(phrase)))
    assert time.process_time() - start < 2


def test_a_text_that_names_too_many_things_is_refused():
    assert reading("the mug" + " and next to the box" * 20) == "refused: many"


def test_every_refusal_says_what_to_do():
    assert all(re.search("write|give|name|[Cc]ount", message) for message in REFUSALS.values())


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(sorted({word for text, _ in TEXTS for word in text.split()})), max_size=14).map(" ".join)
)
def test_any_text_is_read_or_refused(text):
    try:
        phrase = read_phrase(text.lower())
    except ExpressionError:
        return
    assert phrase.target.words
    for thing in phrase.target.and_others():
        assert max(thing.words | thing.lacking, default=0) < len(phrase.words)
        assert thing.count is None or thing.count > 0
    for word in phrase.words:
        assert phrase.text[word.start : word.end] == word.text


SIDES = {
    "on the left": Direction.LEFT,
    "on the right side": Direction.RIGHT,
    "at the top of the picture": Direction.TOP,
    "in the bottom half": Direction.BOTTOM,
    "in the middle": Direction.MIDDLE,
}
RELATIONS = {
    "left of": Direction.LEFT,
    "to the right of": Direction.RIGHT,
    "above": Direction.TOP,
    "under": Direction.BOTTOM,
    "next to": Direction.NEAR,
    "inside": Direction.INSIDE,
    "behind": Direction.BEHIND,
}
NOUNS = st.sampled_from(["zebra", "red mug", "man", "traffic light", "old wooden chair"])
NEGATIONS = st.sampled_from(["not", "that is not", "which isn't", "that's not", "that does not stand", "but not"])


@given(NOUNS, NEGATIONS, st.sampled_from(sorted(SIDES)))
def test_a_negated_side_never_counts_as_the_side(noun, negation, side):
    target = read_phrase(f"the {noun} {negation} {side}").target
    assert target.ranks == (Rank(SIDES[side], negated=True),)


@given(NOUNS, NEGATIONS, st.sampled_from(sorted(RELATIONS)), NOUNS)
def test_a_negated_relation_never_counts_as_the_relation(noun, negation, relation, anchor):
    (read,) = read_phrase(f"the {noun} {negation} {relation} the {anchor}").target.relations
    assert (read.direction, read.negated) == (RELATIONS[relation], True)


@given(NOUNS, st.sampled_from(["that is not", "which isn't", "that's not"]), st.sampled_from(["green", "striped"]))
def test_a_negated_attribute_is_never_looked_for(noun, negation, attribute):
    phrase = read_phrase(f"the {noun} {negation} {attribute}")
    assert {phrase.words[index].text for index in phrase.target.lacking} == {attribute}
    assert not phrase.target.words & phrase.target.lacking


@given(
    NOUNS, st.sampled_from(["not", "anything but", "everything except", "no", "do not select", "all but", "without"])
)
def test_a_text_that_only_excludes_is_refused(noun, negation):
    with pytest.raises(ExpressionError, match=r"not meant|names no kind"):
        read_phrase(f"{negation} the {noun}" if negation != "no" else f"no {noun}")


@given(NOUNS, st.sampled_from(["left", "right", "top", "bottom"]), st.integers(2, 10))
def test_an_ordinal_keeps_its_number_and_side(noun, side, number):
    ending = {2: "nd", 3: "rd"}.get(number, "th")
    target = read_phrase(f"the {number}{ending} {noun} from the {side}").target
    assert target.ranks == (Rank(Direction(side), number),)


def test_an_extreme_that_is_excluded_is_no_extreme_that_is_meant():
    target = read_phrase("all the mugs except the biggest one").target
    assert target.count is None
    assert target.ranks == ()
    assert target.excluded[0].ranks == (Rank(Size.BIG),)

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Tokenizer

from refam.backbones.t5 import T5Reader
from refam.errors import ExpressionError
from refam.language.reading import read_phrase
from refam.text import MAX_CHARACTERS, Role, choose_magnets, read_text
from refam.tiny import FLUX_FOLDER
from tests.support.models import by_word

MAGNETS = "_ with a the pink"


def test_published_example(refam):
    tokenize = refam.backbone.tokenize
    text = read_text("A largest orange  goldfish", tokenize)
    assert [(token.text, token.role) for token in text.tokens] == [
        ("▁", Role.BARE),
        ("a", Role.STOP),
        ("▁largest", Role.SIZE),
        ("▁orange", Role.WORD),
        ("▁gold", Role.WORD),
        ("fish", Role.WORD),
        ("</s>", Role.END),
    ]
    text = read_text("a largest orange goldfish", tokenize, MAGNETS)
    assert len(text.tokens) == 19
    assert " ".join(token.text for token in text.tokens[7:]) == "▁ _ </s> ▁with </s> ▁ a </s> ▁the </s> ▁pink </s>"
    assert [token.text for token in text.tokens if token.role is Role.MAGNET] == ["_", "▁with", "a", "▁the", "▁pink"]
    assert sum(token.role is Role.END for token in text.tokens) == 6
    assert text.strings == ("a largest orange goldfish", *MAGNETS.split())


def test_pieces_of_a_word_share_its_role_and_index(refam):
    tokens = read_text("the goldfish on the left", refam.backbone.tokenize).tokens
    assert [(token.text, token.role, token.word) for token in tokens] == [
        ("▁the", Role.STOP, 0),
        ("▁gold", Role.WORD, 1),
        ("fish", Role.WORD, 1),
        ("▁on", Role.STOP, 2),
        ("▁the", Role.STOP, 3),
        ("▁left", Role.SIDE, 4),
        ("</s>", Role.END, None),
    ]


def test_punctuation_is_bare():
    tokens = read_text("zebra , ball", by_word).tokens
    assert [token.role for token in tokens] == [Role.WORD, Role.BARE, Role.WORD, Role.END]


@pytest.mark.parametrize(
    ("expression", "colours"),
    [("a red ball", "pink"), ("a pink ball", "purple"), ("Pink and purple", "cyan"), ("pink purple cyan", "pink")],
)
def test_the_colour_magnet_avoids_the_expression(expression, colours):
    words = {word.text for word in read_phrase(expression.lower()).words}
    assert choose_magnets(words, "_ with pink", "pink purple cyan") == ("_", "with", colours)


def test_no_magnets():
    assert choose_magnets({"a", "ball"}, "", "pink purple cyan") == ()


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("!?", "No word"),
        ("the one with it", "No word"),
        ("this thing", "No word"),
        (7, "type int"),
        (None, "type NoneType"),
        ("the one on the left", "names no kind of thing"),
        ("not the zebra", "only what is not meant"),
        ("zebra " * 513, "at most 512"),
        ("x" * (MAX_CHARACTERS + 1), str(MAX_CHARACTERS)),
    ],
)
def test_a_bad_expression_is_refused(expression, says):
    with pytest.raises(ExpressionError, match=says):
        read_text(expression, by_word)


@pytest.fixture(scope="module")
def pieces_of():
    """Pieces of strings by the tokenizer that ships."""
    return T5Reader(SimpleNamespace(), T5Tokenizer.from_pretrained(FLUX_FOLDER / "tokenizer_2")).tokenize


WORDS = st.lists(
    st.sampled_from(["the", "zebra", "left", "of", "_", "it's", "x-ray", ",", "…", "ﬁ", "İ", "🦓"])
    | st.text(max_size=6)
)


@given(WORDS.map(" ".join) | st.text(max_size=60))
def test_any_string_is_read_or_refused(pieces_of, expression):
    try:
        text = read_text(expression, pieces_of, MAGNETS)
    except ExpressionError:
        return
    pieces = pieces_of(text.strings)
    lengths = list(map(len, pieces))
    assert len(text.tokens) == sum(lengths)
    own = text.tokens[: lengths[0]]
    assert own[-1].role is Role.END
    assert any(token.role is Role.WORD and token.word in text.phrase.target.words for token in own)
    for token, piece in zip(own, pieces[0], strict=True):
        assert 0 <= piece.start <= piece.end <= len(text.strings[0])
        if token.role in (Role.WORD, Role.SIDE, Role.SIZE, Role.UNKNOWN, Role.STOP):
            word = text.phrase.words[token.word]
            assert piece.start < word.end and word.start < piece.end
        else:
            assert token.word is None
    assert {token.role for token in text.tokens[lengths[0] :]} <= {Role.MAGNET, Role.BARE, Role.END}


@pytest.mark.parametrize("expression", ["红色的杯子", "القدح الأحمر", "красная кружка", "लाल मग", "den roten Becher"])
def test_texts_that_the_model_cannot_read_are_refused(pieces_of, expression):
    with pytest.raises(ExpressionError, match=r"knows none of the words .* English"):
        read_text(expression, pieces_of, MAGNETS)


def test_a_single_unknown_word_is_told_and_not_looked_for(pieces_of):
    text = read_text("the 红 mug left of the car", pieces_of)
    assert text.unknown == ("红", "car")
    assert read_text("the mug beside the anemometer", pieces_of).unknown == ("anemometer",)
    assert [token.text for token in text.tokens if token.role is Role.WORD] == ["▁mug"]
    with pytest.raises(ExpressionError, match="'kitsch', and so cannot leave it out"):
        read_text("the mug that is not kitsch", pieces_of)


@pytest.mark.parametrize(("plural", "read"), [("mugs", "mug"), ("boxes", "box"), ("butterflies", "butterfly")])
def test_a_plural_that_the_tokenizer_takes_apart_is_read_as_its_singular(pieces_of, plural, read):
    text = read_text(f"all the red {plural}", pieces_of)
    assert text.strings[0] == f"all the red {read}"
    assert text.phrase.words[3].text == read
    assert text.phrase.target.count is None

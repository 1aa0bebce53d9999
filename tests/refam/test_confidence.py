import numpy as np
import pytest

from refam.confidence import ALONE, CLEAR, Signals, confidence, margin, presence
from refam.language.reading import read_phrase
from refam.text import Role, Token

TOKENS = [Token("▁red", Role.WORD, 0), Token("▁mug", Role.WORD, 1), Token("</s>", Role.END), Token("_", Role.MAGNET)]
THING = read_phrase("red mug").target
COVER = np.array([[1.0, 0.5], [0.0, 0.0]], dtype=np.float32)


def maps(red, mug, end, magnet):
    return np.array([red, mug, end, magnet], dtype=np.float32)[:, None, None] * np.ones((4, 2, 2), np.float32)


def test_words_that_share_all_attention_evenly_are_there():
    assert presence(COVER, maps(0.5, 0.5, 0, 0), TOKENS, THING) == pytest.approx(1)


def test_the_weakest_word_counts_and_magnets_and_ends_draw_attention_off():
    assert presence(COVER, maps(0.5, 0.1, 0.2, 0.2), TOKENS, THING) == pytest.approx(0.2)
    assert presence(COVER, maps(0.3, 0.3, 0.2, 0.2), TOKENS, THING) == pytest.approx(0.6)


def test_only_what_the_mask_covers_counts():
    attention = maps(0.5, 0.5, 0, 0)
    attention[:, 1] = 0.25
    assert presence(COVER, attention, TOKENS, THING) == pytest.approx(1)
    assert presence(np.zeros_like(COVER), attention, TOKENS, THING) == 0.0


def test_the_margin_is_that_of_the_worst_chosen_over_the_best_other():
    values = np.array([1.0, 0.9, 0.8])
    assert margin(values, [0]) == pytest.approx(np.log(1 / 0.9))
    assert margin(values, [0, 1]) == pytest.approx(np.log(0.9 / 0.8))
    assert margin(values, [2]) == 0.0
    assert margin(np.array([1.0, 0.1]), [0]) == CLEAR
    assert margin(np.array([1.0]), [0]) == ALONE


def test_more_of_either_is_surer():
    assert confidence(Signals(0.8, 0.1)) > confidence(Signals(0.4, 0.1)) > confidence(Signals(0.4, 0.0))
    assert 0 <= confidence(Signals(0.0, 0.0)) < 0.01

"""Sinks on constructed attention with the shares that the published example shows."""

import numpy as np
import pytest

from refam.config import RefAMConfig
from refam.heatmap import keep
from refam.language.reading import read_phrase
from refam.sinks import find_sinks, shares, variations
from refam.text import Role, Token

GRID = (8, 8)


def constructed(token_shares, token_variations):
    """Maps [N, 8, 8] that sum to 1 in every patch, with the given mean shares; the first token takes up the rest."""
    pattern = np.random.default_rng(0).standard_normal((len(token_shares), *GRID))
    pattern -= pattern.mean(axis=(1, 2), keepdims=True)
    pattern /= pattern.std(axis=(1, 2), keepdims=True)
    pattern = pattern.clip(-1.2, 1.2)
    levels = np.array(token_shares)[:, None, None]
    maps = levels * (1 + np.array(token_variations)[:, None, None] * pattern)
    maps[0] = 1 - maps[1:].sum(axis=0)
    return maps.astype(np.float32)


@pytest.fixture
def without_magnets():
    """▁ a ▁largest ▁orange ▁gold fish </s>, where the sink falls on "a"."""
    return constructed([0.16, 0.36, 0.08, 0.09, 0.07, 0.08, 0.16], [0.3, 0.08, 0.74, 0.5, 0.6, 0.6, 0.3])


@pytest.fixture
def with_magnets():
    """The same with 12 tokens of magnets, two of which are sinks."""
    rest = [0.57 / 13] * 13
    return constructed(
        [rest[0], 0.15, 0.03, 0.04, 0.03, 0.03, rest[1], 0.15, *rest[2:]],
        [0.3, 0.1, 1.0, 0.8, 0.8, 0.8, 0.3, 0.1, *[0.3] * 11],
    )


def test_without_magnets_one_token_is_a_sink(without_magnets):
    assert np.allclose(without_magnets.sum(axis=0), 1, atol=1e-6)
    assert find_sinks(without_magnets, share=2.0, variation=0.15).nonzero()[0].tolist() == [1]
    assert shares(without_magnets)[1] == pytest.approx(0.36, abs=0.01)
    assert shares(without_magnets)[2:6].sum() == pytest.approx(0.32, abs=0.01)


def test_with_magnets_two_tokens_are_sinks(with_magnets):
    assert find_sinks(with_magnets, share=2.0, variation=0.15).nonzero()[0].tolist() == [1, 7]
    assert shares(with_magnets)[[1, 7]].sum() == pytest.approx(0.30, abs=0.01)
    assert shares(with_magnets)[2:6].sum() == pytest.approx(0.13, abs=0.01)


def test_much_attention_is_no_sink_where_it_varies(without_magnets):
    assert variations(without_magnets)[1] < 0.15
    assert not find_sinks(without_magnets, share=2.0, variation=0.01).any()
    assert not find_sinks(without_magnets, share=3.0, variation=0.15).any()


def test_uniform_attention_has_no_sinks():
    assert not find_sinks(np.full((5, *GRID), 0.2, dtype=np.float32), share=2.0, variation=0.15).any()


def tokens(*, sink_at):
    words = ["orange", "goldfish"]
    listed = [Token("▁" + word, Role.WORD, index) for index, word in enumerate(words)] + [Token("</s>", Role.END)]
    return [Token(t.text, t.role, t.word, sink=index in sink_at) for index, t in enumerate(listed)]


@pytest.mark.parametrize(
    ("sink_at", "filter_sinks", "kept"),
    [
        ((), True, [True, True, False]),
        ((0,), True, [False, True, False]),
        ((0,), False, [True, True, False]),
        ((0, 1, 2), True, [True, True, False]),
    ],
)
def test_sinks_are_left_out_unless_nothing_remains(sink_at, filter_sinks, kept):
    phrase = read_phrase("orange goldfish")
    assert keep(tokens(sink_at=sink_at), phrase, RefAMConfig(filter_sinks=filter_sinks)) == kept

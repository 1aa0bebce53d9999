from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from refam.config import RefAMConfig
from refam.heatmap import bias, combine, find_points, hot_regions, keep, normalise, without_rivals
from refam.language.phrase import Direction
from refam.language.reading import read_phrase
from refam.text import Role, Token

EXPRESSION = "the small zebra on the left of a red ball"
TOKENS = [
    Token("▁", Role.BARE),
    Token("the", Role.STOP, 0),
    Token("▁small", Role.SIZE, 1),
    Token("▁ze", Role.WORD, 2),
    Token("bra", Role.WORD, 2),
    Token("▁on", Role.STOP, 3),
    Token("▁left", Role.SIDE, 5),
    Token("▁red", Role.WORD, 8),
    Token("▁ball", Role.WORD, 9),
    Token("</s>", Role.END),
    Token("▁pink", Role.MAGNET),
    Token("</s>", Role.END),
]


def kept(**settings):
    flags = keep(TOKENS, read_phrase(EXPRESSION), RefAMConfig(**settings))
    return " ".join(token.text for token, flag in zip(TOKENS, flags, strict=True) if flag)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "▁ze bra"),
        ({"sizes_by_area": False}, "▁small ▁ze bra"),
        ({"noun_phrase": False}, "▁ze bra ▁red ▁ball"),
        ({"filter_stop_words": False}, "the ▁ze bra"),
        ({"filter_sides": False, "noun_phrase": False}, "▁ze bra ▁left ▁red ▁ball"),
        ({"filter_ends": False}, "▁ ▁ze bra </s> </s>"),
        ({"filter_magnets": False}, "▁ze bra ▁pink"),
    ],
)
def test_each_filter_can_be_switched_off(settings, expected):
    assert kept(**settings) == expected


def test_what_the_target_is_not_is_never_looked_for_nor_what_the_model_does_not_know():
    words = ["the", "mug", "that", "is", "not", "red"]
    roles = [Role.STOP, Role.WORD, Role.STOP, Role.STOP, Role.STOP, Role.WORD]
    tokens = [Token(word, role, index) for index, (word, role) in enumerate(zip(words, roles, strict=True))]
    phrase = read_phrase(" ".join(words))
    for settings in ({}, {"noun_phrase": False}):
        assert keep(tokens, phrase, RefAMConfig(**settings)) == [False, True, False, False, False, False]
    unknown = [replace(tokens[1], role=Role.UNKNOWN), tokens[5], Token("▁cup", Role.WORD, 1)]
    assert keep(unknown, phrase, RefAMConfig()) == [False, False, True]


def test_a_product_is_high_only_where_all_words_look():
    colour, noun = np.array([[4, 4, 1, 0]]), np.array([[0, 2, 3, 0]])
    maps = np.stack([colour, noun]).astype(np.float32)
    assert combine(maps, RefAMConfig(combine="sum", smoothing=0)).tolist() == [[4, 6, 4, 0]]
    product = combine(maps, RefAMConfig(combine="product", smoothing=0))
    assert np.allclose(product, np.sqrt([[0, 8, 3, 0]]), atol=1e-6)


def test_smoothing_lets_words_meet_that_look_at_different_parts_of_one_thing():
    body, handle, other = (7, 4), (7, 5), (7, 12)
    colour, noun = np.full((2, 15, 15), 0.01, dtype=np.float32)
    colour[body] = colour[other] = 0.5
    noun[handle] = 0.5
    maps = np.stack([colour, noun])
    smooth = combine(maps, RefAMConfig(combine="product", smoothing=0.7))
    assert smooth[body] > 2 * smooth[other]
    rough = combine(maps, RefAMConfig(combine="product", smoothing=0))
    assert rough[body] == rough[other]


def test_a_single_map_stays_as_it_is():
    heat = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    for how in ("sum", "product"):
        assert np.allclose(combine(heat, RefAMConfig(combine=how, smoothing=0.7)), heat[0], rtol=1e-5)


def blobs(*places, shape=(8, 12)):
    """Heat of height 1, 0.9, .. at (row, column) on a ground of 0.1."""
    heat = np.full(shape, 0.1, dtype=np.float32)
    for index, (row, column) in enumerate(places):
        heat[row - 1 : row + 2, column - 1 : column + 2] = 0.7 - 0.1 * index
        heat[row, column] = 1 - 0.1 * index
    return heat


@pytest.mark.parametrize(
    ("expression", "cell"),
    [
        ("the zebra", (2, 9)),
        ("the zebra on the left", (2, 2)),
        ("the left zebra", (2, 2)),
        ("the zebra on the right", (2, 9)),
        ("the zebra at the bottom", (6, 5)),
        ("the zebra in the bottom middle", (6, 5)),
        ("the zebra at the top left", (2, 2)),
        ("the zebra that is not on the right", (2, 2)),
        ("the zebra that is not at the top", (6, 5)),
    ],
)
def test_positions_bias_the_choice_but_not_the_heatmap(expression, cell):
    heat = blobs((2, 9), (2, 2), (6, 5))
    before = heat.copy()
    focus = bias(heat, heat[None], [], read_phrase(expression).target, RefAMConfig())
    assert np.unravel_index(focus.argmax(), focus.shape) == cell
    assert np.array_equal(heat, before)
    plain = bias(heat, heat[None], [], read_phrase(expression).target, RefAMConfig(spatial_bias=False))
    assert np.allclose(plain, normalise(heat))


@pytest.mark.parametrize(
    ("relation", "cell"),
    [("left of", (2, 2)), ("right of", (2, 9)), ("next to", (2, 9)), ("above", (2, 9)), ("below", (6, 3))],
)
def test_relations_bias_from_the_anchors_peak(relation, cell):
    expression = f"the zebra {relation} the ball"
    phrase = read_phrase(expression)
    zebras, ball = blobs((2, 9), (2, 2), (6, 3)), blobs((3, 7))
    (ball_word,) = phrase.target.relations[0].anchors[0].words
    tokens = [Token("▁zebra", Role.WORD, 1), Token("▁ball", Role.WORD, ball_word)]
    maps = np.stack([zebras, ball])
    focus = bias(zebras, maps, tokens, phrase.target, RefAMConfig())
    assert np.unravel_index(focus.argmax(), focus.shape) == cell
    unbiased = bias(zebras, maps, tokens, phrase.target, RefAMConfig(relation_bias=False))
    assert np.allclose(unbiased, normalise(zebras))


@pytest.mark.parametrize("direction", [Direction.LEFT, Direction.RIGHT, Direction.TOP, Direction.BOTTOM])
def test_ramps_are_monotonous(direction):
    flat = blobs((2, 2))
    flat[:] = 0.5
    flat[0, 0] = 0.0  # so that stretching leaves 1 everywhere else
    focus = bias(flat, flat[None], [], read_phrase(f"the zebra on the {direction}").target, RefAMConfig())
    profile = focus[-1] if direction in (Direction.LEFT, Direction.RIGHT) else focus[:, -1]
    steps = [after - before for before, after in pairwise(profile)]
    assert all(step > 0 for step in steps) or all(step < 0 for step in steps)
    assert (profile[0] > profile[-1]) == (direction in (Direction.LEFT, Direction.TOP))


def test_points_are_cell_centres_in_pixels_highest_first():
    points = find_points(normalise(blobs((2, 9), (6, 2))), size=(120, 40), count=5, ratio=0.5)
    assert [(point.x, point.y) for point in points] == [(95.0, 12.5), (25.0, 32.5)]
    assert [point.on_target for point in points] == [True, False]


def test_peaks_are_bounded_in_number_and_height():
    focus = normalise(blobs((2, 9), (6, 2), (2, 2)))
    assert len(find_points(focus, (12, 8), count=1, ratio=0.0)) == 1
    assert len(find_points(focus, (12, 8), count=5, ratio=0.85)) == 2


def test_on_a_fine_grid_peaks_keep_a_distance():
    heat = np.full((64, 64), 0.1, dtype=np.float32)
    heat[10:18, 10:18] = 0.5 + 0.4 * (np.indices((8, 8)).sum(axis=0) % 2)  # a thing with a fine texture
    heat[40, 50] = 0.8
    points = find_points(heat, (64, 64), count=8, ratio=0.2)
    assert (50.5, 40.5) in {(point.x, point.y) for point in points}


def test_two_peaks_of_one_region_are_both_on_the_target():
    heat = np.zeros((6, 9), dtype=np.float32)
    heat[2, 1:8] = [0.7, 0.8, 0.75, 0.7, 0.75, 0.8, 0.7]
    heat[2, 2], heat[2, 6], heat[5, 8] = 1.0, 0.95, 0.9
    points = find_points(heat, (9, 6), count=5, ratio=0.5)
    assert [(point.x, point.on_target) for point in points] == [(2.5, True), (6.5, True), (8.5, False)]


def test_rivals_are_levelled_and_the_target_is_left_alone():
    focus = normalise(blobs((2, 9), (6, 2)))
    levelled = without_rivals(focus, (2, 9))
    assert np.array_equal(levelled[:, 6:], focus[:, 6:])
    assert levelled[:, :6].max() == 0
    constant = np.zeros((4, 4), dtype=np.float32)
    assert np.array_equal(without_rivals(constant, (0, 0)), constant)


def test_a_constant_heatmap_still_has_a_point():
    focus = normalise(np.full((4, 4), 0.3, dtype=np.float32))
    assert not hot_regions(focus).any()
    assert len(find_points(focus, (8, 8), count=5, ratio=0.5)) >= 1

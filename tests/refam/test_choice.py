"""Choosing among things whose heat is made up: what each kind of text means."""

import numpy as np
import pytest

from refam.choice import Chooser, hottest_half
from refam.config import RefAMConfig
from refam.heatmap import combine, keep
from refam.language.reading import read_phrase
from refam.text import Role, Token

GRID = 32
BACKGROUND = 0.05
# name -> (left, top, right, bottom) in cells, and the words that are hot there
SCENE = {
    "first": ((1, 10, 6, 15), {"zebra": 1.0, "striped": 0.9}),
    "second": ((9, 8, 16, 15), {"zebra": 0.8, "red": 0.9}),
    "third": ((20, 11, 24, 15), {"zebra": 0.9}),
    "box": ((18, 24, 26, 31), {"box": 1.0, "red": 0.8}),
    "ball": ((27, 2, 30, 5), {"ball": 1.0}),
}
MASKS = {}
for name, ((left, top, right, bottom), _) in SCENE.items():
    MASKS[name] = np.zeros((GRID, GRID), dtype=bool)
    MASKS[name][top:bottom, left:right] = True
NAMES = list(SCENE)


def heat_of_word(word):
    heat = np.full((GRID, GRID), BACKGROUND, dtype=np.float32)
    for name, (_, words) in SCENE.items():
        heat[MASKS[name]] = words.get(word, BACKGROUND)
    return heat


def chosen(text, **settings):
    """Names of what a text means, sorted."""
    config = RefAMConfig(smoothing=0, **settings)
    phrase = read_phrase(text)
    tokens = [
        Token(word.text, Role.SIZE if index in phrase.sizes else Role.WORD, index)
        for index, word in enumerate(phrase.words)
    ]
    maps = np.stack([heat_of_word(word.text.removesuffix("s").replace("boxe", "box")) for word in phrase.words])
    heat = combine(maps[keep(tokens, phrase, config)], config)
    indices = Chooser(list(MASKS.values()), maps, tokens, config).choose(phrase.target, heat).indices
    return " ".join(sorted((NAMES[index] for index in indices), key=NAMES.index))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("the zebra", "first"),
        ("the box", "box"),
        ("the zebra on the left", "first"),
        ("the zebra on the right", "third"),
        ("the zebra in the middle", "second"),
        ("the zebra that is not on the left", "third"),
        ("the zebra at the top", "second"),
        ("the big zebra", "second"),
        ("the small zebra", "third"),
        ("the zebra that is not the smallest", "first"),
        ("the second largest zebra", "first"),
        ("the tall zebra", "second"),
        ("the narrowest zebra", "third"),
        ("the second zebra from the right", "second"),
        ("the third zebra from the left", "third"),
        ("the zebra above the box", "third"),
        ("the zebra nearest the ball", "third"),
        ("the zebra far from the ball", "first"),
        ("the zebra not left of the ball", ""),
        ("the zebra not right of the box", "first"),
        ("the zebra between the ball and the box", "third"),
        ("two zebras", "first third"),
        ("the two zebras on the left", "first second"),
        ("the two biggest zebras", "first second"),
        ("all zebras", "first second third"),
        ("zebras", "first second third"),
        ("all the zebras on the left", "first second"),
        ("all the big zebras", "second"),
        ("all zebras except the one on the left", "second third"),
        ("all zebras except the red one", "first third"),
        ("all zebras that are not red", "first third"),
        ("the zebra that is not striped", "third"),
        ("the red zebra", "second"),
        ("the red boxes", "box"),
        ("all zebras left of the box", "first second"),
        ("all the small zebras", "first third"),
    ],
)
def test_what_a_text_means(text, names):
    assert chosen(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "the box, not the red one",
        "the box that is not at the bottom",
        "the box that is not below the ball",
        "the box not on the right",
    ],
)
def test_a_text_that_excludes_all_there_is_means_nothing(text):
    assert chosen(text) == ""


def test_a_single_thing_that_is_not_on_the_side_is_meant():
    assert chosen("the box that is not at the top") == chosen("the box not above the ball") == "box"


def test_an_ordinal_beyond_what_there_is_means_nothing():
    assert chosen("the fifth zebra from the left") == ""


def test_sizes_are_only_answered_by_areas_where_that_is_set():
    assert chosen("the small zebra", sizes_by_area=False) != chosen("the small zebra")


def test_a_thing_of_two_colours_is_as_hot_as_its_hotter_half():
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0] = 1.0
    cover = np.zeros((2, 4, 4), dtype=np.float32)
    cover[0, :2] = 1.0
    cover[1, 2:] = 0.5
    assert hottest_half(cover, heat).tolist() == [1.0, 0.0]
    assert hottest_half(np.ones((1, 4, 4), np.float32), heat)[0] == pytest.approx(0.5)

import pytest

from refam.phrase import Direction, read_phrase

LEFT, RIGHT, TOP, BOTTOM, MIDDLE, NEAR = Direction


def target(expression):
    phrase = read_phrase(expression)
    return " ".join(phrase.words[index].text for index in sorted(phrase.target))


@pytest.mark.parametrize(
    ("expression", "noun_phrase"),
    [
        ("a largest orange goldfish", "a largest orange goldfish"),
        ("the ball left of the zebra", "the ball"),
        ("the ball to the left of the zebra", "the ball"),
        ("the small zebra on the left", "the small zebra"),
        ("the left zebra", "the left zebra"),
        ("man wearing a red hat", "man"),
        ("woman, second from left", "woman"),
        ("the dog that chases a cat", "the dog"),
        ("black and white cat under the table", "black and white cat"),
        ("a slice of pizza next to a glass", "a slice of pizza"),
        ("the cup above the red box", "the cup"),
        ("bottom left corner", "bottom left corner"),
        ("on the left", "on the left"),
        ("the one with a hat", "the one with a hat"),
    ],
)
def test_the_target_ends_where_a_relation_or_clause_begins(expression, noun_phrase):
    assert target(expression) == noun_phrase


@pytest.mark.parametrize(
    ("expression", "positions"),
    [
        ("the zebra on the left", (LEFT,)),
        ("leftmost zebra", (LEFT,)),
        ("left zebra", (LEFT,)),
        ("the zebra to the right", (RIGHT,)),
        ("person in the top left corner", (TOP, LEFT)),
        ("the zebra on the left side of the image", (LEFT,)),
        ("the zebra at the bottom of the picture", (BOTTOM,)),
        ("middle zebra", (MIDDLE,)),
        ("the zebra left of the ball", ()),
        ("the zebra to the left of the ball", ()),
        ("the zebra on the left side of the ball", ()),
        ("the cup on top of the table", ()),
        ("the dog next to the left zebra", ()),
        ("the left zebra next to the ball", (LEFT,)),
        ("the ball right next to the zebra", ()),
        ("the ball on the right next to the zebra", (RIGHT,)),
        ("a zebra", ()),
    ],
)
def test_positions_are_told_from_relations(expression, positions):
    assert read_phrase(expression).positions == positions


@pytest.mark.parametrize(
    ("expression", "direction", "anchor"),
    [
        ("the ball left of the zebra", LEFT, "zebra"),
        ("the ball to the right of the small zebra", RIGHT, "small zebra"),
        ("the ball above the red box on the left", TOP, "red box"),
        ("the ball under the table", BOTTOM, "table"),
        ("the ball next to the zebra with stripes", NEAR, "zebra"),
        ("the cup on top of the table", TOP, "table"),
    ],
)
def test_relations_have_an_anchor(expression, direction, anchor):
    phrase = read_phrase(expression)
    assert phrase.relation.direction is direction
    assert " ".join(phrase.words[index].text for index in sorted(phrase.relation.anchor)) == anchor


@pytest.mark.parametrize("expression", ["the zebra on the left", "left zebra", "a dog in the middle of the picture"])
def test_no_relation_without_an_anchor(expression):
    assert read_phrase(expression).relation is None

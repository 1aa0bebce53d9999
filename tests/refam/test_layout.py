import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refam.language.phrase import Direction
from refam.layout import Extent, relation_weight, side_weight

ANCHOR = Extent(0.4, 0.4, 0.6, 0.6)
OTHER = Extent(0.8, 0.4, 1.0, 0.6)
FRACTIONS = st.floats(0, 1)


def weigh(direction, *places, anchors=(ANCHOR,)):
    x, y = np.array(places).T
    return relation_weight(direction, x, y, anchors).tolist()


@pytest.mark.parametrize(
    ("direction", "fits", "fits_less"),
    [
        (Direction.LEFT, (0.1, 0.5), (0.1, 0.9)),
        (Direction.RIGHT, (0.9, 0.5), (0.1, 0.5)),
        (Direction.TOP, (0.5, 0.1), (0.9, 0.1)),
        (Direction.BOTTOM, (0.5, 0.9), (0.5, 0.1)),
        (Direction.NEAR, (0.3, 0.5), (0.1, 0.5)),
        (Direction.FAR, (0.1, 0.1), (0.3, 0.5)),
        (Direction.ON, (0.5, 0.45), (0.5, 0.1)),
        (Direction.INSIDE, (0.45, 0.55), (0.3, 0.55)),
        (Direction.OUTSIDE, (0.1, 0.5), (0.5, 0.5)),
        (Direction.BEHIND, (0.5, 0.35), (0.5, 0.65)),
        (Direction.IN_FRONT, (0.5, 0.65), (0.5, 0.35)),
    ],
)
def test_places_fit_a_relation_more_or_less(direction, fits, fits_less):
    more, less = weigh(direction, fits, fits_less)
    assert more > less


def test_between_is_halfway():
    halfway, at_one, beyond = weigh(Direction.BETWEEN, (0.7, 0.5), (0.5, 0.5), (0.1, 0.5), anchors=(ANCHOR, OTHER))
    assert halfway == pytest.approx(1)
    assert halfway > at_one > beyond


def test_a_relation_holds_for_all_anchors():
    between, left = weigh(Direction.LEFT, (0.7, 0.5), (0.1, 0.5), anchors=(ANCHOR, OTHER))
    assert left > between


@given(st.sampled_from([each for each in Direction if each is not Direction.MIDDLE]), FRACTIONS, FRACTIONS)
def test_weights_lie_between_0_and_1(direction, x, y):
    assert 0 <= weigh(direction, (x, y))[0] <= 1
    if direction in {Direction.LEFT, Direction.RIGHT, Direction.TOP, Direction.BOTTOM}:
        assert 0 <= side_weight(direction, np.array([x]), np.array([y]))[0] <= 1


def test_the_middle_beside_a_side_speaks_of_the_other_axis():
    x, y = np.array([0.5, 0.1]), np.array([0.9, 0.9])
    alone = side_weight(Direction.MIDDLE, x, y)
    beside = side_weight(Direction.MIDDLE, x, y, [Direction.BOTTOM, Direction.MIDDLE])
    assert alone[0] < beside[0] == 1
    assert beside[0] > beside[1]

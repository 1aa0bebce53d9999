import numpy as np
import pytest

from refam.heatmap import Point
from refam.refine import agreement, score, threshold_mask

SIZE = (80, 40)
CHOSEN = Point(15, 15)


def box(left, top, right, bottom):
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def heat_of(mask, *, level=1.0):
    return mask[::5, ::5].astype(np.float32) * level


TARGET, FRAGMENT, OTHER, ALL = box(10, 10, 30, 30), box(10, 10, 20, 20), box(55, 5, 75, 25), box(0, 0, 80, 40)
BOTH = TARGET | OTHER


@pytest.mark.parametrize("mask", [ALL, ~ALL])
def test_a_mask_of_all_or_nothing_agrees_with_no_heat(mask):
    assert agreement(mask, heat_of(TARGET)) == 0.0


def test_the_mask_that_covers_the_heat_agrees_best():
    partly = heat_of(TARGET, level=0.5) + heat_of(FRAGMENT, level=0.5)
    for focus in (heat_of(TARGET), partly):
        assert max([ALL, FRAGMENT, TARGET, BOTH], key=lambda mask: agreement(mask, focus)) is TARGET


def test_agreement_is_the_correlation_on_the_grid():
    rng = np.random.default_rng(0)
    focus = rng.random((8, 16)).astype(np.float32)
    cover = TARGET.reshape(8, 5, 16, 5).mean(axis=(1, 3))
    assert agreement(TARGET, focus) == pytest.approx(np.corrcoef(cover.ravel(), focus.ravel())[0, 1], abs=1e-6)


def test_the_score_lies_between_0_and_1():
    assert score(TARGET, heat_of(TARGET)) == pytest.approx(1)
    assert score(TARGET, heat_of(TARGET), predicted_iou=0.8) == pytest.approx(0.8)
    assert score(TARGET, heat_of(TARGET), predicted_iou=1.1) == pytest.approx(1)
    assert score(TARGET, 1 - heat_of(TARGET)) == 0.0


def test_the_threshold_keeps_the_region_of_the_point():
    focus = heat_of(TARGET) + heat_of(OTHER, level=0.9)
    mask = threshold_mask(focus, CHOSEN, SIZE)
    assert mask.shape == SIZE[::-1]
    assert not (mask & OTHER).any()
    assert (mask & TARGET).sum() / (mask | TARGET).sum() > 0.8


def test_the_threshold_of_a_large_image_is_found_on_a_small_one(monkeypatch):
    focus = heat_of(TARGET) + heat_of(OTHER, level=0.9)
    found = threshold_mask(focus, Point(600, 600), (3200, 1600))
    monkeypatch.setattr("refam.refine.FINEST", 3200)
    exact = threshold_mask(focus, Point(600, 600), (3200, 1600))
    assert found.shape == exact.shape == (1600, 3200)
    assert (found & exact).sum() / (found | exact).sum() > 0.999


def test_the_threshold_never_leaves_the_point_out():
    focus = heat_of(TARGET)
    outside = Point(45, 35)
    assert threshold_mask(focus, outside, SIZE)[35, 45]
    assert threshold_mask(np.zeros_like(focus), CHOSEN, SIZE).all()

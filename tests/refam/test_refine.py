import numpy as np
import pytest
import torch
from PIL import Image

from refam.config import RefAMConfig
from refam.heatmap import Point
from refam.picture import Picture
from refam.refine import agreement, best_candidate, prompts, propose, score, threshold_mask
from refam.sam import Candidate

SIZE = (80, 40)
CHOSEN, SECOND, RIVAL = Point(15, 15), Point(25, 25), Point(65, 15, on_target=False)


def box(left, top, right, bottom):
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def heat_of(mask, *, level=1.0):
    return mask[::5, ::5].astype(np.float32) * level


TARGET, FRAGMENT, OTHER, ALL = box(10, 10, 30, 30), box(10, 10, 20, 20), box(55, 5, 75, 25), box(0, 0, 80, 40)
BOTH = TARGET | OTHER


def test_prompts_start_from_the_chosen_point():
    points = [CHOSEN, SECOND, RIVAL]
    assert prompts(points, RefAMConfig()) == [[CHOSEN], [CHOSEN, SECOND], [CHOSEN, RIVAL]]
    assert prompts(points, RefAMConfig(negative_points=False)) == [[CHOSEN], [CHOSEN, SECOND]]
    assert prompts([CHOSEN], RefAMConfig()) == [[CHOSEN]]


PICTURE = Picture.of(Image.new("RGB", SIZE), max(SIZE))


def candidate(mask, predicted_iou=0.9):
    return Candidate(mask, predicted_iou, torch.from_numpy(mask).float())


class OneMask:
    def __init__(self, *masks):
        self.masks = masks

    def candidates(self, picture, points):
        return [candidate(mask) for mask in self.masks]


def test_candidates_must_hold_the_chosen_point():
    found = propose(PICTURE, [CHOSEN], OneMask(TARGET, OTHER), RefAMConfig())
    assert [candidate.mask is TARGET for candidate in found] == [True]
    assert len(propose(PICTURE, [CHOSEN], OneMask(OTHER), RefAMConfig())) == 1
    assert propose(PICTURE, [CHOSEN], OneMask(np.zeros_like(TARGET)), RefAMConfig()) == []


def chosen(masks, focus, ious=None, **settings):
    candidates = [candidate(mask, iou) for mask, iou in zip(masks, ious or [0.9] * len(masks), strict=True)]
    return best_candidate(candidates, focus, RefAMConfig(**settings)).mask


def test_the_mask_that_covers_the_heat_wins():
    focus = heat_of(TARGET)
    assert chosen([ALL, FRAGMENT, TARGET, BOTH], focus) is TARGET


def test_a_fragment_wins_by_contrast_but_not_by_correlation():
    focus = heat_of(TARGET, level=0.5) + heat_of(FRAGMENT, level=0.5)
    assert chosen([FRAGMENT, TARGET], focus, agreement="contrast") is FRAGMENT
    assert chosen([FRAGMENT, TARGET], focus) is TARGET


@pytest.mark.parametrize("level", [0.3, 0.95])
def test_a_rival_does_not_pull_the_mask(level):
    focus = heat_of(TARGET) + heat_of(OTHER, level=level)
    assert chosen([BOTH, OTHER, TARGET, ALL], focus) is TARGET


def test_unsuppressed_an_equal_rival_pulls_the_mask():
    focus = heat_of(TARGET) + heat_of(OTHER, level=0.95)
    assert chosen([BOTH, TARGET], focus, suppress_rivals=False) is BOTH


def test_what_sam_itself_distrusts_must_agree_the_better():
    focus = heat_of(TARGET)
    assert chosen([FRAGMENT, TARGET], focus, ious=[0.9, 0.2]) is FRAGMENT
    assert chosen([FRAGMENT, TARGET], focus, ious=[0.9, 0.2], iou_weight=0.0) is TARGET
    assert chosen([FRAGMENT, TARGET], focus, ious=[0.9, 0.7]) is TARGET


def test_without_the_heatmap_sam_chooses():
    assert chosen([TARGET, ALL], heat_of(TARGET), ious=[0.7, 0.8], choose_by_heatmap=False) is ALL


@pytest.mark.parametrize("mask", [ALL, ~ALL])
def test_a_mask_of_all_or_nothing_agrees_with_no_heat(mask):
    assert agreement(mask, heat_of(TARGET)) == agreement(mask, heat_of(TARGET), "contrast") == 0.0


def test_agreement_is_the_correlation_on_the_grid():
    rng = np.random.default_rng(0)
    focus = rng.random((8, 16)).astype(np.float32)
    cover = TARGET.reshape(8, 5, 16, 5).mean(axis=(1, 3))
    assert agreement(TARGET, focus) == pytest.approx(np.corrcoef(cover.ravel(), focus.ravel())[0, 1], abs=1e-6)
    contrast = focus[cover == 1].mean() - focus[cover == 0].mean()
    assert agreement(TARGET, focus, "contrast") == pytest.approx(contrast, abs=1e-6)


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

"""Clicks and boxes: what they leave of the heat, what SAM is asked, which mask wins, and what a click costs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from refam import Box, Clicks, Point, RefAM
from refam.clicks import box_fit, click_prompts, clicked_focus
from refam.errors import ClickError, ExpressionError
from refam.refine import best_clicked

SIZE = (80, 40)  # cells of 10 x 10 pixels
LEFT, RIGHT, BACKGROUND = Point(15, 15), Point(65, 25), Point(45, 35)
PART = Point(25, 15)


def off(point):
    return replace(point, on_target=False)


@pytest.fixture
def focus():
    """Two hot regions, the left one hotter."""
    heat = np.full((4, 8), 0.1, dtype=np.float32)
    heat[1, 1:3] = 1.0, 0.9
    heat[2, 6] = 0.8
    return heat


def hot(heat):
    return {(int(row), int(column)) for row, column in np.argwhere(heat > 0.5)}


@pytest.mark.parametrize(
    ("clicks", "expected"),
    [
        (Clicks((LEFT,)), {(1, 1), (1, 2)}),
        (Clicks((RIGHT,)), {(2, 6)}),
        (Clicks((LEFT, RIGHT)), {(1, 1), (1, 2), (2, 6)}),
        (Clicks((LEFT, off(PART))), {(1, 1), (1, 2)}),  # a part of the thing is taken off
        (Clicks((off(LEFT),)), {(2, 6)}),  # not that one, so the other
        (Clicks((off(BACKGROUND),)), {(1, 1), (1, 2)}),
        (Clicks((off(LEFT), off(RIGHT))), {(1, 1), (1, 2)}),
        (Clicks(box=Box(50, 0, 80, 40)), {(2, 6)}),
        (Clicks(box=Box(0, 0, 80, 40)), {(1, 1), (1, 2)}),
        (Clicks((off(PART),), Box(0, 0, 80, 40)), {(2, 6)}),
        (Clicks(box=Box(61, 21, 62, 22)), {(2, 6)}),  # smaller than a cell
    ],
)
def test_clicks_decide_which_hot_region_counts(focus, clicks, expected):
    assert hot(clicked_focus(focus, clicks, SIZE)) == expected


@pytest.mark.parametrize(
    "clicks", [Clicks((BACKGROUND,)), Clicks(box=Box(40, 0, 60, 20)), Clicks((LEFT,), Box(50, 0, 80, 40))]
)
def test_a_text_that_found_something_else_has_no_say(focus, clicks):
    assert clicked_focus(focus, clicks, SIZE) is None


def test_a_text_that_found_nothing_has_no_say():
    assert clicked_focus(np.zeros((4, 8), np.float32), Clicks((LEFT,)), SIZE) is None


@pytest.mark.parametrize("edge", [Point(80, 40), Point(0, 0)])
def test_clicks_on_the_edge_are_within(focus, edge):
    assert clicked_focus(focus, Clicks((edge,)), SIZE) is None


def test_the_texts_peaks_prompt_sam_where_the_clicks_name_nothing():
    box = Box(0, 0, 40, 20)
    assert click_prompts(Clicks((LEFT,)), []) == [Clicks((LEFT,))]
    assert click_prompts(Clicks((LEFT,)), [PART, RIGHT]) == [Clicks((LEFT,))]
    assert click_prompts(Clicks((off(LEFT),)), [RIGHT]) == [Clicks((off(LEFT), RIGHT))]
    assert click_prompts(Clicks((off(LEFT),)), [RIGHT, PART]) == [
        Clicks((off(LEFT), RIGHT)),
        Clicks((off(LEFT), RIGHT, PART)),
    ]
    assert click_prompts(Clicks(box=box), []) == [Clicks(box=box), Clicks((Point(20, 10),))]
    assert click_prompts(Clicks(box=box), [LEFT]) == [Clicks(box=box), Clicks((LEFT,))]
    assert click_prompts(Clicks((off(LEFT),)), []) == []


def rectangle(left, top, right, bottom):
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


WHOLE, HALF, OTHER = rectangle(10, 10, 30, 20), rectangle(10, 10, 20, 20), rectangle(60, 20, 70, 30)


def chosen(clicks, heat, *rated):
    candidates = [SimpleNamespace(mask=mask, predicted_iou=iou) for mask, iou in rated]
    return best_clicked(candidates, clicks, SIZE, heat).mask


def test_a_mask_that_obeys_the_clicks_wins_over_a_better_rated_one(focus):
    rated = [(WHOLE, 0.9), (HALF, 0.3), (OTHER, 0.99)]
    assert chosen(Clicks((LEFT,)), focus, *rated) is WHOLE
    assert chosen(Clicks((LEFT, off(PART))), focus, *rated) is HALF
    assert chosen(Clicks((RIGHT,)), None, *rated) is OTHER


def test_where_none_obeys_the_fewest_faults_win():
    assert chosen(Clicks((LEFT, PART, RIGHT)), None, (OTHER, 0.99), (WHOLE, 0.2)) is WHOLE


def test_the_heat_chooses_among_obedient_masks_and_sam_where_it_has_no_say(focus):
    rated = [(HALF, 0.8), (WHOLE, 0.7)]
    assert chosen(Clicks((LEFT,)), focus, *rated) is WHOLE
    assert chosen(Clicks((LEFT,)), None, *rated) is HALF


def test_a_mask_should_fill_the_box():
    assert box_fit(WHOLE, Box(10, 10, 30, 20), SIZE) == 1
    assert box_fit(WHOLE, Box(10, 10, 20, 20), SIZE) == pytest.approx(0.5)
    assert box_fit(WHOLE, Box(60, 10, 70, 20), SIZE) == 0
    assert box_fit(np.zeros((4, 4), bool), Box(0, 0, 2, 2), SIZE) == 0
    assert box_fit(WHOLE, Box(100, 20, 300, 40), (800, 80)) == 1  # a mask need not have the image's size
    assert chosen(Clicks(box=Box(10, 10, 29, 19)), None, (HALF, 0.9), (WHOLE, 0.8)) is WHOLE


class Count:
    """How often the expensive parts run."""

    def __init__(self, refam):
        self.passes = self.images = self.prompts = 0
        models, sam = refam.backbone.models, refam.sam.model.inner
        models.transformer.register_forward_pre_hook(lambda *_: self._add("passes"))
        sam.image_encoder.register_forward_hook(lambda *_: self._add("images"))
        sam.mask_decoder.register_forward_hook(lambda *_: self._add("prompts"))

    def _add(self, name):
        setattr(self, name, getattr(self, name) + 1)


def test_a_click_runs_sams_decoder_alone(config, image):
    refam = RefAM.from_config(config)
    count = Count(refam)
    refam.segment(image, "the goldfish")
    assert (count.passes, count.images) == (1, 1)
    count.prompts = 0
    clicks = Clicks((Point(10, 10),))
    for expression in (None, "the goldfish"):
        refam.select(image.copy(), clicks, expression)
        clicks = Clicks((*clicks.points, Point(50, 30, on_target=False)))
    assert (count.passes, count.images) == (1, 1)
    assert count.prompts == 2
    refam.select(image, clicks, "the zebra")
    assert (count.passes, count.images) == (2, 1)
    assert refam.computed == {"heatmaps": 2, "image_embeddings": 1}


def test_what_is_kept_is_bounded(config, image):
    refam = RefAM.from_config(replace(config, image_cache=2))
    count = Count(refam)
    for angle in (0, 90, 180):
        refam.select(image.rotate(angle), Clicks((Point(10, 10),)), "the goldfish")
    assert len(refam._groundings) == 2
    refam.select(image, Clicks((Point(10, 10),)), "the goldfish")
    assert (count.passes, count.images) == (4, 4)


@pytest.mark.parametrize(
    "clicks",
    [
        Clicks((Point(10, 10),)),
        Clicks((Point(10, 10), Point(50, 30, on_target=False))),
        Clicks(box=Box(5, 5, 40, 30)),
        Clicks((Point(60, 40),), Box(0, 0, 60, 40)),
    ],
)
@pytest.mark.parametrize("expression", [None, "the goldfish"])
def test_a_mask_comes_out_at_the_images_size(refam, image, clicks, expression):
    result = refam.select(image, clicks, expression)
    assert result.mask.shape == (40, 60)
    assert result.mask.dtype == bool
    assert 0 <= result.score <= 1
    assert any(np.array_equal(result.mask, each.full_mask(image.size)) for each in result.candidates)


def test_negative_clicks_need_a_text(refam, image):
    clicks = Clicks((Point(10, 10, on_target=False),))
    with pytest.raises(ClickError, match="click also on what it holds"):
        refam.select(image, clicks)
    assert refam.select(image, clicks, "the goldfish").mask.shape == (40, 60)


def test_without_sam_clicks_choose_the_hot_region(config, image):
    refam = RefAM.from_config(replace(config, sam="none"))
    point = refam.ground(image, "the goldfish").points[0]
    result = refam.select(image, Clicks((point,)), "the goldfish")
    assert result.mask[int(point.y), int(point.x)]
    with pytest.raises(ClickError, match="REFAM_SAM"):
        refam.select(image, Clicks((point,)))


def test_a_bad_expression_is_refused_with_clicks_too(refam, image):
    with pytest.raises(ExpressionError):
        refam.select(image, Clicks((Point(10, 10),)), "the")

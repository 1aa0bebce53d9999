import base64
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image, ImageDraw

from backend.errors import TaskError
from backend.label_studio import rle
from backend.label_studio.mask_encoding import Answer, Drawing, prediction
from backend.label_studio.request import Control, Expression, Label, Page, TaskRequest

ALL_KINDS = """<View><Image name="image" value="$image"/>
<BrushLabels name="brushlabels" toName="image"><Label value="Object"/></BrushLabels>
<BitmaskLabels name="bitmasklabels" toName="image"><Label value="Object"/></BitmaskLabels>
<PolygonLabels name="polygonlabels" toName="image"><Label value="Object"/></PolygonLabels>
<RectangleLabels name="rectanglelabels" toName="image"><Label value="Object"/></RectangleLabels></View>"""
KINDS = ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels")


def values(mask, kind):
    found = Drawing(mask).regions(Control("tag", kind, ()), "Object", score=0.5, image_tag="image")
    return [region["value"] for region in found]


def a_request(*texts, kinds=("brushlabels",), labels=("Object",)):
    return TaskRequest(
        studio="alone", image_field="image", image_tag="image", text_field="text",
        pages=(Page("x", tuple(Expression(text, "Object") for text in texts)),),
        controls=tuple(Control(kind, kind, tuple(Label(label, label) for label in labels)) for kind in kinds),
        model_version="v", task="1", project="7",
    )  # fmt: skip


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=70)))
def test_brush_survives_label_studios_decoder(mask):
    found = values(mask, "brushlabels")
    assert bool(found) == mask.any()
    for value in found:
        assert value["format"] == "rle"
        decoded = decode_rle(value["rle"]).reshape(*mask.shape, 4)  # [H, W, RGBA]
        assert set(np.unique(decoded)) <= {0, 255}
        for channel in range(4):
            np.testing.assert_array_equal(decoded[..., channel] == 255, mask)


@pytest.mark.parametrize("length", [1, 8, 9, 16, 17, 256, 257, 2**14, 2**14 + 1, 3 * 2**14])
def test_brush_runs_of_every_length(length):
    mask = np.zeros((1, length + 2), bool)
    mask[0, 1:-1] = True
    decoded = decode_rle(values(mask, "brushlabels")[0]["rle"]).reshape(*mask.shape, 4)
    np.testing.assert_array_equal(decoded[..., 3] > 0, mask)


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)).filter(np.any))
def test_bitmask_is_a_png_whose_alpha_is_the_mask(mask):
    (value,) = values(mask, "bitmasklabels")
    header, _, body = value["imageDataURL"].partition(",")
    assert header == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    image = image.convert("RGBA")
    np.testing.assert_array_equal(np.asarray(image)[..., 3] == 255, mask)
    assert set(np.unique(np.asarray(image)[..., 3])) <= {0, 255}


def filled(polygons, shape):
    height, width = shape
    scale = 8  # drawn finely, then read at the pixels' centres
    canvas = Image.new("1", (width * scale, height * scale))
    for value in polygons:
        ImageDraw.Draw(canvas).polygon(
            [(x / 100 * width * scale, y / 100 * height * scale) for x, y in value["points"]], 1
        )
    return np.asarray(canvas)[scale // 2 :: scale, scale // 2 :: scale]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_polygons_outline_each_part():
    mask = np.zeros((100, 160), bool)
    rows, columns = np.mgrid[:100, :160]
    mask |= (rows - 40) ** 2 + (columns - 50) ** 2 < 30**2
    mask[60:100, 120:160] = True  # touches two edges
    mask[5, 150] = True  # a speck
    found = values(mask, "polygonlabels")
    assert len(found) == 2
    assert iou(filled(found, mask.shape), mask) > 0.97
    assert all(0 <= number <= 100 for value in found for point in value["points"] for number in point)


def test_polygons_fill_holes_and_have_few_points():
    mask = np.ones((60, 60), bool)
    mask[20:40, 20:40] = False
    (value,) = values(mask, "polygonlabels")
    assert len(value["points"]) <= 8
    assert filled([value], mask.shape).mean() > 0.99


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)).filter(np.any))
def test_rectangle_holds_the_mask_and_no_more(mask):
    (value,) = values(mask, "rectanglelabels")
    height, width = mask.shape
    left, top = value["x"] * width / 100, value["y"] * height / 100
    right, bottom = left + value["width"] * width / 100, top + value["height"] * height / 100
    rows, columns = np.nonzero(mask)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose((left, top, right, bottom), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_mask_gives_no_region(kind):
    assert values(np.zeros((4, 4), bool), kind) == []


def test_label_studio_accepts_every_kind():
    mask = np.zeros((48, 64), bool)
    mask[10:30, 20:50] = True
    made = prediction(a_request("a cat", kinds=KINDS), [Answer([mask], 0.8)])
    assert [region["type"] for region in made["result"]] == list(KINDS)
    assert LabelInterface(ALL_KINDS).validate_prediction(made, return_errors=True) == []
    for region in made["result"]:
        assert (region["original_width"], region["original_height"]) == (64, 48)
        assert region["value"][region["type"]] == ["Object"]


def test_each_expression_has_its_score_and_the_prediction_their_mean():
    mask = np.ones((4, 4), bool)
    made = prediction(a_request("a cat", "a dog"), [Answer([mask], 0.9), Answer([mask], 0.5)])
    assert [region["score"] for region in made["result"]] == [0.9, 0.5]
    assert made["score"] == 0.7
    assert made["model_version"] == "v"


def test_each_thing_has_a_region_and_what_was_not_understood_stands_beside_it():
    masks = [np.eye(4, dtype=bool), ~np.eye(4, dtype=bool)]
    answer = Answer(masks, 0.5, ["The model does not know 'car', and looked for the rest alone."])
    made = prediction(a_request("all cats near the car"), [answer])
    assert len({region["id"] for region in made["result"]}) == 2
    assert [region["meta"] for region in made["result"]] == [{"text": list(answer.warnings)}] * 2
    assert LabelInterface(ALL_KINDS).validate_prediction(made, return_errors=True) == []
    nothing = prediction(a_request("a dog", "a cat"), [Answer([], 0.25), Answer([], 0.75)])
    assert (nothing["score"], nothing["result"]) == (0.75, [])
    assert prediction(a_request("a dog", "a cat"), [Answer([], 0.25), Answer(masks[:1], 1)])["score"] == 1


@given(st.floats())
def test_scores_are_always_numbers_from_0_to_1(score):
    made = prediction(a_request("a cat"), [Answer([np.ones((2, 2), bool)], score)])
    assert 0 <= made["score"] <= 1
    assert not math.isnan(made["result"][0]["score"])


def test_controls_without_the_label_get_nothing():
    request = a_request("a cat", labels=("Other",))
    assert prediction(request, [Answer([np.ones((2, 2), bool)], 1.0)])["result"] == []


def test_region_ids_differ_within_a_task_and_are_the_same_each_time():
    mask = np.ones((20, 20), bool)
    first, second = (prediction(a_request("a", "b", kinds=KINDS), [Answer([mask], 1.0)] * 2) for _ in range(2))
    ids = [region["id"] for region in first["result"]]
    assert len(set(ids)) == len(ids)
    assert ids == [region["id"] for region in second["result"]]


def test_a_prediction_is_bounded(monkeypatch):
    masks = [np.random.default_rng(seed).random((40, 40)) < 0.5 for seed in range(3)]
    size = len(rle.encode(masks[0]))
    monkeypatch.setattr("backend.label_studio.mask_encoding.MOST_NUMBERS", 2.5 * size)
    assert len(prediction(a_request("all cats"), [Answer(masks[:2], 0.5)])["result"]) == 2
    with pytest.raises(TaskError, match="the results of its masks have more than"):
        prediction(a_request("all cats"), [Answer(masks, 0.5)])

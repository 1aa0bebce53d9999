"""Interactive requests as Label Studio 1.23.2 sends them: what their context and draft ask for."""

import json
from dataclasses import astuple
from pathlib import Path

import pytest

from backend.label_studio.interaction import REASON_MARK, Interaction, read_interaction, reply_in_text
from backend.label_studio.request import Click, Rectangle
from tests.support.drawings import draft, drawn, point, rectangle, text

RECORDED = {
    entry["name"]: entry["body"]
    for entry in json.loads((Path(__file__).parents[1] / "fixtures" / "label_studio_requests.json").read_text())
}
TAGS = ("prompt", ("kp", "rect"))


def read(name):
    body = RECORDED[name]
    return read_interaction(body["params"]["context"], body["tasks"][0]["drafts"], *TAGS)


def test_the_recorded_click():
    assert read("click") == Interaction(clicks=(Click(0.4, 0.3),), label="Object")


def test_the_recorded_prompt_is_joined_by_the_drafts_point():
    click = Click(0.35011, 0.299414)
    assert read("prompt") == Interaction(("the yellow box",), (click,), label="Object")


def test_the_recorded_rectangle():
    expected = Rectangle(0.109627, 0.08858, 0.329246, 0.381406)
    assert read("rectangle") == Interaction(rectangle=expected, label="Object")


@pytest.mark.parametrize("name", ["empty_context", "empty_context_result"])
def test_a_recorded_empty_context_asks_nothing(name):
    assert read(name) is None


def test_clicks_accumulate_and_alt_makes_negative_ones():
    context = drawn(point(10, 20), point(30, 40, positive=False), point(50, 60))
    clicks = (Click(0.1, 0.2), Click(0.3, 0.4, positive=False), Click(0.5, 0.6))
    assert read_interaction(context, None, *TAGS).clicks == clicks


def test_clicks_are_joined_by_the_newest_drafts_text():
    drafts = [
        draft(text("old"), number=1, at="2026-11-23T00:00:00Z"),
        draft(text("new"), number=3, at="2026-11-23T02:00:00Z"),
        draft(text("older"), number=2, at="2026-11-23T01:00:00Z"),
    ]
    assert read_interaction(drawn(point()), drafts, *TAGS).texts == ("new",)


def test_what_is_drawn_now_replaces_the_drafts_shapes():
    found = read_interaction(drawn(rectangle()), [draft(point(), rectangle(0, 0, 1, 1), text("a cat"))], *TAGS)
    assert found == Interaction(("a cat",), (), Rectangle(0.1, 0.2, 0.4, 0.6), "Object")


def test_of_several_labels_the_last_one_is_meant():
    context = drawn(point(10, 10, label="Cat"), point(20, 20, label="Dog"), point(30, 30, label="Dog"))
    found = read_interaction(context, None, *TAGS)
    assert (found.label, len(found.clicks)) == ("Dog", 2)


def test_drafts_of_other_tags_are_no_prompts():
    saved = [draft(point(tag="joints"), text("a remark", tag="notes"))]
    assert read_interaction(drawn(text("a cat")), saved, *TAGS) == Interaction(("a cat",))
    assert read_interaction(drawn(point()), saved, *TAGS).texts == ()


@pytest.mark.parametrize(
    "result",
    [
        {"type": "keypointlabels", "value": {"x": 1}},
        {"type": "keypointlabels", "value": {"x": "1", "y": 2}},
        {"type": "keypointlabels", "value": {"x": float("nan"), "y": 2}},
        {"type": "rectanglelabels", "value": {"x": 1, "y": 2, "width": 3}},
        {"type": "brushlabels", "value": {"rle": [0]}},
        {"type": "textarea", "from_name": "prompt", "value": {"text": [" ", None]}},
        {"type": "textarea", "from_name": "notes", "value": {"text": ["a remark"]}},
        {"value": None},
        {},
    ],
)
def test_what_is_no_prompt_asks_nothing(result):
    assert read_interaction(drawn(result), None, *TAGS) is None


def test_coordinates_stay_within_the_image():
    assert read_interaction(drawn(point(-5, 130)), None, *TAGS).clicks == (Click(0, 1),)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [(0, (0.5, 0.4, 0.7, 0.5)), (90, (0.45, 0.4, 0.5, 0.8)), (180, (0.3, 0.3, 0.5, 0.4)), (360, (0.5, 0.4, 0.7, 0.5))],
)
def test_a_turned_rectangle_gives_the_upright_one_around_it(rotation, expected):
    shape = rectangle(50, 40, 20, 10, rotation, original_width=200, original_height=100)
    found = read_interaction(drawn(shape), None, *TAGS).rectangle
    assert (found.left, found.top, found.right, found.bottom) == pytest.approx(expected)


REASON = {"field": "text", "message": "it is empty.", "remedy": "Write."}


def test_reasons_stand_below_what_was_typed_and_are_no_prompts():
    (region,) = reply_in_text(Interaction(("a cat",)), [REASON], "prompt", "image")
    assert region["value"]["text"] == ["a cat", f"{REASON_MARK}text: it is empty. Tell whoever set this up: Write."]
    again = read_interaction(drawn(text(*region["value"]["text"])), None, *TAGS)
    assert again == Interaction(("a cat",), refused=True)
    (cleared,) = reply_in_text(again, [], "prompt", "image")
    assert cleared["value"]["text"] == ["a cat"]
    assert reply_in_text(Interaction(("a cat",)), [], "prompt", "image") == []
    assert reply_in_text(Interaction(), [REASON], None, "image") == []


ELLIPSE = {"x": 50, "y": 40, "radiusX": 10, "radiusY": 20, "rotation": 0}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("ellipselabels", ELLIPSE, (0.4, 0.2, 0.6, 0.6)),
        ("ellipse", {**ELLIPSE, "rotation": 90}, (0.4, 0.2, 0.6, 0.6)),  # in pixels it is as wide as it is high
        ("polygonlabels", {"points": [[10, 20], [50, 90], [30, 10]]}, (0.1, 0.1, 0.5, 0.9)),
        ("polygon", {"points": [[-10, 20], [50, 190], [30, 10]]}, (0, 0.1, 0.5, 1)),
    ],
)
def test_the_box_around_another_shape_is_the_prompt(kind, value, expected):
    sizes = {"original_width": 200, "original_height": 100}
    result = {"type": kind, "from_name": "el", "value": {**value, "ellipselabels": ["Object"]}, **sizes}
    found = read_interaction({"result": [result]}, None, "prompt", ("el",))
    assert astuple(found.rectangle) == pytest.approx(expected)
    assert not found.clicks


@pytest.mark.parametrize(
    "value", [{"points": []}, {"points": "x"}, {"points": [[1, None]]}, {"points": [[1, 2, 3]]}, {"points": [5]}, {}]
)
def test_shapes_that_cannot_be_read_are_none(value):
    result = {"type": "polygon", "from_name": "el", "value": value}
    assert read_interaction({"result": [result]}, None, "prompt", ("el",)) is None


def test_what_was_drawn_last_tells_the_page():
    points = [
        {"type": "keypoint", "from_name": "kp", "value": {"x": number, "y": 1}, "item_index": number}
        for number in (0, 2, 2)
    ]
    found = read_interaction({"result": points}, None, "prompt", ("kp",))
    assert found.item_index == 2
    assert [click.x for click in found.clicks] == [0.02, 0.02]

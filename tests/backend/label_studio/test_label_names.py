"""Tasks without a text whose labels are looked for."""

import pytest

from backend.errors import TaskError
from backend.label_studio.interaction import Interaction
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import Expression, TaskRequest
from backend.label_studio.task_reading import read_task
from tests.support.tasks import ANIMALS, CONFIG, clicked, request_in

VEHICLES = """<View><Image name="i" value="$image"/><Text name="t" value="$text"/><BrushLabels name="b" toName="i">
<Label value="Vehicle" predicted_values="car, Red van,,car"/><Label value="Traffic_light"/>
<Label value="Other" predicted_values=""/></BrushLabels></View>"""
EMPTY = [None, "", " \n", [], [None], ["", None]]


@pytest.fixture
def settings(configure):
    return configure(LABELS_AS_PROMPTS="on", MIN_SCORE=0.5)


def names(request):
    return [(each.text, each.label) for each in request.expressions]


@pytest.mark.parametrize("text", EMPTY)
def test_the_names_of_labels_are_looked_for_where_there_is_no_text(settings, text):
    request = request_in(settings, VEHICLES, {"image": "x", "text": text})
    assert names(request) == [("car", "Vehicle"), ("red van", "Vehicle"), ("traffic light", "Traffic_light")]
    assert (request.looks_for_labels, request.min_score) == (True, 0.5)
    (control,) = request.controls
    assert [label.name for label in control.labels] == ["Vehicle", "Traffic_light"]
    assert TaskRequest.from_json(request.as_json()) == request


def test_a_config_without_texts_asks_for_its_labels(settings):
    request = request_in(settings, ANIMALS, {"picture": "x"})
    assert names(request) == [("cat", "Cat"), ("polar bear", "Polar bear"), ("bear", "Bear"), ("dog", "Dog")]
    assert [control.name for control in request.controls] == ["b", "r"]


def test_a_text_and_an_annotator_go_first(settings):
    request = request_in(settings, VEHICLES, {"image": "x", "text": "the car on the left", "label": "vehicle"})
    assert (names(request), request.looks_for_labels) == ([("the car on the left", "Vehicle")], False)
    typed = request_in(settings, VEHICLES, {"image": "x"}, Interaction(("a traffic light",)))
    assert (names(typed), typed.looks_for_labels) == ([("a traffic light", "Traffic_light")], False)
    assert names(clicked(settings, VEHICLES, {"image": "x"}, "Other")) == [("", "Other")]


def test_labels_of_the_task_itself_and_each_of_its_images(settings):
    config = """<View><Image name="i" valueList="$images"/>
    <BrushLabels name="b" toName="i" value="$options"/></View>"""
    request = request_in(settings, config, {"images": ["x", "y"], "options": ["Cat", {"value": "Dog", "alias": "d"}]})
    expected = (Expression("cat", "Cat"), Expression("dog", "Dog"))
    assert [(page.item_index, page.expressions) for page in request.pages] == [(0, expected), (1, expected)]
    with pytest.raises(TaskError, match="no labels"):
        request_in(settings, config, {"images": ["x"]})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ('<Label value="Car"/><Label value="Van" predicted_values="van, CAR"/>', "'Car' and 'Van' both look for 'CAR'"),
        ('<Label value="Car" predicted_values=" , "/>', "none of them is to be looked for"),
        ("".join(f'<Label value="Label {n}"/>' for n in range(51)), "51 names to look for; at most 50"),
    ],
)
def test_labels_that_cannot_be_looked_for(settings, labels, message):
    config = f'<View><Image name="i" value="$image"/><BrushLabels name="b" toName="i">{labels}</BrushLabels></View>'
    with pytest.raises(TaskError, match=message) as caught:
        request_in(settings, config, {"image": "x"})
    assert caught.value.field == "labels"
    assert caught.value.remedy


@pytest.mark.parametrize("text", EMPTY)
def test_it_is_off_unless_it_is_asked_for(configure, text):
    settings = configure(MIN_SCORE=0.5)
    assert read_task({"id": 1, "data": {"picture": "x"}}, read_label_config(ANIMALS), settings, "7") is None
    with pytest.raises(TaskError, match="text"):
        request_in(settings, CONFIG, {"image": "x", "text": text})


def test_a_question_without_labels_keeps_its_digest(configure, settings):
    asked = request_in(settings, CONFIG, {"image": "x", "text": "a cat"})
    assert "looks_for_labels" not in asked.as_json()
    assert asked.question() == request_in(configure(MIN_SCORE=0.1), CONFIG, {"image": "x", "text": "a cat"}).question()

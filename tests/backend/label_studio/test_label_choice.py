"""Which label a mask gets."""

import time

import pytest

from backend.errors import TaskError
from tests.support.tasks import ANIMALS, CONFIG, clicked, request_in, task


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("the dog beside the cat", "Dog"),
        ("a polar bear", "Polar bear"),  # not the shorter name within
        ({"text": "the fluffy one", "label": "CAT"}, "Cat"),
    ],
)
def test_label_is_named_beside_or_in_the_text(settings, text, label):
    assert request_in(settings, ANIMALS, {"picture": "x", "text": text}).expressions[0].label == label


def test_label_in_the_tasks_data(settings):
    data = {"picture": "x", "text": "the big one", "label": "Dog"}
    assert request_in(settings, ANIMALS, data).expressions[0].label == "Dog"


@pytest.mark.parametrize("text", ["the category", "a concatenation", "a whale"])
def test_a_label_within_a_word_does_not_count(settings, text):
    with pytest.raises(TaskError, match="Name Cat, Polar bear, Bear or Dog") as caught:
        request_in(settings, ANIMALS, {"picture": "x", "text": text})
    assert caught.value.field == "label"


def test_an_unknown_label_is_named_with_the_known_ones(settings):
    with pytest.raises(TaskError, match=r"'Whale' is not in the label config\. Use one of Object"):
        request_in(settings, CONFIG, task(1, {"text": "it", "label": "Whale"})["data"])


@pytest.mark.parametrize(
    ("config", "data", "label", "expected"),
    [
        (ANIMALS, {"text": "a cat"}, "Dog", "Dog"),
        (ANIMALS, {"text": {"text": "it", "label": "Bear"}}, None, "Bear"),
        (ANIMALS, {"text": "a cat"}, None, "Cat"),
        (ANIMALS, {"label": "Dog"}, None, "Dog"),
        (CONFIG, {}, "Any name", "Object"),
    ],
)
def test_the_label_of_the_clicks_comes_first(settings, config, data, label, expected):
    found = clicked(settings, config, {"picture": "x", "image": "x", **data}, label)
    assert found.expressions[0].label == expected


@pytest.mark.parametrize("label", ["Whale", None])
def test_clicks_whose_label_no_result_tag_has(settings, label):
    with pytest.raises(TaskError, match=r"Cat, Polar bear, Bear"):
        clicked(settings, ANIMALS, {"picture": "x"}, label)


def test_many_labels_and_texts_take_one_pass_each(settings):
    labels = "".join(f'<Label value="label {number}" alias="number {number}"/>' for number in range(2000))
    config = CONFIG.replace('<Label value="Object"/></BrushLabels>', f"{labels}</BrushLabels>")
    texts = ["the label label label " * 40 + f"number {number}" for number in range(50)]
    start = time.process_time()
    request = request_in(settings, config, {"image": "x", "text": texts})
    assert time.process_time() - start < 5  # 0.4 s here; 20 s with a search for each label in each text
    assert [expression.label for expression in request.expressions] == [f"label {number}" for number in range(50)]


@pytest.mark.parametrize("number", [5001, 10_000])
def test_labels_are_bounded(settings, number):
    config = CONFIG.replace('name="tag"', 'name="tag" value="$options"')
    options = [f"label {each}" for each in range(number)]
    with pytest.raises(TaskError, match=f"there are {number + 1} labels; at most 5000") as caught:
        request_in(settings, config, {"image": "x", "text": "an object", "options": options})
    assert caught.value.field == "options"

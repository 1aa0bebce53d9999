"""What a task asks for, and its annotator."""

import json

import pytest

from backend.errors import TaskError
from backend.label_studio.interaction import Interaction
from backend.label_studio.request import Click, Expression, Rectangle, TaskRequest
from tests.support.tasks import ANIMALS, CONFIG, clicked, request_in, request_of, task


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", [("a cat", "Object")]),
        ("  a\n cat ", [("a cat", "Object")]),
        (["a cat", "a dog"], [("a cat", "Object"), ("a dog", "Object")]),
        ({"text": "a cat", "label": "object"}, [("a cat", "Object")]),
        ([{"text": "a cat"}, "a dog"], [("a cat", "Object"), ("a dog", "Object")]),
    ],
)
def test_one_label_serves_all_forms_of_text(settings, text, expected):
    found = request_in(settings, CONFIG, task(1, text)["data"]).expressions
    assert found == tuple(Expression(*entry) for entry in expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no text"),
        ([], "no text"),
        ("", "empty"),
        (" \n", "empty"),
        (["a cat", ""], "empty"),
        (5, "a number"),
        (True, "true or false"),
        ([["a"]], "a list"),
        ({"label": "Object"}, "without a text"),
        ("x" * 1001, "1001 characters"),
        (["x"] * 51, "51 expressions"),
    ],
)
def test_unusable_text_names_its_field_and_a_remedy(settings, text, message):
    with pytest.raises(TaskError, match=message) as caught:
        request_in(settings, CONFIG, task(1, text)["data"])
    assert caught.value.field == "text"
    assert caught.value.remedy


@pytest.mark.parametrize("image", [None, "", "  ", 5, ["a.png"], {"url": "a.png"}])
def test_unusable_image_reference(settings, image):
    with pytest.raises(TaskError) as caught:
        request_in(settings, CONFIG, {"image": image, "text": "a cat"})
    assert caught.value.field == "image"


def test_text_field_of_the_settings_wins(configure):
    settings = configure(TEXT_FIELD="caption")
    assert request_in(settings, CONFIG, {"image": "x", "text": "no", "caption": "yes"}).expressions[0].text == "yes"


def test_job_ids_depend_on_the_work_alone(settings):
    first = request_of(task(1, "a cat"), settings)
    assert first.job_id() == request_of(task(2, " a  cat"), settings, project="8").job_id()
    others = [request_of(task(1, "a dog"), settings), request_of(task(1, "a cat", "x.png"), settings)]
    others.append(request_of(task(1, "a cat"), settings, config=CONFIG.replace("tag", "mask")))
    assert len({first.job_id(), *(other.job_id() for other in others)}) == 4


@pytest.mark.parametrize(
    "image", ["s3://b/a.png", "/tasks/1/resolve/?fileuri=a", "http://studio/tasks/1/presign/?fileuri=a"]
)
def test_what_label_studio_lets_a_task_read_is_no_other_tasks(settings, image):
    first, second = (request_of(task(number, "a cat", image), settings) for number in (1, 2))
    assert first.job_id() != second.job_id()
    assert first.question() == second.question()


def test_requests_survive_json(settings):
    made = request_in(settings, ANIMALS, {"picture": "x", "text": ["a cat", "a dog"]})
    assert TaskRequest.from_json(made.as_json()) == made


def test_typed_texts_replace_the_tasks_own(settings):
    found = request_in(settings, CONFIG, {"image": "x", "text": "a cat"}, Interaction(("a dog", "a cow")))
    assert [expression.text for expression in found.expressions] == ["a dog", "a cow"]
    assert found.interactive


@pytest.mark.parametrize(
    ("own", "typed", "expected"),
    [
        ("a cat", (), "a cat"),
        (["a cat"], (), "a cat"),
        (["a cat", "a dog"], (), ""),  # it is not known which one is meant
        ("a cat", ("a dog", "a cow"), "a cow"),
        (None, (), ""),
        (5, (), ""),
        ("x" * 1001, (), ""),
    ],
)
def test_clicks_refine_the_text_if_there_is_one(settings, own, typed, expected):
    found = clicked(settings, CONFIG, {"image": "x", "text": own}, None, *typed)
    assert found.expressions == (Expression(expected, "Object"),)
    assert found.clicks == (Click(0.5, 0.5),)


def test_a_typed_text_that_cannot_be_used_is_refused_with_clicks_too(settings):
    with pytest.raises(TaskError, match="1001 characters"):
        clicked(settings, CONFIG, {"image": "x"}, None, "x" * 1001)


def test_job_ids_depend_on_the_clicks(settings):
    own = task(1, "a cat")
    asked = [
        None,
        Interaction(("a cat",)),
        Interaction(clicks=(Click(0.1, 0.2),)),
        Interaction(clicks=(Click(0.1, 0.2, positive=False),)),
        Interaction(clicks=(Click(0.1, 0.2), Click(0.3, 0.2))),
        Interaction(rectangle=Rectangle(0, 0, 0.5, 0.5)),
    ]
    first, again = ([request_of(own, settings, one).job_id() for one in asked] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(asked)


def test_requests_with_clicks_survive_json(settings):
    asked = Interaction((), (Click(0.1, 0.2), Click(0.5, 0.5, positive=False)), Rectangle(0, 0, 0.5, 0.5), "Object")
    made = request_in(settings, CONFIG, {"image": "x"}, asked)
    assert TaskRequest.from_json(json.loads(json.dumps(made.as_json()))) == made


def test_results_are_bounded_before_anything_is_made(settings):
    tags = "".join(f'<BrushLabels name="t{n}" toName="image"><Label value="Object"/></BrushLabels>' for n in range(300))
    config = CONFIG.replace("<TextArea", f"{tags}<TextArea")
    with pytest.raises(TaskError, match="make 15050 results in 301 tags; at most 1000") as caught:
        request_in(settings, config, {"image": "x", "text": ["a cat"] * 50})
    assert caught.value.field == "text"
    assert len(request_in(settings, config, {"image": "x", "text": ["a cat"] * 3}).controls) == 301


@pytest.mark.parametrize("data", [{"text": "half \ud83d"}, {"image": "a\udc00.png"}, {"text": ["a cat", "\ud800"]}])
def test_half_a_character_is_refused(settings, data):
    with pytest.raises(TaskError, match="half a character") as caught:
        request_in(settings, CONFIG, {"image": "x", "text": "a cat", **data})
    assert caught.value.field == next(iter(data))

import pytest

from backend.errors import LabelConfigError, TaskError
from backend.labels import Control, Expression, TaskRequest, prompt_texts, read_label_config
from tests.backend.conftest import CONFIG, ROOT, task

ANIMALS = """<View><Image name="i" value="$picture"/>
<BrushLabels name="b" toName="i"><Label value="Cat"/><Label value="Polar bear"/><Label value="Bear"/></BrushLabels>
<RectangleLabels name="r" toName="i"><Label value="Cat" alias="cat_id"/><Label value="Dog"/></RectangleLabels></View>"""


def request(settings, config, data, prompts=None):
    return read_label_config(config).request({"id": 1, "data": data}, settings, "7", prompts)


def test_reads_what_the_config_names():
    layout = read_label_config(CONFIG)
    assert (layout.image_tag, layout.image_field, layout.text_field) == ("image", "image", "text")
    assert layout.controls == (Control("tag", "brushlabels", ("Object",)),)  # prompts' tools take no results


def test_the_ready_config_is_one_that_is_understood():
    layout = read_label_config((ROOT / "label_config.xml").read_text())
    assert (layout.image_field, layout.text_field, layout.labels) == ("image", "text", ("Object",))


def test_labels_of_several_controls_are_joined_and_aliases_count():
    assert read_label_config(ANIMALS).labels == ("Cat", "Polar bear", "Bear", "cat_id", "Dog")


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
    found = request(settings, CONFIG, task(1, text)["data"]).expressions
    assert found == tuple(Expression(*entry) for entry in expected)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("the dog beside the cat", "Dog"),
        ("a polar bear", "Polar bear"),  # not the shorter name within
        ({"text": "the fluffy one", "label": "CAT"}, "Cat"),
    ],
)
def test_label_is_named_beside_or_in_the_text(settings, text, label):
    assert request(settings, ANIMALS, {"picture": "x", "text": text}).expressions[0].label == label


def test_label_in_the_tasks_data(settings):
    data = {"picture": "x", "text": "the big one", "label": "Dog"}
    assert request(settings, ANIMALS, data).expressions[0].label == "Dog"


@pytest.mark.parametrize("text", ["the category", "a concatenation", "a whale"])
def test_a_label_within_a_word_does_not_count(settings, text):
    with pytest.raises(TaskError, match="Name one of Cat, Polar bear") as caught:
        request(settings, ANIMALS, {"picture": "x", "text": text})
    assert caught.value.field == "label"


def test_an_unknown_label_is_named_with_the_known_ones(settings):
    with pytest.raises(TaskError, match=r"'Whale' is not in the label config\. Use one of Object"):
        request(settings, CONFIG, task(1, {"text": "it", "label": "Whale"})["data"])


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
        request(settings, CONFIG, task(1, text)["data"])
    assert caught.value.field == "text"
    assert caught.value.remedy


@pytest.mark.parametrize("image", [None, "", "  ", 5, ["a.png"], {"url": "a.png"}])
def test_unusable_image_reference(settings, image):
    with pytest.raises(TaskError) as caught:
        request(settings, CONFIG, {"image": image, "text": "a cat"})
    assert caught.value.field == "image"


def test_text_field_of_the_settings_wins(configure):
    settings = configure(TEXT_FIELD="caption")
    assert request(settings, CONFIG, {"image": "x", "text": "no", "caption": "yes"}).expressions[0].text == "yes"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "empty"),
        ("<View>", "well-formed"),
        ("not xml", "well-formed"),
        ("<View/>", "no image tag"),
        ('<View><Text name="t" value="$t"/></View>', "no image tag"),
        ('<View><Image name="i" value="$i"/></View>', "no tag with labels"),
        ('<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i"/></View>', "no tag with labels"),
        (
            '<View><Image name="i" value="$i"/><Choices name="c" toName="i"><Choice value="x"/></Choices></View>',
            "no tag",
        ),
        (CONFIG.replace('value="$image"', 'valueList="$images"'), "list of images"),
        (CONFIG.replace('value="$image"', 'value="http://host/a.png"'), "no field"),
        ('<!DOCTYPE v [<!ENTITY a "b">]>' + CONFIG, "document type or entities"),
        ('<!DOCTYPE v SYSTEM "file:///etc/passwd">' + CONFIG, "document type or entities"),
        ('<?xml version="1.0" encoding="utf-8"?>' + CONFIG, "parser refuses"),
    ],
)
def test_unusable_configs_are_refused_with_a_remedy(config, message):
    with pytest.raises(LabelConfigError, match=message) as caught:
        read_label_config(config)
    assert caught.value.field == "label_config"
    assert caught.value.remedy


def test_billion_laughs_expand_nothing():
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(LabelConfigError, match="entities"):
        read_label_config(f'<!DOCTYPE v [<!ENTITY a0 "ha">{laughs}]><View>&a11;</View>')


def test_job_ids_depend_on_the_work_alone(settings):
    layout = read_label_config(CONFIG)
    first = layout.request(task(1, "a cat"), settings, "7")
    assert first.job_id() == layout.request(task(2, " a  cat"), settings, "8").job_id()
    others = [layout.request(task(1, "a dog"), settings, "7"), layout.request(task(1, "a cat", "x.png"), settings, "7")]
    others.append(read_label_config(CONFIG.replace("tag", "mask")).request(task(1, "a cat"), settings, "7"))
    assert len({first.job_id(), *(other.job_id() for other in others)}) == 4


def test_requests_survive_json(settings):
    made = request(settings, ANIMALS, {"picture": "x", "text": ["a cat", "a dog"]})
    assert TaskRequest.from_json(made.as_json()) == made


@pytest.mark.parametrize(
    ("context", "texts"),
    [
        ({}, []),
        ({"result": [{"type": "textarea", "value": {"text": ["the yellow box"]}}]}, ["the yellow box"]),
        ({"result": [{"type": "textarea", "value": {"text": "the yellow box"}}]}, ["the yellow box"]),
        ({"result": [{"type": "keypointlabels", "value": {"x": 1}}, {"value": None}, {}]}, []),
    ],
)
def test_prompts_are_read_from_the_context(context, texts):
    assert prompt_texts(context) == texts


def test_prompts_replace_the_tasks_text(settings):
    found = request(settings, CONFIG, {"image": "x", "text": "a cat"}, ["a dog"]).expressions
    assert [expression.text for expression in found] == ["a dog"]

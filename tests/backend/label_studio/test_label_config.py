import json
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.errors import LabelConfigError, TaskError
from backend.label_studio.interaction import Interaction
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import Click, Control, Expression, Rectangle, TaskRequest
from tests.support.processes import ROOT
from tests.support.tasks import CONFIG, request_of, task

ANIMALS = """<View><Image name="i" value="$picture"/>
<BrushLabels name="b" toName="i"><Label value="Cat"/><Label value="Polar bear"/><Label value="Bear"/></BrushLabels>
<RectangleLabels name="r" toName="i"><Label value="Cat" alias="cat_id"/><Label value="Dog"/></RectangleLabels></View>"""


def request(settings, config, data, interaction=None):
    return request_of({"id": 1, "data": data}, settings, interaction, config=config)


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


TAGS = ["View", "Image", "Text", "BrushLabels", "RectangleLabels", "Label", "TextArea", "KeyPointLabels", "Choices"]
ATTRIBUTES = ["name", "value", "toName", "valueList", "alias", "smart", "whenTagName", "perRegion"]
VALUES = st.sampled_from(["i", "b", "$image", "$a.b[0]", "true", "", "i,b"]) | st.text("$ié<&", max_size=4)


def xml(tag, attributes, inner):
    words = [tag, *(f"{name}={quoteattr(value)}" for name, value in attributes.items())]
    return f"<{' '.join(words)}>{''.join(inner)}</{tag}>"


def trees(children):
    """XML of a tag with attributes around others."""
    attributes = st.fixed_dictionaries({}, optional=dict.fromkeys(ATTRIBUTES, VALUES))
    return st.builds(xml, st.sampled_from(TAGS), attributes, st.lists(children, max_size=5))


USABLE = st.lists(trees(st.just("")), max_size=3).map(lambda tags: CONFIG.replace("</View>", "".join(tags) + "</View>"))
CUT = st.tuples(*[st.integers(0, len(CONFIG))] * 2).map(lambda cut: CONFIG[: cut[0]] + CONFIG[cut[1] :])


DECLARED = USABLE.map(lambda config: '<?xml version="1.0" encoding="utf-8"?>' + config)
CONFIGS = st.text() | st.recursive(trees(st.just("")), trees, max_leaves=8) | USABLE | CUT | DECLARED
ENTRIES = st.text() | st.none() | st.integers() | st.lists(st.text())


@given(CONFIGS, st.dictionaries(st.sampled_from(["image", "text", "label"]), ENTRIES))
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_config_is_read_or_refused(settings, config, data):
    try:
        layout = read_label_config(config)
    except LabelConfigError as error:
        assert error.message and error.remedy
        return
    assert layout.labels and layout.image_field
    try:
        found = request_of({"id": 1, "data": data}, settings, config=config)
    except TaskError as error:
        assert error.message and error.remedy
    else:
        assert {expression.label for expression in found.expressions} <= set(layout.labels)


def test_job_ids_depend_on_the_work_alone(settings):
    first = request_of(task(1, "a cat"), settings)
    assert first.job_id() == request_of(task(2, " a  cat"), settings, project="8").job_id()
    others = [request_of(task(1, "a dog"), settings), request_of(task(1, "a cat", "x.png"), settings)]
    others.append(request_of(task(1, "a cat"), settings, config=CONFIG.replace("tag", "mask")))
    assert len({first.job_id(), *(other.job_id() for other in others)}) == 4


def test_requests_survive_json(settings):
    made = request(settings, ANIMALS, {"picture": "x", "text": ["a cat", "a dog"]})
    assert TaskRequest.from_json(made.as_json()) == made


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", None),
        ('<TextArea name="caption" toName="i"/>', "caption"),
        ('<TextArea name="caption" toName="i"/><TextArea name="prompt" toName="i"/>', "prompt"),
        ('<Text name="t" value="$t"/><TextArea name="notes" toName="t"/>', None),
    ],
)
def test_the_prompts_text_area(tags, expected):
    assert read_label_config(ANIMALS.replace("</View>", tags + "</View>")).prompt_tag == expected


def test_only_smart_tags_take_clicks():
    assert read_label_config(CONFIG).click_tags == ("kp", "rect")
    assert read_label_config(CONFIG.replace('smart="true"', "")).click_tags == ()


def clicked(settings, config, data, label=None, *texts):
    return request(settings, config, data, Interaction(texts, (Click(0.5, 0.5),), label=label))


def test_typed_texts_replace_the_tasks_own(settings):
    found = request(settings, CONFIG, {"image": "x", "text": "a cat"}, Interaction(("a dog", "a cow")))
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
    made = request(settings, CONFIG, {"image": "x"}, asked)
    assert TaskRequest.from_json(json.loads(json.dumps(made.as_json()))) == made


def test_a_config_of_megabytes_is_refused_before_it_is_parsed():
    with pytest.raises(LabelConfigError, match="at most 262144"):
        read_label_config("<View>" + "<a/>" * 100_000 + "</View>")

"""Label configs as Label Studio allows them, and as nobody should write them."""

from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.errors import LabelConfigError, TaskError
from backend.label_studio.label_config import ControlTag, read_label_config
from backend.label_studio.request import Label
from backend.label_studio.task_reading import read_task
from tests.support.processes import ROOT
from tests.support.tasks import CONFIG

ANIMALS = """<View><Image name="i" value="$picture"/>
<BrushLabels name="b" toName="i"><Label value="Cat"/><Label value="Polar bear"/><Label value="Bear"/></BrushLabels>
<RectangleLabels name="r" toName="i"><Label value="Cat" alias="cat_id"/><Label value="Dog"/></RectangleLabels></View>"""


def test_reads_what_the_config_names():
    layout = read_label_config(CONFIG)
    assert (layout.image_tag, layout.image_path, layout.text_path(None)) == ("image", "image", "text")
    assert layout.controls == (ControlTag("tag", "brushlabels", (Label("Object", "Object"),)),)


def test_the_ready_config_is_one_that_is_understood():
    layout = read_label_config((ROOT / "label_config.xml").read_text())
    assert (layout.image_path, layout.text_path(None)) == ("image", "text")
    assert names(layout) == {"Object"}


def names(layout):
    return {label.name for control in layout.controls for label in control.labels}


def test_a_label_is_known_by_its_name_and_answered_by_its_alias():
    brush, rectangle = read_label_config(ANIMALS).controls
    assert [label.name for label in brush.labels] == ["Cat", "Polar bear", "Bear"]
    assert rectangle.labels == (Label("Cat", "cat_id"), Label("Dog", "Dog"))


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
    assert layout.controls and layout.image_path
    try:
        found = read_task({"id": 1, "data": data}, layout, settings, "7")
    except TaskError as error:
        assert error.message and error.remedy
    else:
        assert found is None or {expression.label for expression in found.expressions} <= names(layout)


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


def test_a_config_of_megabytes_is_refused_before_it_is_parsed():
    with pytest.raises(LabelConfigError, match="at most 262144"):
        read_label_config("<View>" + "<a/>" * 100_000 + "</View>")

"""Label configs and tasks that people have: paths, lists of images, several texts, labels in other spellings."""

import pytest

from backend.errors import LabelConfigError, TaskError
from backend.label_studio.data_paths import look_up
from backend.label_studio.interaction import Interaction
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import Click, Expression, Label, TaskRequest
from backend.label_studio.task_reading import read_task
from tests.support.processes import ROOT
from tests.support.tasks import request_in

BRUSH = '<BrushLabels name="mask" toName="image"><Label value="Object"/></BrushLabels>'


def config(*tags, image='value="$image"', brush=BRUSH):
    return f'<View>{"".join(tags)}<Image name="image" {image}/>{brush}</View>'


def labels(*names):
    return f'<BrushLabels name="mask" toName="image">{"".join(f"<Label {name}/>" for name in names)}</BrushLabels>'


WIDE = "\uff23\uff41\uff54"  # "Cat" in full-width letters
TEXT = '<Text name="text" value="$text"/>'
ONE_OF_TWO = {"image": "x", "text": "the left goldfish"}


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("image", "a"), ("meta.url", "b"), ("meta.deep[1].url", "c"),
            ("list[0]", "d"), ("list.0", "d"),
            ("dotted.name", "e"), ("list[7]", None), ("meta.url.more", None),
            ("nothing.at.all", None), ("list.x", None),
        ],
    )  # fmt: skip
    def test_a_value_is_found(self, path, expected):
        data = {"image": "a", "meta": {"url": "b", "deep": [{}, {"url": "c"}]}, "list": ["d"], "dotted.name": "e"}
        assert look_up(data, path) == expected

    def test_image_and_text_may_lie_deeper(self, settings):
        nested = config('<Text name="text" value="$meta.caption"/>', image='value="$meta.url"')
        found = request_in(settings, nested, {"meta": {"url": "001.png", "caption": "the left goldfish"}})
        assert (found.pages[0].image, found.expressions[0].text) == ("001.png", "the left goldfish")
        listed = config(TEXT, image='value="$images[0].url"')
        found = request_in(settings, listed, {"images": [{"url": "001.png"}], "text": "the left goldfish"})
        assert found.pages[0].image == "001.png"

    def test_a_path_that_leads_nowhere_is_named(self, settings):
        with pytest.raises(TaskError, match=r"meta\.url: the task has no image here") as caught:
            request_in(settings, config(TEXT, image='value="$meta.url"'), {"meta": {}, "text": "a fish"})
        assert caught.value.field == "meta.url"

    def test_repeated_tags_are_refused_by_name(self):
        tags = f'<Repeater on="$images" indexFlag="{{{{idx}}}}">{config(TEXT)}</Repeater>'
        with pytest.raises(LabelConfigError, match=r"<Repeater> is not supported.*valueList"):
            read_label_config(f"<View>{tags}</View>")


class TestTexts:
    INSTRUCTIONS = '<Text name="instr" value="$instructions"/>'

    def test_of_several_the_one_called_text(self, settings):
        data = {**ONE_OF_TWO, "instructions": "Please check the mask and correct it."}
        for tags in ((self.INSTRUCTIONS, TEXT), (self.INSTRUCTIONS, TEXT.replace('name="text"', 'name="t"'))):
            assert request_in(settings, config(*tags), data).expressions[0].text == "the left goldfish"

    def test_of_several_none_of_which_is_called_so_nobody_knows(self, configure):
        both = config(self.INSTRUCTIONS, '<Text name="b" value="$caption"/>')
        data = {"image": "x", "instructions": "Check it.", "caption": "a cat"}
        with pytest.raises(LabelConfigError, match=r"instr \(\$instructions\), b \(\$caption\).*TEXT_FIELD"):
            request_in(configure(), both, data)
        assert request_in(configure(TEXT_FIELD="caption"), both, data).expressions[0].text == "a cat"

    def test_who_asks_nothing_fails_at_nothing(self, settings):
        bare = read_label_config(config())
        assert read_task({"id": 1, "data": {"image": "x"}}, bare, settings, "7") is None
        assert read_task({"id": 1, "data": {"image": "x", "text": "a cat"}}, bare, settings, "7").expressions

    def test_an_address_where_the_text_should_be_is_found(self, settings):
        with pytest.raises(TaskError, match=r"address stands where its text should.*<Image> before <Text>"):
            request_in(settings, config(TEXT), {"text": "s3://bucket/a.png"})


class TestPages:
    FRAMES = config(TEXT, image='valueList="$frames"')

    def asked(self, settings, text, *frames):
        return request_in(settings, self.FRAMES, {"frames": list(frames), "text": text}).pages

    def test_one_text_is_for_all_pages(self, settings):
        for text in ("a cat", ["a cat"]):
            pages = self.asked(settings, text, "a.png", "b.png")
            assert [(page.image, page.item_index) for page in pages] == [("a.png", 0), ("b.png", 1)]
            assert all(page.expressions == (Expression("a cat", "Object"),) for page in pages)

    def test_each_page_may_have_its_own(self, settings):
        pages = self.asked(settings, ["a cat", None, ["a dog", "a cow"]], "a.png", "b.png", "c.png")
        found = [(page.item_index, [each.text for each in page.expressions]) for page in pages]
        assert found == [(0, ["a cat"]), (2, ["a dog", "a cow"])]

    def test_a_click_is_about_its_own_page(self, settings):
        clicked = Interaction(clicks=(Click(0.5, 0.5),), item_index=70)
        data = {"frames": [f"{number}.png" for number in range(80)], "text": "a cat"}
        (page,) = request_in(settings, self.FRAMES, data, clicked).pages
        assert (page.image, page.item_index) == ("70.png", 70)

    def test_they_survive_json(self, settings):
        made = request_in(settings, self.FRAMES, {"frames": ["a", "b"], "text": "a cat"})
        assert TaskRequest.from_json(made.as_json()) == made

    @pytest.mark.parametrize(
        ("frames", "text", "message"),
        [
            (["a", "b", "c"], ["a cat", "a dog"], "2 texts for 3 images"),
            (["a", "b"], [None, None], "no page of the task has a text"),
            ("a.png", "a cat", "the list of images is a text"),
            ([], "a cat", "no list of images"),
            (["a", 5], "a cat", r"frames\[1\]: the image is no text but a number"),
            (["a"] * 51, "a cat", "51 expressions; at most 50"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, settings, frames, text, message):
        with pytest.raises(TaskError, match=message):
            request_in(settings, self.FRAMES, {"frames": frames, "text": text})


class TestLabels:
    def chosen(self, settings, data, *names, more=""):
        found = request_in(settings, config(TEXT, brush=labels(*names) + more), {"image": "x", **data})
        return found.expressions[0].label, [label.answer for label in found.controls[0].labels]

    @pytest.mark.parametrize(
        ("names", "text", "expected"),
        [
            (('value="Goldfish" alias="1"', 'value="Dice" alias="2"'), "the left goldfish", ("Goldfish", ["1"])),
            (('value="G" alias="goldfish"', 'value="D" alias="dice"'), "the 2 goldfish", ("G", ["goldfish"])),
            (('value="Zebras"', 'value="Dice"'), "the left zebra", ("Zebras", ["Zebras"])),
            (('value="Berry"', 'value="Glass"'), "two glasses", ("Glass", ["Glass"])),
            (('value="Berry"', 'value="Glass"'), "the berries", ("Berry", ["Berry"])),
            (('value="traffic_light"', 'value="car"'), "the Traffic Light", ("traffic_light", ["traffic_light"])),
            (('value="traffic-lights"', 'value="car"'), "a traffic light", ("traffic-lights", ["traffic-lights"])),
            (('value="Goldfish "', 'value="Dice"'), "the left goldfish", ("Goldfish ", ["Goldfish "])),
            (('value="金鱼"', 'value="骰子"'), "左边的金鱼", ("金鱼", ["金鱼"])),
            (('value="자동차"', 'value="개"'), "왼쪽 자동차를", ("자동차", ["자동차"])),
            ((f'value="{WIDE}"', 'value="Dog"'), "a cat", (WIDE, [WIDE])),
        ],
    )
    def test_a_text_names_them_in_its_own_spelling(self, settings, names, text, expected):
        assert self.chosen(settings, {"text": text}, *names) == expected

    def test_a_number_in_a_text_is_no_alias(self, settings):
        with pytest.raises(TaskError, match="does not say which label"):
            self.chosen(settings, {"text": "the 2 fish"}, 'value="Goldfish" alias="1"', 'value="Dice" alias="2"')

    @pytest.mark.parametrize("wanted", ["Goldfish", "goldfish", "1", "Goldfishes "])
    def test_a_task_names_them_in_its_own_spelling(self, settings, wanted):
        found = self.chosen(settings, {"text": "x", "label": wanted}, 'value="Goldfish" alias="1"', 'value="Dice"')
        assert found == ("Goldfish", ["1"])

    def test_where_there_is_no_choice_a_column_called_label_means_something_else(self, settings):
        assert self.chosen(settings, {"text": "a cat", "label": "train"}, 'value="Object"') == ("Object", ["Object"])

    def test_labels_of_the_task_itself(self, settings):
        dynamic = labels('value="Other"').replace("toName", 'value="$options" toName')
        for options in ([{"value": "Goldfish"}, {"value": "Dice", "alias": "d"}], ["Goldfish", "Dice"]):
            data = {**ONE_OF_TWO, "options": options}
            found = request_in(settings, config(TEXT, brush=dynamic), data)
            assert found.controls[0].labels == (Label("Goldfish", "Goldfish"),)
        found = request_in(settings, config(TEXT, brush=dynamic), {"image": "x", "text": "a fish"})
        assert found.expressions[0].label == "Other"

    @pytest.mark.parametrize("options", [None, "Goldfish", [], [5, {"value": 3}, {"value": " "}]])
    def test_a_task_without_any_label_is_refused(self, settings, options):
        none = '<BrushLabels name="mask" toName="image" value="$options"/>'
        with pytest.raises(TaskError, match="options: the task has no labels here"):
            request_in(settings, config(TEXT, brush=none), {"image": "x", "text": "a", "options": options})

    def test_the_default_label(self, configure):
        names = ('value="Mug"', 'value="Animal" alias="a"', 'value="Other" selected="true"')
        assert self.chosen(configure(), {"text": "it"}, *names) == ("Other", ["Other"])
        assert self.chosen(configure(DEFAULT_LABEL="animal"), {"text": "it"}, *names) == ("Animal", ["a"])
        assert self.chosen(configure(DEFAULT_LABEL="animal"), {"text": "a mug"}, *names) == ("Mug", ["Mug"])
        with pytest.raises(TaskError, match=r"REFAM_BACKEND_DEFAULT_LABEL: the default label 'car' is not") as caught:
            self.chosen(configure(DEFAULT_LABEL="car"), {"text": "it"}, *names)
        assert "Mug, Animal and Other" in caught.value.remedy

    def test_an_annotator_is_told_what_an_annotator_can_do(self, settings):
        with pytest.raises(TaskError) as caught:
            self.chosen(settings, {"text": "it"}, 'value="Mug"', 'value="Animal"', 'value="Other"')
        assert caught.value.annotator == "Name Mug, Animal or Other in the prompt."
        assert "REFAM_BACKEND_DEFAULT_LABEL" in caught.value.remedy

    def test_labels_beside_plain_tools_are_refused_by_name(self):
        tags = '<Labels name="l" toName="image"><Label value="A"/></Labels><Brush name="b" toName="image"/>'
        with pytest.raises(LabelConfigError, match=r'<Labels name="l">, <Brush name="b">.*<BrushLabels>'):
            read_label_config(config(TEXT, brush=tags))


@pytest.mark.parametrize("name", ["label_config.xml", "label_config_prompt.xml", "backend/demo/label_config.xml"])
def test_storages_put_addresses_into_the_image_of_the_ready_configs(name):
    text = (ROOT / name).read_text()
    assert "<Text" not in text or text.index("<Image") < text.index("<Text")
    assert read_label_config(text).image_path == "image"

"""Interactive requests as Label Studio 1.23.2 sends them, from the context to the suggestion."""

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from backend.app import create_app
from backend.image_cache import ImageCache
from backend.images import ImageLoader
from backend.interactive import REASON_MARK, Click, Interaction, Rectangle, read_interaction, reply_in_text
from backend.jobs import Predictor
from backend.labels import read_label_config
from backend.model import RefAMBackend
from backend.studio import Studio
from backend.worker import load_refam
from refam.config import RefAMConfig
from tests.backend.conftest import CONFIG, data_uri, png, task
from tests.backend.stub_worker import StubSegmenter
from tests.refam.conftest import random_pipeline, save_sam

RECORDED = {
    entry["name"]: entry["body"]
    for entry in json.loads((Path(__file__).parent / "fixtures" / "label_studio_requests.json").read_text())
}
TAGS = ("prompt", ("kp", "rect"))
RED = data_uri(png(20, 10))


def read(name):
    body = RECORDED[name]
    return read_interaction(body["params"]["context"], body["tasks"][0]["drafts"], *TAGS)


def point(x=50.0, y=50.0, *, positive=True, label="Object", tag="kp"):
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {"from_name": tag, "type": "keypointlabels", "value": value, "is_positive": positive}


def rectangle(x=10, y=20, width=30, height=40, rotation=0, **size):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": ["Object"]}
    return {"from_name": "rect", "type": "rectanglelabels", "value": value, **size}


def text(*texts, tag="prompt"):
    return {"from_name": tag, "type": "textarea", "value": {"text": list(texts)}}


def drawn(*results):
    return {"result": list(results)}


def draft(*results, number=1, at="2026-11-23T00:43:45Z"):
    return {"id": number, "updated_at": at, "result": list(results)}


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
    assert region["value"]["text"] == ["a cat", f"{REASON_MARK}text: it is empty. Write."]
    again = read_interaction(drawn(text(*region["value"]["text"])), None, *TAGS)
    assert again == Interaction(("a cat",), refused=True)
    (cleared,) = reply_in_text(again, [], "prompt", "image")
    assert cleared["value"]["text"] == ["a cat"]
    assert reply_in_text(Interaction(("a cat",)), [], "prompt", "image") == []
    assert reply_in_text(Interaction(), [REASON], None, "image") == []


@pytest.fixture
def ask(settings, queue, run_jobs):
    """Asks, lets the worker run, and asks again: the answer as Label Studio gets it."""
    client = TestClient(create_app(settings, queue))

    def ask(*results, config=CONFIG, drafts=(), **data):
        own = {**task(1, data.pop("text", None), RED, **data), "drafts": list(drafts)}
        params = {"login": None, "password": None, "context": drawn(*results)}
        body = {"tasks": [own], "project": "7.1", "label_config": config, "params": params}
        client.post("/predict", json=body)
        run_jobs()
        answer = client.post("/predict", json=body).json()
        (result,) = answer["results"]
        assert LabelInterface(config).validate_prediction(result, return_errors=True) == []
        return result

    return ask


def mask(result):
    (region,) = [region for region in result["result"] if region["type"] == "brushlabels"]
    return decode_rle(region["value"]["rle"]).reshape(10, 20, 4)[..., 3] > 0


def shown(result):
    return [line for region in result["result"] if region["type"] == "textarea" for line in region["value"]["text"]]


def test_a_click_alone_selects_what_is_under_it(ask):
    found = mask(ask(point(25, 50)))
    assert np.argwhere(found).tolist() == [[5, 5]]


def test_clicks_refine_the_typed_text(ask):
    found = mask(ask(point(75, 50), point(5, 5, positive=False), drafts=[draft(text("left"))]))
    assert found[5, 15]
    assert not found[0, 1]
    assert found.sum() == 100


def test_a_typed_text_is_refined_by_the_drafts_clicks(ask):
    found = mask(ask(text("left"), drafts=[draft(point(75, 50))]))
    assert found.sum() == 101


def test_clicks_refine_the_tasks_own_text(ask):
    assert mask(ask(point(75, 50), text="left")).sum() == 101
    assert mask(ask(point(75, 50), text="unusable")).sum() == 1  # no say where there are clicks


def test_a_rectangle_is_a_box(ask):
    found = mask(ask(rectangle(50, 20, 25, 40)))
    assert np.argwhere(found).min(axis=0).tolist() == [2, 10]
    assert np.argwhere(found).max(axis=0).tolist() == [5, 14]


TWO = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Cat"/><Label value="Dog"/></BrushLabels>
<TextArea name="prompt" toName="image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cat"/><Label value="Dog"/></KeyPointLabels>
</View>"""


def test_the_clicks_label_is_the_masks_label(ask):
    (region,) = ask(point(label="Dog"), config=TWO, text="left cat")["result"]
    assert region["value"]["brushlabels"] == ["Dog"]


@pytest.mark.parametrize(
    ("results", "config", "message"),
    [
        ([text("a horse")], TWO, "label: the text does not say which label"),
        ([text("unusable")], CONFIG, "text: The expression holds no word to look for."),
        ([text("nothing")], CONFIG, "text: nothing in the image answers the text."),
        ([point(positive=False)], CONFIG, "click: The clicks only say where the mask is not."),
    ],
)
def test_an_annotator_sees_why_there_is_no_mask(ask, queue, results, config, message):
    result = ask(*results, config=config)
    typed = [line for entry in results for line in entry["value"].get("text", [])]
    assert shown(result)[:-1] == typed
    assert shown(result)[-1].startswith(REASON_MARK + message)
    assert queue.failures() == []  # the task itself has not failed


def test_the_reason_goes_once_there_is_a_mask(ask):
    result = ask(text("left", f"{REASON_MARK}text: it is empty."))
    assert shown(result) == ["left"]
    assert mask(result).sum() == 100


def test_without_a_worker_the_annotator_sees_that(settings, queue):
    model = RefAMBackend(label_config=CONFIG, queue=queue, settings=settings)
    answer = model.answer([task(1, "left")], drawn(point()))
    assert "worker: none is running" in shown(answer.results[0])[0]
    assert answer.errors[0]["field"] == "worker"


def test_a_config_without_a_text_area_gets_an_empty_suggestion(settings, queue):
    config = CONFIG.replace('<TextArea name="prompt" toName="image"/>', "")
    model = RefAMBackend(label_config=config, queue=queue, settings=settings)
    assert model.predict([task(1, "left")], drawn(point()))[0]["result"] == []


def test_a_removed_click_costs_nothing(settings, queue):
    model = RefAMBackend(label_config=CONFIG, queue=queue, settings=settings)
    assert model.predict([task(1, "left")], drawn())[0]["result"] == []
    assert queue.depths()["interactive"]["waiting"] == 0


def test_suggestions_do_not_touch_the_tasks_failure(queue, ask, run_jobs, settings):
    model = RefAMBackend(label_config=CONFIG, queue=queue, settings=settings)
    model.predict([task(1, "unusable", RED), task(2, "left")])
    run_jobs()
    ask(point(25, 50))
    assert [failure["task"] for failure in queue.failures()] == ["1"]


def test_a_suggestion_is_answered_in_the_same_request(settings, queue, processes):
    processes.stub_worker(queue)
    model = RefAMBackend(label_config=CONFIG, queue=queue, settings=settings)
    model.predict([task(number, f"slow 0.5 {number}", RED) for number in range(2, 8)])
    (result,) = model.predict([task(1, "left", RED)], drawn(point(75, 50)))
    assert mask(result).sum() == 101
    assert queue.depths()["batch"]["waiting"] > 0


@pytest.fixture
def click_request(settings):
    layout = read_label_config(CONFIG)

    def make(*clicks, text="the goldfish"):
        return layout.request(task(1, text, RED), settings, "7", Interaction(clicks=clicks))

    return make


class Fetches:
    def __init__(self, settings):
        self.count = 0
        self._loader = ImageLoader(settings, Studio(settings))

    def load(self, reference, field):
        self.count += 1
        return self._loader.load(reference, field)


def test_a_click_fetches_nothing(settings, queue, click_request):
    fetches = Fetches(settings)
    predictor = Predictor(StubSegmenter(), ImageCache(fetches, settings.image_cache_bytes), queue, settings)
    for x in (0.1, 0.2, 0.3):
        predictor.predict(click_request(Click(x, 0.5)))
    assert fetches.count == 1


def test_a_click_computes_neither_attention_nor_embedding_again(configure, queue, click_request, tmp_path):
    random_pipeline().save_pretrained(tmp_path / "flux")
    save_sam(tmp_path / "sam")
    config = RefAMConfig(
        model=str(tmp_path / "flux"), sam=str(tmp_path / "sam"), device="cpu", resolution=32, blocks="0-4"
    )
    refam = load_refam(config)
    ran = []
    refam.backbone.models.transformer.register_forward_pre_hook(lambda *_: ran.append("attention"))
    refam.sam._predictor.model.image_encoder.register_forward_hook(lambda *_: ran.append("embedding"))
    settings = configure()
    images = ImageCache(ImageLoader(settings, Studio(settings)), settings.image_cache_bytes)
    predictor = Predictor(refam, images, queue, settings)
    predictor.predict(read_label_config(CONFIG).request(task(1, "the goldfish", RED), settings, "7"))
    assert sorted(ran) == ["attention", "embedding"]
    clicks = [Click(0.3, 0.5), Click(0.9, 0.5, positive=False), Click(0.5, 0.1)]
    for number in range(1, 4):
        predictor.predict(click_request(*clicks[:number]))
    predictor.predict(click_request(*clicks, text=None))
    assert sorted(ran) == ["attention", "embedding"]

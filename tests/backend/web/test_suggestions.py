"""What an annotator gets: suggestions, reasons, and clicks that compute nothing twice."""

import numpy as np
import pytest
from fastapi.testclient import TestClient
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from backend.images.cache import ImageCache
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.label_studio.interaction import REASON_MARK, Interaction
from backend.label_studio.request import Click
from backend.web.answers import Answering
from backend.web.app import create_app
from backend.web.ml_backend import RefAMBackend
from backend.worker.main import load_refam
from backend.worker.predictor import Predictor
from refam.config import RefAMConfig
from refam.tiny import NOTICE, SWITCH
from tests.support.drawings import draft, drawn, point, rectangle, text
from tests.support.models import random_pipeline
from tests.support.sams import save_sam
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import CONFIG, data_uri, png, request_of, task

RED = data_uri(png(20, 10))


@pytest.fixture
def ask(settings, run_jobs, shared):
    """Asks, lets the worker run, and asks again: the answer as Label Studio gets it."""
    client = TestClient(create_app(shared, settings))

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
        ([text("a horse")], TWO, "The text does not say which label its mask gets. Name Cat or Dog in the prompt."),
        ([text("unusable")], CONFIG, "The expression holds no word to look for. Change the text."),
        ([text("nothing")], CONFIG, "Nothing found (score 0.75). Describe it otherwise."),
        ([point(positive=False)], CONFIG, "The clicks only say where the mask is not. Click again."),
    ],
)
def test_an_annotator_sees_why_there_is_no_mask(ask, results, config, message, ledger):
    result = ask(*results, config=config)
    typed = [line for entry in results for line in entry["value"].get("text", [])]
    assert shown(result)[:-1] == typed
    assert shown(result)[-1].startswith(REASON_MARK + message)
    assert ledger.failures.newest() == []  # the task itself has not failed


def test_the_reason_goes_once_there_is_a_mask(ask):
    result = ask(text("left", f"{REASON_MARK}text: it is empty."))
    assert shown(result) == ["left"]
    assert mask(result).sum() == 100


def test_without_a_worker_the_annotator_sees_that(settings, shared):
    model = RefAMBackend(label_config=CONFIG, answering=Answering(shared, settings))
    answer = model.answer([task(1, "left")], drawn(point()))
    assert "worker: none is running" in shown(answer.results[0])[0]
    assert answer.errors[0]["field"] == "worker"


def test_a_config_without_a_text_area_gets_an_empty_suggestion(settings, shared):
    config = CONFIG.replace('<TextArea name="prompt" toName="image"/>', "")
    model = RefAMBackend(label_config=config, answering=Answering(shared, settings))
    assert model.predict([task(1, "left")], drawn(point()))[0]["result"] == []


def test_a_removed_click_costs_nothing(settings, shared, backlog):
    model = RefAMBackend(label_config=CONFIG, answering=Answering(shared, settings))
    assert model.predict([task(1, "left")], drawn())[0]["result"] == []
    assert backlog.depths()["interactive"]["waiting"] == 0


def test_suggestions_do_not_touch_the_tasks_failure(ask, run_jobs, settings, ledger, shared):
    model = RefAMBackend(label_config=CONFIG, answering=Answering(shared, settings))
    model.predict([task(1, "unusable", RED), task(2, "left")])
    run_jobs()
    ask(point(25, 50))
    assert [failure["task"] for failure in ledger.failures.newest()] == ["1"]


def test_a_suggestion_is_answered_in_the_same_request(settings, processes, fleet, shared, backlog):
    processes.stub_worker(fleet)
    model = RefAMBackend(label_config=CONFIG, answering=Answering(shared, settings))
    model.predict([task(number, f"slow 0.5 {number}", RED) for number in range(2, 8)])
    (result,) = model.predict([task(1, "left", RED)], drawn(point(75, 50)))
    assert mask(result).sum() == 101
    assert backlog.depths()["batch"]["waiting"] > 0


@pytest.fixture
def click_request(settings):

    def make(*clicks, text="the goldfish"):
        return request_of(task(1, text, RED), settings, Interaction(clicks=clicks))

    return make


class Fetches:
    def __init__(self, settings):
        self.count = 0
        self._loader = ImageLoader(settings, Studio(settings))

    def load(self, reference, field, task, project=""):
        self.count += 1
        return self._loader.load(reference, field, task)


def test_a_click_fetches_nothing(settings, click_request, shared):
    fetches = Fetches(settings)
    predictor = Predictor(StubSegmenter(), ImageCache(fetches, settings.image_cache_bytes), shared.gallery, settings)
    for x in (0.1, 0.2, 0.3):
        predictor.draw(predictor.find(click_request(Click(x, 0.5))))
    assert fetches.count == 1


def test_a_click_computes_neither_attention_nor_embedding_again(configure, click_request, tmp_path, shared):
    random_pipeline().save_pretrained(tmp_path / "flux")
    save_sam(tmp_path / "sam")
    config = RefAMConfig(
        model=str(tmp_path / "flux"), sam=str(tmp_path / "sam"), device="cpu", resolution=32, blocks="0-4"
    )
    refam = load_refam(config)
    ran = []
    refam.backbone.models.transformer.register_forward_pre_hook(lambda *_: ran.append("attention"))
    refam.sam.model.inner.image_encoder.register_forward_hook(lambda *_: ran.append("embedding"))
    settings = configure()
    images = ImageCache(ImageLoader(settings, Studio(settings)), settings.image_cache_bytes)
    predictor = Predictor(refam, images, shared.gallery, settings)
    predictor.draw(predictor.find(request_of(task(1, "the goldfish", RED), settings)))
    assert sorted(ran) == ["attention", "embedding"]
    clicks = [Click(0.3, 0.5), Click(0.9, 0.5, positive=False), Click(0.5, 0.1)]
    for number in range(1, 4):
        predictor.draw(predictor.find(click_request(*clicks[:number])))
    predictor.draw(predictor.find(click_request(*clicks, text=None)))
    assert sorted(ran) == ["attention", "embedding"]


def test_what_was_drawn_is_no_suggestion_for_several_tasks(settings, shared, queue, backlog):
    answer = Answering(shared, settings).answer(CONFIG, [task(1, "left"), task(2, "right")], drawn(point()))
    assert [entry["result"] for entry in answer.results] == [[], []]
    assert {error["field"] for error in answer.errors} == {"context"}
    assert backlog.depths()["interactive"]["waiting"] == 0


def test_the_demonstration_model_says_once_what_it_is(settings, shared):
    """In the first line below the prompt; it goes with the next one."""
    model = RefAMBackend(label_config=CONFIG, answering=Answering(shared, settings))

    def lines(*typed):
        return shown(model.predict([task(1, "left")], drawn(text(*typed)))[0])

    first = lines("left")
    assert first[:2] == ["left", f"{REASON_MARK}{NOTICE} {SWITCH}"]
    assert NOTICE not in " ".join(lines(*first, "right"))
    assert NOTICE in " ".join(shown(model.predict([task(2, "left")], drawn(text("left")))[0]))
    assert NOTICE not in " ".join(shown(model.predict([task(3, "left")], drawn(point()))[0])), "nothing was typed"


def test_key_points_are_bounded(ask):
    assert mask(ask(*[point(number / 2, 50) for number in range(100)])).any()
    result = ask(*[point(number / 2, 50) for number in range(101)])
    assert shown(result) == [f"{REASON_MARK}There are 101 key points; at most 100 are allowed. Take some away."]


def test_a_draft_may_hold_much_that_is_no_prompt(ask):
    corners = [[number % 100, number / 1000] for number in range(100_000)]
    polygon = {"type": "polygonlabels", "from_name": "tag", "value": {"points": corners, "closed": True}}
    brush = {"type": "brushlabels", "from_name": "tag", "value": {"format": "rle", "rle": [1] * 1_000_000}}
    found = mask(ask(point(75, 50), drafts=[draft(brush, text("left")), draft(polygon, text("left"))]))
    assert found.sum() == 101

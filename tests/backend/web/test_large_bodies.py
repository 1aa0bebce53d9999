"""A large body is read elsewhere, and comes to the same."""

import json

import pytest

from backend.web.bodies import PredictBody, RequestError, parse
from backend.web.large_bodies import LARGE, parse_predict
from tests.support.tasks import CONFIG, body, task

MASK = {"type": "brushlabels", "value": {"format": "rle", "rle": [7] * LARGE}}
DRAWN = {"id": "1", "result": [{"type": "textarea", "value": {"text": ["the cat"]}, "from_name": "prompt"}]}


def large(**changes):
    """A body whose task has a large old prediction."""
    of_task = {**task(7, "left"), "predictions": [{"result": [MASK]}], "drafts": [DRAWN]}
    return json.dumps({**body(of_task, context=DRAWN), **changes}).encode()


def built(found):
    tasks = [each.built(["image", "text"], "tasks.0") for each in found.tasks]
    return tasks, found.label_config, found.params.drawn()


@pytest.mark.parametrize("changes", [{}, {"params": {}}, {"tasks": [{"data": {}, "annotations": [MASK]}]}])
def test_it_comes_to_the_same(changes):
    raw = large(**changes)
    assert len(raw) > LARGE
    assert built(parse_predict(raw)) == built(parse(PredictBody, raw))


def test_it_is_answered(client):
    answer = client.post("/predict", content=large())
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert result["result"][0]["value"]["text"][0] == "the cat"


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (large(tasks=[{"id": 7, "predictions": [MASK]}]), 422, "tasks.0.data: Field required."),
        (large()[:-1], 400, "body: Input data was truncated."),
        (large(label_config=5), 422, "label_config: Expected `str`, got `int`."),
    ],
)
def test_what_is_wrong_with_it_is_said(client, raw, status, reason):
    with pytest.raises(RequestError) as caught:
        parse_predict(raw)
    assert caught.value.status == status
    assert str(caught.value.reason).startswith(reason)
    assert client.post("/predict", content=raw).status_code == status


def test_a_process_that_dies_is_no_riddle(monkeypatch):
    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(RequestError) as caught:
        parse_predict(large())
    assert caught.value.status == 503
    assert "memory may be short" in str(caught.value.reason)


def test_it_keeps_the_label_config():
    assert parse_predict(large()).label_config == CONFIG

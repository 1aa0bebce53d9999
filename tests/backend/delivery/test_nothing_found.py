"""Nothing is an answer: it is listed apart from failures, counted, and stored where that is asked."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from backend.commands.prelabel import prelabel
from backend.commands.selection import Selection
from tests.support.deliveries import expire_claims, once, queue_tasks, texts
from tests.support.tasks import request_of, task


@pytest.fixture(params=[False, True], ids=["not stored", "stored"])
def stores(request):
    return request.param


@pytest.fixture
def settings(studio_settings, configure, stores):
    return configure(MIN_SCORE=0.5, STORE_NOTHING="on" if stores else "off")


def test_what_is_not_found_is_no_failure_and_no_mask(studio, desk, run_jobs, client, counters, stores):
    numbers = studio.add_tasks(7, texts("nothing", "left"))
    queue_tasks(desk, [studio.task(number) for number in numbers])
    run_jobs()
    expected = {(numbers[1], studio.version): 1} | ({(numbers[0], studio.version): 1} if stores else {})
    assert studio.per_task() == expected
    empty = [entry for entry in studio.predictions.values() if not entry["result"]]
    assert [(entry["task"], entry["score"]) for entry in empty] == ([(numbers[0], 0.75)] if stores else [])
    state = client.get("/status").json()
    assert (state["done"], state["nothing"], state["failed"]) == (1, 1, 0)
    (entry,) = state["nothing_found"]
    assert (entry["task"], entry["message"]) == (str(numbers[0]), "nothing found (score 0.75).")
    assert "lower the least score" in entry["remedy"]
    (project,) = state["projects"]
    assert (project["done"], project["nothing"], project["failed"]) == (1, 1, 0)
    assert 'refam_jobs_ended_total{outcome="nothing"} 1' in client.get("/metrics").text


def test_a_corrected_text_is_asked_for_and_its_mask_takes_the_place(studio, desk, run_jobs, client, connection, stores):
    (number,) = studio.add_tasks(7, texts("nothing"))
    queue_tasks(desk, [studio.task(number)])
    run_jobs()
    request = request_of(studio.task(number), desk.settings)
    assert desk.lacks_prediction(studio.task(number), request) == (not stores)
    studio.tasks[number]["data"]["text"] = "left"
    corrected = request_of(studio.task(number), desk.settings)
    assert desk.lacks_prediction(studio.task(number), corrected)
    assert desk.is_outdated(studio.task(number), corrected) == stores
    expire_claims(connection)
    desk.queue([corrected])
    run_jobs()
    once(studio, [number])
    assert client.get("/status").json()["nothing_found"] == []
    expire_claims(connection)
    studio.tasks[number]["data"]["text"] = "nothing"
    desk.queue([request], again=True)
    run_jobs()
    assert len(client.get("/status").json()["nothing_found"]) == 1
    if stores:
        assert [entry["result"] for entry in studio.predictions.values()] == [[]]


def test_a_least_score_of_its_own_goes_with_a_run_of_prelabel(studio, settings, desk, run_jobs, monkeypatch):
    numbers = studio.add_tasks(7, texts("left", "right"))
    monkeypatch.setattr("backend.commands.prelabel.time.sleep", lambda _: run_jobs())
    shown = io.StringIO()
    assert prelabel(settings, Selection("7"), Console(file=shown, width=200), min_score=0.8) == 0
    assert "done 0, nothing found 2, skipped 0, failed 0" in shown.getvalue()
    assert {entry["task"] for entry in desk.shared.ledger.nothing.newest()} == {str(number) for number in numbers}


def test_a_least_score_changes_no_question(settings):
    request = request_of(task(1, "left"), settings)
    bounded = replace(request, min_score=0.9)
    assert bounded.question() == request.question()
    assert bounded.job_id() != request.job_id()
    assert "min_score" not in request.as_json()
    assert type(request).from_json(bounded.as_json()) == bounded
    assert type(request).from_json(request.as_json()) == request

"""Predictions reach Label Studio, each once: jobs run in this process, Redis and HTTP are real."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from backend.delivery.claims import Target
from backend.queue.shared_state import SharedState
from backend.settings import load_settings
from backend.web.answers import ANSWERED
from backend.web.app import create_app
from tests.support.deliveries import once, queue_tasks, stale_request, texts
from tests.support.label_studio import PAT
from tests.support.tasks import CONFIG


@pytest.fixture
def settings(studio_settings):
    return studio_settings


def test_a_batch_is_written_back(client, studio, run_jobs):
    numbers = studio.add_tasks(7, texts("left", "right", "left"))  # two tasks share a job
    assert studio.retrieve(client, 7, numbers) == [[], [], []]
    run_jobs()
    once(studio, numbers)
    stored = {entry["task"]: entry for entry in studio.predictions.values()}
    assert stored[1]["result"][0]["value"]["rle"] == stored[3]["result"][0]["value"]["rle"]
    assert stored[1]["result"] != stored[2]["result"]
    assert stored[1]["score"] == 0.75


def test_a_task_that_is_opened_while_the_queue_is_full_is_done_later(
    configure, studio_settings, connection, studio, run_jobs, run_later, ledger
):
    full = configure(MAX_QUEUED=1, INLINE_SECONDS=0, LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=PAT)
    numbers = studio.add_tasks(7, texts("left", "right", "the left"))
    with TestClient(create_app(SharedState.over(connection, full), full)) as app:
        assert [studio.retrieve(app, 7, [number]) for number in numbers] == [[[]]] * 3
    assert ledger.failures.newest() == []
    run_jobs()
    run_later()
    once(studio, numbers)


def test_asking_again_writes_nothing_twice(client, studio, run_jobs, run_later):
    numbers = studio.add_tasks(7, texts("left", "right"))
    for _ in range(3):
        client.post("/predict", json=stale_request(studio, numbers))
        client.post("/webhook", json=studio.webhook(7, numbers))
        run_jobs()
    run_later()
    once(studio, numbers)


def test_a_request_that_was_underway_does_not_bring_a_second_one(client, studio, run_jobs):
    numbers = studio.add_tasks(7, texts("left", "right"))
    stale = stale_request(studio, numbers)
    studio.retrieve(client, 7, numbers)
    run_jobs()
    assert client.post("/predict", json=stale).json()["results"] == [[], []]
    once(studio, numbers)


def test_what_is_ready_is_answered_to_one_and_not_written_as_well(client, studio, run_jobs, run_later):
    first, second = studio.add_tasks(7, texts("left", "left"))
    studio.retrieve(client, 7, [first])  # no worker: nothing is waited for
    run_jobs()
    results = studio.retrieve(client, 7, [second])
    assert results[0]["result"]
    assert client.post("/predict", json=stale_request(studio, [second])).json()["results"] == [[]]
    run_jobs()
    run_later()
    once(studio, [first, second])


def test_of_many_that_are_ready_some_are_answered_and_the_rest_written(client, studio, run_jobs):
    studio.add_project(8, CONFIG)
    studio.retrieve(client, 8, studio.add_tasks(8, texts("left")))
    run_jobs()
    numbers = studio.add_tasks(7, texts(*["left"] * (ANSWERED + 5)))
    answered = studio.retrieve(client, 7, numbers)
    assert [bool(entry) for entry in answered] == [True] * ANSWERED + [False] * 5
    run_jobs()
    assert [studio.per_task()[number, studio.version] for number in numbers] == [1] * len(numbers)


def test_an_answer_that_label_studio_lost_is_written(client, studio, run_jobs, configure, run_later):
    configure(INLINE_SECONDS=0)
    first, second = studio.add_tasks(7, texts("left", "left"))
    studio.retrieve(client, 7, [first])
    run_jobs()
    assert client.post("/predict", json=stale_request(studio, [second])).json()["results"][0]["result"]
    run_jobs()
    assert (second) not in studio.per_task()
    run_later()
    once(studio, [first, second])


def test_suggestions_are_not_written(client, studio, run_jobs):
    (number,) = studio.add_tasks(7, texts("left"))
    typed = {"result": [{"type": "textarea", "value": {"text": ["right"]}}]}
    client.post("/predict", json={**stale_request(studio, [number]), "params": {"context": typed}})
    run_jobs()
    assert not studio.predictions


def test_without_a_label_studio_nothing_is_written(environment, queue, studio, shared, connection):
    environment.delenv("LABEL_STUDIO_API_KEY")
    settings = load_settings()
    client = TestClient(create_app(shared, settings))
    client.post("/predict", json=stale_request(studio, studio.add_tasks(7, texts("left", "right"))))
    assert not connection.keys("refam:*:due:*")
    assert studio.requests == []


def test_a_page_waits_for_a_mask_that_somebody_else_is_about_to_store(client, studio, run_jobs, desk):
    numbers = studio.add_tasks(7, texts("left"))
    (request,) = queue_tasks(desk, [studio.task(numbers[0])])
    target = Target.of(request)
    assert desk.claims.claim([target], studio.version, 60) != [None]
    run_jobs()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(studio.retrieve, client, 7, numbers)
        time.sleep(1)
        assert not answer.done()
        desk.outbox.remove(request.job_id(), target)
        assert answer.result() == [[]]

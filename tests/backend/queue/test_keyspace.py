"""Backends of several Label Studios share one Redis, and never each other's tasks."""

import pytest
from fastapi.testclient import TestClient

from backend.queue.keyspace import Keyspace
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.timings import Timings
from backend.web.app import create_app
from backend.worker.main import work
from tests.support.deliveries import texts
from tests.support.label_studio import PAT, running
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import CONFIG, request_of, task


@pytest.fixture
def sides(configure, connection):
    """Two Label Studios with the same numbers, each with its settings and a web server's client."""
    with running() as one, running() as other:
        sides = []
        for studio, words in ((one, ("left", "left")), (other, ("right", "right"))):
            studio.add_project(7, CONFIG)
            studio.add_tasks(7, texts(*words))
            settings = configure(LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=PAT, LOG_LEVEL="ERROR")
            studio.version = settings.model_version
            shared = SharedState.over(connection, settings)
            shared.keyspace.announce()
            sides.append((studio, settings, shared, TestClient(create_app(shared, settings))))
        yield sides


def run(connection, settings):
    assert work(connection, settings, lambda _: StubSegmenter(), timings=Timings(heartbeat=3600), burst=True) == 0


def test_neither_gets_the_others_masks(sides, connection, run_jobs):
    for studio, _, _, client in sides:
        assert studio.retrieve(client, 7, [1, 2]) == [[], []]
    for studio, settings, shared, client in sides:
        run(connection, settings)
        assert studio.per_task() == {(1, studio.version): 1, (2, studio.version): 1}
        assert client.get("/status").json()["done"] == 1, "both tasks ask the same"
        assert shared.ledger.progress.state("7").waiting == 0
    masks = [
        {str(region["value"]["rle"]) for entry in studio.predictions.values() for region in entry["result"]}
        for studio, *_ in sides
    ]
    assert masks[0].isdisjoint(masks[1])


def test_a_worker_takes_no_job_of_another(sides, connection, run_jobs):
    (one, _, _, client), (_, settings, *_) = sides
    one.retrieve(client, 7, [1, 2])
    run(connection, settings)
    assert not one.predictions
    assert client.get("/status").json()["queues"]["batch"]["waiting"] == 1


def test_failures_counters_claims_and_pictures_are_apart(sides, connection, run_jobs):
    (one, settings, *_), (*_, client) = sides
    one.add_tasks(7, texts("", "left"))
    one.retrieve(sides[0][3], 7, [1, 3, 4])
    run(connection, settings)
    state = client.get("/status").json()
    assert (state["failures"], state["masks"], state["done"], state["projects"]) == ([], [], 0, [])
    ours = {key for key in connection.keys("refam:*") if sides[0][2].keyspace.studio.encode() in key}
    assert set(connection.keys("refam:*")) - ours == {b"refam:studios"}


def test_no_key_and_no_job_is_without_a_label_studio(sides, connection, run_jobs):
    for studio, settings, _, client in sides:
        studio.retrieve(client, 7, [1, 2])
        client.post("/webhook", json={**studio.webhook(7, [1]), "action": "TASKS_CREATED"})
        run(connection, settings)
    names = [shared.keyspace.studio for _, _, shared, _ in sides]
    shared_by_all = ("rq:queues", "rq:workers", "rq:worker:", "rq:clean_groups", "refam:studios")
    for key in map(bytes.decode, connection.keys("*")):
        assert any(name in key for name in names) or key.startswith(shared_by_all), key


def test_a_worker_for_another_is_an_obstacle_with_both_addresses(sides, connection, run_jobs):
    (_, _, shared, _), (_, _, other, _) = sides
    connection.sadd("rq:workers", "rq:worker:w")
    about = {"model_version": "v", "studio": other.keyspace.studio, "label_studio": other.keyspace.address}
    connection.hset("rq:worker:w", mapping=about)
    (obstacle,) = shared.fleet.obstacles()
    assert obstacle["field"] == "LABEL_STUDIO_URL"
    assert shared.keyspace.address in obstacle["message"] and other.keyspace.address in obstacle["message"]
    assert not shared.fleet.workers() and len(other.fleet.workers()) == 1


def test_what_waits_for_a_label_studio_that_nobody_serves_is_said(sides, connection, run_jobs):
    """Such as one whose LABEL_STUDIO_URL was changed."""
    (_, settings, shared, client), (_, _, other, _) = sides
    assert shared.fleet.elsewhere() == []
    other.jobs.submit([request_of(task(1, "left"), settings)], Priority.BATCH)
    expected = [{"address": other.keyspace.address, "waiting": 1}]
    assert shared.fleet.elsewhere() == expected
    assert client.get("/status").json()["elsewhere"] == expected
    assert client.get("/status").json()["label_studio"] == shared.keyspace.address
    assert [each.studio for each in shared.keyspace.others()] == [other.keyspace.studio]


def test_a_task_that_label_studio_does_not_know_is_never_done(sides, connection, run_jobs, caplog):
    (one, settings, shared, client), _ = sides
    one.retrieve(client, 7, [1, 2])
    del one.tasks[2]
    client.post("/webhook", json={"action": "TASKS_CREATED", "project": {"id": 7}, "tasks": [{"id": 99}]})
    Keyspace.over(connection, settings).connection.hset(shared.keyspace.key("projects"), "7", "")
    client.post("/webhook", json={"action": "TASKS_CREATED", "project": {"id": 7}, "tasks": [{"id": 99}]})
    run(connection, settings)
    failures = {entry["task"]: entry["message"] for entry in shared.ledger.failures.newest()}
    assert failures == {"2": f"the Label Studio at {one.url} has no task 2 in project 7."}
    assert f"the Label Studio at {one.url} has no task 99 in project 7." in caplog.text
    assert one.per_task() == {(1, one.version): 1}

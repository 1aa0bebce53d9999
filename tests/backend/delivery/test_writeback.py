"""Predictions reach Label Studio, each once: jobs run in this process, Redis and HTTP are real."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from backend.delivery.claims import Claims, Target
from backend.delivery.desk import Desk
from backend.delivery.outbox import Outbox
from backend.label_studio.client import PAGE, Studio
from backend.queue.job_queue import Priority
from backend.settings import load_settings
from backend.web.answers import ANSWERED
from backend.web.app import create_app
from backend.worker.studio_jobs import PostPrediction
from tests.support.label_studio import PAT, running
from tests.support.rq_queues import rq_queues
from tests.support.tasks import CONFIG, data_uri, png

IMAGE = data_uri(png())


@pytest.fixture
def studio():
    with running() as studio:
        studio.add_project(7, CONFIG)
        yield studio


@pytest.fixture
def settings(configure, studio):
    settings = configure(
        INLINE_SECONDS=20,
        RETRY_DELAYS=1,
        WRITE_DELAYS=1,
        LOG_LEVEL="WARNING",
        LABEL_STUDIO_URL=studio.url,
        LABEL_STUDIO_API_KEY=PAT,
    )
    studio.version = settings.model_version
    return settings


@pytest.fixture
def client(settings, shared):
    with TestClient(create_app(settings, shared), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def desk(settings, shared):
    return Desk.over(shared, Studio(settings), settings)


def texts(*found):
    return [{"image": IMAGE, "text": text} for text in found]


@pytest.fixture
def run_later(queue, run_jobs, connection):
    """Runs what waits for a later time, as the scheduler would, which burst mode lacks; claims have ended by then."""

    def run():
        expire_claims(connection)
        for each in rq_queues(connection):
            for job_id in each.scheduled_job_registry.get_job_ids():
                each.scheduled_job_registry.requeue(job_id)
        run_jobs()

    return run


def once(studio, numbers):
    assert studio.per_task() == {(number, studio.version): 1 for number in numbers}


def test_a_batch_is_written_back(client, studio, run_jobs):
    numbers = studio.add_tasks(7, texts("left", "right", "left"))  # two tasks share a job
    assert studio.retrieve(client, 7, numbers) == [[], [], []]
    run_jobs()
    once(studio, numbers)
    stored = {entry["task"]: entry for entry in studio.predictions.values()}
    assert stored[1]["result"][0]["value"]["rle"] == stored[3]["result"][0]["value"]["rle"]
    assert stored[1]["result"] != stored[2]["result"]
    assert stored[1]["score"] == 0.75


def test_asking_again_writes_nothing_twice(client, studio, run_jobs, run_later):
    numbers = studio.add_tasks(7, texts("left", "right"))
    for _ in range(3):
        client.post("/predict", json=stale_request(studio, numbers))
        client.post("/webhook", json=studio.webhook(7, numbers))
        run_jobs()
    run_later()
    once(studio, numbers)


def stale_request(studio, numbers):
    """A request that Label Studio made before anything was stored."""
    tasks = [{**studio.tasks[number], "predictions": []} for number in numbers]
    return {"tasks": tasks, "project": "7.1", "label_config": CONFIG, "params": {"context": None}}


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
    client = TestClient(create_app(settings, shared))
    client.post("/predict", json=stale_request(studio, studio.add_tasks(7, texts("left", "right"))))
    assert not connection.keys("refam:due:*")
    assert studio.requests == []


def test_a_reason_reaches_every_task_that_shares_a_job(client, studio, run_jobs, ledger, connection):
    numbers = studio.add_tasks(7, texts("unusable", "unusable"))
    studio.retrieve(client, 7, numbers)
    run_jobs()
    assert {entry["task"] for entry in ledger.failures.newest()} == {"1", "2"}
    assert not connection.keys("refam:due:*")


def test_a_deleted_task_needs_no_prediction(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, texts("left", "left"))
    studio.retrieve(client, 7, numbers)
    del studio.tasks[numbers[0]]
    run_jobs()
    once(studio, numbers[1:])
    assert ledger.failures.newest() == []


def test_a_prediction_that_label_studio_drops_is_listed(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, texts("left", "right"))
    studio.retrieve(client, 7, numbers)
    studio.configs[7] = CONFIG.replace('"tag"', '"other"')
    run_jobs()
    assert not studio.predictions
    assert ["label config" in entry["message"] for entry in ledger.failures.newest()] == [True, True]


@pytest.mark.parametrize("status", [500, 502, 429, 401])
def test_a_failing_label_studio_is_tried_again_then_listed(client, studio, run_jobs, queue, ledger, status, run_later):
    numbers = studio.add_tasks(7, texts("left", "right"))
    studio.retrieve(client, 7, numbers)
    studio.fault = lambda method, path: (status, {"detail": "no"}) if "predictions" in path else None
    run_jobs()
    assert ledger.failures.newest() == []
    assert queue.depths()["studio"]["retrying"] == 2
    run_later()
    failures = ledger.failures.newest()
    assert {entry["field"] for entry in failures} == {"label_studio"}
    assert len(failures) == 2
    assert PAT not in str(failures)
    studio.fault = lambda *_: None
    studio.retrieve(client, 7, numbers)
    assert ledger.failures.newest() == []
    once(studio, numbers)


def test_a_write_whose_answer_was_lost_is_not_repeated(client, studio, run_jobs, run_later, ledger):
    numbers = studio.add_tasks(7, texts("left", "right"))
    studio.retrieve(client, 7, numbers)
    studio.after = lambda method, path: (502, None) if method == "POST" else None
    run_jobs()
    studio.after = lambda *_: None
    run_later()
    once(studio, numbers)
    assert ledger.failures.newest() == []


def test_two_writers_write_once(studio, settings, run_jobs, queue, desk, connection):
    numbers = studio.add_tasks(7, texts(*["left"] * 20))
    requests = desk.queue_tasks("7", CONFIG, [studio.task(number) for number in numbers])
    run_jobs()
    Outbox(connection, queue).add(requests)
    studio.predictions.clear()
    expire_claims(connection)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: PostPrediction(desk).run(requests[0].job_id()), range(4)))
    once(studio, numbers)


def test_a_page_waits_for_a_mask_that_somebody_else_is_about_to_store(client, studio, run_jobs, desk):
    numbers = studio.add_tasks(7, texts("left"))
    (request,) = desk.queue_tasks("7", CONFIG, [studio.task(numbers[0])])
    target = Target.of(request)
    assert desk.claims.claim([target], studio.version, 60) != [None]
    run_jobs()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(studio.retrieve, client, 7, numbers)
        time.sleep(1)
        assert not answer.done()
        desk.outbox.remove(request.job_id(), target)
        assert answer.result() == [[]]


def test_replace_leaves_others_predictions_and_annotated_tasks_alone(studio, run_jobs, desk):
    numbers = studio.add_tasks(7, texts("left", "left"))
    for number in numbers:
        for version in ("refam-tiny-old", "somebody-else"):
            studio.store(number, {"model_version": version, "result": [], "score": 0.5})
    studio.annotations[numbers[1]] = [5]
    desk.queue_tasks("7", CONFIG, [studio.task(number) for number in numbers], replace=True)
    run_jobs()
    new = studio.version
    assert studio.per_task() == {
        (1, "somebody-else"): 1, (1, new): 1, (2, "refam-tiny-old"): 1, (2, "somebody-else"): 1, (2, new): 1,
    }  # fmt: skip


def test_large_retrieves_and_webhooks_are_answered_at_once_and_read_page_by_page(client, studio, queue):
    numbers = studio.add_tasks(7, texts(*(f"left {number}" for number in range(5000))))
    body = studio.webhook(7, numbers)
    for send in (lambda: client.post("/webhook", json=body), lambda: studio.retrieve(client, 7, numbers)):
        start = time.monotonic()
        send()
        assert time.monotonic() - start < 1.5
        assert queue.waiting(Priority.STUDIO) == 5000 / PAGE  # the same hint is kept once
        assert queue.depths()["batch"]["waiting"] == 0


def test_new_tasks_are_read_and_bad_ones_listed(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, texts("left", "", "right"))
    body = studio.webhook(7, [*numbers, *studio.add_tasks(8, texts("left"))])
    for task in body["tasks"]:
        task["data"] = {"image": "http://169.254.169.254/", "text": "what the webhook says is not believed"}
    assert client.post("/webhook", json=body).json() == {"status": "queued"}
    run_jobs()
    once(studio, [1, 3])  # the other project's task is left alone
    assert [(entry["task"], entry["field"]) for entry in ledger.failures.newest()] == [("2", "text")]


@pytest.mark.parametrize(("config", "field"), [(None, "project"), ("<View/>", "label_config")])
def test_a_project_that_cannot_be_used_is_listed(client, studio, run_jobs, ledger, config, field):
    body = studio.webhook(7, studio.add_tasks(7, texts("left")))
    studio.configs = {} if config is None else {7: config}
    client.post("/webhook", json=body)
    run_jobs()
    assert [(entry["task"], entry["field"]) for entry in ledger.failures.newest()] == [("1", field)]


def test_reading_is_tried_again_then_listed(client, studio, run_jobs, run_later, ledger):
    body = studio.webhook(7, studio.add_tasks(7, texts("left")))
    studio.fault = lambda *_: (503, None)
    client.post("/webhook", json=body)
    run_jobs()
    assert ledger.failures.newest() == []
    run_later()
    assert "read from Label Studio" in ledger.failures.newest()[0]["message"]


def test_reading_goes_on_where_single_requests_fail(client, studio, run_jobs, run_later, ledger):
    numbers = studio.add_tasks(7, texts(*(f"left {number}" for number in range(20))))
    for number in numbers:
        studio.store(number, {"model_version": "refam-old", "result": [], "score": 0.1})
    body, asked = studio.webhook(7, numbers), []

    def every_second_fails(method, path):
        asked.append(path)
        return (502, None) if path == "/api/predictions/" and len(asked) % 2 else None

    studio.fault = every_second_fails
    client.post("/webhook", json=body)
    for _ in range(8):
        run_jobs()
        run_later()
    studio.fault = lambda *_: None
    run_later()
    assert ledger.failures.newest() == []
    assert [studio.per_task()[number, studio.version] for number in numbers] == [1] * len(numbers)


def test_a_result_that_expired_before_it_was_written_is_made_again(client, studio, run_jobs, run_later, connection):
    numbers = studio.add_tasks(7, texts("left", "right"))
    studio.retrieve(client, 7, numbers)
    studio.fault = lambda method, path: (502, None) if "predictions" in path else None
    run_jobs()
    for key in connection.keys("rq:job:*"):
        if len(key.decode().rpartition(":")[2]) == 40:
            connection.delete(key)
    studio.fault = lambda *_: None
    run_later()
    run_jobs()
    once(studio, numbers)


def test_what_is_stored_twice_is_deleted(studio, run_jobs, queue, settings, desk, connection):
    """A request that was given up may be carried out after another one was."""
    (number,) = studio.add_tasks(7, texts("left"))
    requests = desk.queue_tasks("7", CONFIG, [studio.task(number)])
    run_jobs()
    studio.store(number, {**studio.predictions[1]})
    studio.store(number, {"model_version": "somebody-else", "result": [], "score": 0.1})
    Outbox(connection, queue).add(requests)
    run_jobs()
    assert studio.per_task() == {(number, studio.version): 1, (number, "somebody-else"): 1}


def test_a_full_queue_makes_tasks_wait_as_numbers(client, studio, run_jobs, run_later, queue, monkeypatch):
    numbers = studio.add_tasks(7, texts("left", "right"))
    monkeypatch.setattr(type(queue), "is_full", lambda _: True)
    assert studio.retrieve(client, 7, numbers) == [[], []]
    run_jobs()
    assert (queue.waiting(Priority.BATCH), queue.depths()["studio"]["retrying"]) == (0, 1)
    monkeypatch.undo()
    run_later()
    run_jobs()
    assert len(studio.predictions) == 2


class TestWithoutPassword:
    """With basic auth on, Label Studio's own webhook brings no password."""

    @pytest.fixture
    def settings(self, settings, configure):
        return configure(BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p")

    def connect(self, client):
        setup = {"project": "7.1795", "schema": CONFIG}
        assert client.post("/setup", json=setup).status_code == 401
        assert client.post("/setup", json=setup, auth=("u", "p")).status_code == 200

    def test_new_tasks_of_connected_projects_are_read(self, client, studio, run_jobs):
        self.connect(client)
        body = studio.webhook(7, studio.add_tasks(7, texts("left", "right")))
        assert client.post("/webhook", json=body).json() == {"status": "queued"}
        run_jobs()
        once(studio, [1, 2])

    def test_other_projects_are_refused(self, client, studio, queue):
        body = studio.webhook(7, studio.add_tasks(7, texts("left")))
        assert client.post("/webhook", json=body).status_code == 403
        assert queue.depths()["studio"]["waiting"] == 0

    def test_too_many_are_refused(self, client, studio, monkeypatch):
        self.connect(client)
        body = studio.webhook(7, studio.add_tasks(7, texts("left")))
        monkeypatch.setattr("backend.web.webhook.MAX_HINTS", 0)
        assert client.post("/webhook", json=body).status_code == 503

    def test_too_large_ones_are_refused(self, client, monkeypatch):
        monkeypatch.setattr("backend.web.webhook.HINT_MAX_BYTES", 10)
        assert client.post("/webhook", json={"action": "TASKS_CREATED"}).status_code == 413

    def test_a_wrong_password_is_refused(self, client, studio):
        self.connect(client)
        body = studio.webhook(7, studio.add_tasks(7, texts("left")))
        assert client.post("/webhook", json=body, auth=("u", "wrong")).status_code == 401

    def test_other_events_are_ignored(self, client):
        assert client.post("/webhook", json={"action": "TASKS_DELETED"}).json() == {"status": "ignored"}


def test_claims_are_exclusive_until_they_expire(settings, connection):
    claims, target = Claims(connection), Target("7", "1")
    assert all(claims.claim([target, Target("7", "2")], "v", 0.2))
    assert claims.claim([target], "w", 60) != [None]
    assert 0 <= claims.claimed_for(target, "v") <= 0.2
    time.sleep(0.25)
    assert claims.claim([target], "v", 60) != [None]
    assert claims.claim([target], "v", 60) == [None]


def test_who_lost_a_claim_neither_releases_nor_prolongs_the_next_owners(settings, connection):
    claims, target = Claims(connection), Target("7", "1")
    (first,) = claims.claim([target], "v", 60)
    assert claims.extend(first, 60)
    expire_claims(connection)
    (second,) = claims.claim([target], "v", 60)
    claims.release([first])
    assert not claims.extend(first, 3600)
    assert 0 < claims.claimed_for(target, "v") <= 60
    assert claims.claim([target], "v", 60) == [None]
    assert not claims.extend(second, 60), "the first may have delivered"
    assert claims.extend(second, 60)
    claims.release([second])
    assert not claims.extend(second, 60), "somebody may have had it meanwhile"


@pytest.fixture
def held_up(studio, desk, settings, shared, connection):
    """A function: once a request with this method is underway, its writer's claim expires, and `meanwhile` happens."""

    def hold_up(method, meanwhile):
        def fault(asked, path):
            if asked == method:
                studio.fault = lambda *_: None
                expire_claims(connection)
                meanwhile(Desk.over(shared, Studio(settings), settings))

        studio.fault = fault

    return hold_up


@pytest.fixture
def delivery(studio, settings):
    """A task and its prediction."""
    (number,) = studio.add_tasks(7, texts("left"))
    return Target("7", str(number)), {"model_version": settings.model_version, "score": 0.5, "result": []}


def test_a_writer_held_up_before_it_looks_leaves_the_next_ones_claim_alone(studio, desk, held_up, delivery):
    held_up("GET", lambda other: other.deliver(*delivery))
    assert desk.deliver(*delivery) == 0
    once(studio, [1])
    assert desk.claims.claim([delivery[0]], studio.version, 60) == [None]


def test_a_writer_held_up_before_it_writes_takes_its_second_prediction_back(studio, desk, held_up, delivery):
    held_up("POST", lambda other: other.deliver(*delivery))
    assert desk.deliver(*delivery) == 0
    once(studio, [1])
    assert desk.claims.claim([delivery[0]], studio.version, 60) == [None]


def test_two_writers_that_write_at_once_leave_one_prediction(studio, desk, settings, delivery, shared, connection):
    """The second one looks before the first one writes, and writes after the first one has looked again."""
    first_has_left, second_has_looked = threading.Event(), threading.Event()
    posts = iter([second_has_looked, first_has_left])

    def fault(method, path):
        if method == "POST" and "import" in path:
            event = next(posts)
            if event is second_has_looked:
                expire_claims(connection)
                pool.submit(second)
            else:
                second_has_looked.set()
            assert event.wait(60)

    def second():
        ended.append(Desk.over(shared, Studio(settings), settings).deliver(*delivery))

    ended = []
    studio.fault = fault
    with ThreadPoolExecutor() as pool:
        ended.append(desk.deliver(*delivery))
        first_has_left.set()
    assert ended == [0, 0]
    once(studio, [1])


def expire_claims(connection):
    for key in connection.keys("refam:claim:*"):
        connection.delete(key)

"""Whoever is held up between two steps, one prediction is stored."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.delivery.claims import Target
from backend.delivery.desk import Desk
from backend.errors import TaskError
from backend.label_studio.client import Studio
from backend.worker.post_predictions import PostPredictions
from backend.worker.studio_jobs import LookAgain
from backend.worker.upkeep import Upkeep
from tests.support.deliveries import deliver, expire_claims, once, queue_tasks, texts


@pytest.fixture
def settings(studio_settings):
    return studio_settings


def test_two_writers_write_once(studio, settings, run_jobs, queue, desk, connection):
    numbers = studio.add_tasks(7, texts(*["left"] * 20))
    requests = queue_tasks(desk, [studio.task(number) for number in numbers])
    run_jobs()
    desk.outbox.add(requests)
    studio.predictions.clear()
    expire_claims(connection)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: PostPredictions(desk).run(requests[0].job_id()), range(4)))
    once(studio, numbers)


def test_replace_leaves_others_predictions_and_annotated_tasks_alone(studio, run_jobs, desk):
    numbers = studio.add_tasks(7, texts("left", "left"))
    for number in numbers:
        for version in ("refam-tiny-old", "somebody-else"):
            studio.store(number, {"model_version": version, "result": [], "score": 0.5})
    studio.annotations[numbers[1]] = [5]
    queue_tasks(desk, [studio.task(number) for number in numbers], replace=True)
    run_jobs()
    new = studio.version
    assert studio.per_task() == {
        (1, "somebody-else"): 1, (1, new): 1, (2, "refam-tiny-old"): 1, (2, "somebody-else"): 1, (2, new): 1,
    }  # fmt: skip


def test_what_is_stored_twice_is_deleted(studio, run_jobs, queue, settings, desk, connection):
    """A request that was given up may be carried out after another one was."""
    (number,) = studio.add_tasks(7, texts("left"))
    requests = queue_tasks(desk, [studio.task(number)])
    run_jobs()
    studio.store(number, {**studio.predictions[1]})
    studio.store(number, {"model_version": "somebody-else", "result": [], "score": 0.1})
    desk.outbox.add(requests)
    run_jobs()
    assert studio.per_task() == {(number, studio.version): 1, (number, "somebody-else"): 1}


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
    held_up("GET", lambda other: deliver(other, *delivery))
    assert deliver(desk, *delivery) == 0
    once(studio, [1])
    assert desk.claims.claim([delivery[0]], studio.version, 60) == [None]


def test_a_writer_held_up_before_it_writes_takes_its_second_prediction_back(studio, desk, held_up, delivery):
    held_up("POST", lambda other: deliver(other, *delivery))
    assert deliver(desk, *delivery) == 0
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
        ended.append(deliver(Desk.over(shared, Studio(settings), settings), *delivery))

    ended = []
    studio.fault = fault
    with ThreadPoolExecutor() as pool:
        ended.append(deliver(desk, *delivery))
        first_has_left.set()
    assert ended == [0, 0]
    once(studio, [1])


class TestALookAgain:
    """Requests that are carried out late or twice, when nobody is left who would see it."""

    @pytest.fixture
    def look(self, desk, connection):
        def look():
            expire_claims(connection)
            LookAgain(desk).run()

        return look

    def test_what_a_proxy_carried_out_twice_is_deleted(self, studio, desk, look, delivery):
        def after(method, path):
            if method == "POST" and "import" in path:
                studio.after = lambda *_: None
                studio.store(1, delivery[1])

        studio.after = after
        assert deliver(desk, *delivery) == 0
        assert studio.per_task() == {(1, studio.version): 2}
        look()
        once(studio, [1])

    def test_what_a_dead_workers_request_stored_late_is_deleted(self, studio, desk, look, delivery):
        """It passed its check, and was frozen while it sent; another one delivered meanwhile; then it died."""
        desk.claims.claim([delivery[0]], studio.version, 60)
        look()
        assert deliver(desk, *delivery) == 0
        studio.store(1, delivery[1])
        look()
        once(studio, [1])

    def test_what_answers_otherwise_stays(self, studio, desk, look, delivery):
        deliver(desk, *delivery)
        for version, mark in (("refam-old", "a" * 12), ("somebody-else", "a" * 12), (studio.version, "b" * 12)):
            studio.store(1, {"model_version": version, "score": 1.0, "result": [{"id": f"{mark}-00000000"}]})
        look()
        assert len(studio.predictions) == 4

    def test_a_project_that_cannot_be_read_keeps_no_other_one_waiting(
        self, studio, desk, look, delivery, monkeypatch, caplog
    ):
        desk.claims.claim([Target("6", "9")], studio.version, 60)
        deliver(desk, *delivery)
        studio.store(1, delivery[1])
        readable = desk.studio.tasks

        def tasks(project, **ids):
            if project == "6":
                raise TaskError("LABEL_STUDIO_API_KEY", "Label Studio refuses it.", "Give it the project.")
            return readable(project, **ids)

        monkeypatch.setattr(desk.studio, "tasks", tasks)
        look()
        once(studio, [1])
        assert "Tasks of project 6 are not looked at again" in caplog.text
        assert desk.claims.ended(time.time(), 9) == []

    def test_a_task_that_was_claimed_anew_is_looked_at_later(self, desk, connection, delivery):
        target, version = delivery[0], delivery[1]["model_version"]
        desk.claims.claim([target, Target("7", "none")], version, 0.01)
        when = time.time() + 60
        assert desk.claims.ended(when, 9) == [target]
        expire_claims(connection)
        desk.claims.claim([target], version, 60)
        desk.claims.looked_at([target], when)
        assert desk.claims.ended(when + 60, 9) == [target]
        desk.claims.looked_at([target], when + 60)
        assert desk.claims.ended(when + 60, 9) == []

    def test_it_is_scheduled_once_the_claims_have_ended(self, studio, shared, desk, connection, delivery, run_jobs):
        upkeep = Upkeep(shared)
        assert deliver(desk, *delivery) == 0
        studio.store(1, delivery[1])
        upkeep.run()
        assert not list(shared.jobs.scheduled("again"))
        expire_claims(connection)
        for _ in range(3):
            upkeep.run()
        assert len(list(shared.jobs.scheduled("again"))) == 1
        run_jobs()
        once(studio, [1])

"""Predictions are written together, and each is claimed, checked and settled for itself."""

import pytest

from backend.delivery.claims import Target
from backend.worker import post_predictions
from backend.worker.post_predictions import PostPredictions
from backend.worker.studio_jobs import LookAgain
from tests.support.deliveries import expire_claims, once, texts
from tests.support.tasks import CONFIG

COUNT = 10
IMPORT = "/api/projects/7/import/predictions"
BRUSH = '<BrushLabels name="tag" toName="image">'
GOLDFISH = '<Label value="Goldfish"/>'


@pytest.fixture
def settings(studio_settings):
    return studio_settings


@pytest.fixture
def made(studio, desk, run_jobs, connection):
    """Tasks whose predictions are made, and not written: the last one is labelled as a goldfish."""
    studio.configs[7] = CONFIG.replace(BRUSH, BRUSH + GOLDFISH)
    numbers = studio.add_tasks(
        7, texts(*(f"the left object {number}" for number in range(COUNT - 1)), "the left goldfish")
    )
    desk.schedule.schedule_fetch("7", numbers)
    studio.fault = lambda method, path: (502, None) if path == IMPORT else None
    run_jobs()
    assert not studio.predictions
    studio.fault = lambda *_: None
    studio.requests.clear()
    expire_claims(connection)
    return numbers


@pytest.fixture
def write(desk, made, connection):
    """Writes all that is due, together; returns what went wrong."""

    def write():
        due = [key.decode().rpartition(":")[2] for key in connection.keys("refam:*:due:*")]
        return PostPredictions(desk).run_all([[job] for job in due])

    return write


def asked(studio):
    return [(method, path.partition("?")[0]) for method, path in studio.requests if "token" not in path]


def test_many_are_written_with_one_look_and_one_import(made, write, studio, ledger, connection):
    assert write() == [None] * COUNT
    once(studio, made)
    assert asked(studio) == [("GET", "/api/tasks"), ("POST", IMPORT)]
    assert ledger.failures.newest() == []
    assert not connection.keys("refam:*:due:*")


def test_no_request_grows_beyond_its_bound(made, write, studio, monkeypatch):
    monkeypatch.setattr(post_predictions, "MOST_NUMBERS", 1)
    assert write() == [None] * COUNT
    once(studio, made)
    assert len(asked(studio)) == 2 * COUNT


def test_a_task_that_is_gone_hinders_no_other(made, write, studio, ledger):
    gone = made.pop(3)
    del studio.tasks[gone]
    assert write() == [None] * COUNT
    once(studio, made)
    (failure,) = ledger.failures.newest()
    assert f"has no task {gone}" in failure["message"]


def test_one_that_label_studio_drops_hinders_no_other(made, write, studio, ledger):
    studio.configs[7] = CONFIG
    assert write() == [None] * COUNT
    once(studio, made[:-1])
    (failure,) = ledger.failures.newest()
    assert failure["task"] == str(made[-1])
    assert "label config" in failure["message"]


def test_what_is_there_already_is_not_written_again(made, write, studio, connection, desk):
    due = {key: connection.hgetall(key) for key in connection.keys("refam:*:due:*")}
    assert write() == [None] * COUNT
    for key, tasks in due.items():
        connection.hset(key, mapping=tasks)
    expire_claims(connection)
    studio.requests.clear()
    assert write() == [None] * COUNT
    once(studio, made)
    assert ("POST", IMPORT) not in asked(studio)


def test_a_task_that_somebody_else_delivers_waits_alone(made, write, studio, settings, desk, backlog):
    desk.claims.claim([Target("7", str(made[0]))], settings.model_version, 60)
    assert write() == [None] * COUNT
    once(studio, made[1:])
    assert backlog.depths()["write"]["retrying"] == COUNT + 1, "the first tries of all, and that of the one that waits"


@pytest.mark.parametrize("carried_out", [False, True])
def test_an_import_without_an_answer_is_not_repeated_blindly(made, write, studio, carried_out, connection, ledger):
    setattr(studio, "after" if carried_out else "fault", lambda method, path: (502, None) if path == IMPORT else None)
    assert all(write())
    studio.after = studio.fault = lambda *_: None
    assert write() == [None] * COUNT
    assert bool(studio.predictions) is carried_out, "who is not sure waits until nothing can be underway"
    expire_claims(connection)
    assert not any(write())
    once(studio, made)
    assert ledger.failures.newest() == []


def test_an_import_that_is_carried_out_twice_leaves_one_of_each_in_the_end(made, write, studio, desk, connection):
    def again(method, path):
        if path == IMPORT:
            for prediction in list(studio.predictions.values()):
                studio.store(
                    prediction["task"], {name: prediction[name] for name in ("model_version", "result", "score")}
                )

    studio.after = again
    write()
    assert len(studio.predictions) == 2 * COUNT
    expire_claims(connection)
    LookAgain(desk).run()
    once(studio, made)

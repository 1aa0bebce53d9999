"""Tasks are fetched and predictions posted, though Label Studio fails."""

import pytest

from backend.queue.priorities import Priority
from tests.support.deliveries import once, texts
from tests.support.label_studio import PAT
from tests.support.tasks import CONFIG


@pytest.fixture
def settings(studio_settings):
    return studio_settings


def test_a_reason_reaches_every_task_that_shares_a_job(client, studio, run_jobs, ledger, connection):
    numbers = studio.add_tasks(7, texts("unusable", "unusable"))
    studio.retrieve(client, 7, numbers)
    run_jobs()
    assert {entry["task"] for entry in ledger.failures.newest()} == {"1", "2"}
    assert not connection.keys("refam:*:due:*")


def test_a_task_that_was_deleted_is_not_called_done(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, texts("left", "left"))
    studio.retrieve(client, 7, numbers)
    del studio.tasks[numbers[0]]
    run_jobs()
    once(studio, numbers[1:])
    (failure,) = ledger.failures.newest()
    assert "has no task 1 in project 7" in failure["message"]


def test_labels_of_the_task_itself_are_stored_though_an_import_does_not_know_them(client, studio, run_jobs, ledger):
    studio.configs[7] = CONFIG.replace('<BrushLabels name="tag"', '<BrushLabels name="tag" value="$options"')
    data = {**texts("the left goldfish")[0], "options": [{"value": "Goldfish"}, {"value": "Dice"}]}
    numbers = studio.add_tasks(7, [data, data])
    studio.retrieve(client, 7, numbers)
    run_jobs()
    once(studio, numbers)
    labels = [region["value"]["brushlabels"] for entry in studio.predictions.values() for region in entry["result"]]
    assert labels == [["Goldfish"]] * 2
    assert not ledger.failures.newest()


def test_a_prediction_that_label_studio_drops_is_listed(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, texts("left", "right"))
    studio.retrieve(client, 7, numbers)
    studio.configs[7] = CONFIG.replace('"tag"', '"other"')
    run_jobs()
    assert not studio.predictions
    assert ["label config" in entry["message"] for entry in ledger.failures.newest()] == [True, True]


@pytest.mark.parametrize("status", [500, 502, 429, 401])
def test_a_failing_label_studio_is_tried_again_then_listed(
    client, studio, run_jobs, ledger, status, run_later, backlog
):
    numbers = studio.add_tasks(7, texts("left", "right"))
    studio.retrieve(client, 7, numbers)
    studio.fault = lambda method, path: (status, {"detail": "no"}) if path == "/api/tasks" else None
    run_jobs()
    assert ledger.failures.newest() == []
    assert backlog.depths()["write"]["retrying"] == 2
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


@pytest.mark.parametrize(("config", "field"), [(None, "project"), ("<View/>", "label_config")])
def test_a_project_that_cannot_be_used_is_listed(client, studio, run_jobs, ledger, config, field):
    body = studio.webhook(7, studio.add_tasks(7, texts("left")))
    studio.configs = {} if config is None else {7: config}
    client.post("/webhook", json=body)
    run_jobs()
    assert [(entry["task"], entry["field"]) for entry in ledger.failures.newest()] == [("1", field)]


def test_reading_is_tried_again_then_listed(studio, desk, run_jobs, run_later, ledger):
    numbers = studio.add_tasks(7, texts("left"))
    studio.fault = lambda *_: (503, None)
    desk.schedule.schedule_fetch("7", numbers)
    run_jobs()
    assert ledger.failures.newest() == []
    run_later()
    assert "read from Label Studio" in ledger.failures.newest()[0]["message"]


@pytest.mark.parametrize("status", [502, 401])
def test_reading_goes_on_where_single_requests_fail(client, studio, run_jobs, run_later, ledger, status):
    numbers = studio.add_tasks(7, texts(*(f"left {number}" for number in range(20))))
    for number in numbers:
        studio.store(number, {"model_version": "refam-old", "result": [], "score": 0.1})
    body, asked = studio.webhook(7, numbers), []

    def every_second_fails(method, path):
        """Of those that ask whether a task is new; whoever writes asks for tasks right before."""
        asked.append(path)
        reads = path == "/api/predictions/" and asked[-2] != "/api/tasks"
        return (status, None) if reads and len(asked) % 2 else None

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


def test_a_full_queue_makes_tasks_wait_as_numbers(client, studio, run_jobs, run_later, monkeypatch, backlog):
    numbers = studio.add_tasks(7, texts("left", "right"))
    monkeypatch.setattr(type(backlog), "is_full", lambda _: True)
    assert studio.retrieve(client, 7, numbers) == [[], []]
    run_jobs()
    assert (backlog.waiting(Priority.BATCH), backlog.depths()["studio"]["retrying"]) == (0, 1)
    monkeypatch.undo()
    run_later()
    run_jobs()
    assert len(studio.predictions) == 2

"""Jobs wait in Redis through an upgrade from 0.1, and workers of both releases run side by side."""

import base64
import json
import zlib
from pathlib import Path

import pytest

from backend.queue.job_names import JobName, name_of, stored_name
from backend.queue.priorities import Priority
from tests.support.label_studio import PAT
from tests.support.tasks import request_of, task

# Hashes as 0.1 stored them (commit aec7227): a task of project 7, the posting of its result, the fetching of tasks 1, 2
STORED = json.loads((Path(__file__).parents[1] / "fixtures" / "jobs_of_0_1.json").read_text())

# What 0.1's workers run and call, literally; they end every other job as failed
FUNCTIONS_OF_0_1 = {"backend.jobs.run", "backend.studio_jobs.read", "backend.studio_jobs.write"}
CALLBACKS_OF_0_1 = {
    "backend.jobs.on_failure",
    "backend.studio_jobs.on_read_failure",
    "backend.studio_jobs.on_write_failure",
}


@pytest.fixture
def settings(configure, studio):
    settings = configure(LOG_LEVEL="WARNING", WRITE_DELAYS=1, LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=PAT)
    studio.version = settings.model_version
    return settings


@pytest.fixture
def restore(connection, settings):
    """Puts a job of 0.1 into Redis, where it waits. The model of today would refuse one for the model of that day."""

    def restore(name):
        entry = STORED[name]
        fields = {field: base64.b64decode(value) for field, value in entry["fields"].items()}
        call = json.loads(zlib.decompress(fields["data"]))
        if name == "predict":
            call[2][0]["model_version"] = settings.model_version
        fields["data"] = zlib.compress(json.dumps(call).encode())
        connection.hset(f"rq:job:{entry['id']}", mapping=fields)
        connection.rpush(f"rq:queue:{entry['queue']}", entry["id"])
        return entry["id"]

    return restore


def test_a_prediction_queued_by_0_1_is_made(restore, queue, run_jobs, counters):
    job_id = restore("predict")
    run_jobs()
    assert queue.outcome(job_id).prediction["result"]
    assert counters.totals()["done"] == 1


def test_a_failure_of_a_job_queued_by_0_1_is_recorded(restore, connection, run_jobs, ledger, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("tests.support.stub_worker.StubSegmenter.segment", fail)
    job_id = restore("predict")
    connection.hset(f"rq:job:{job_id}", "retries_left", 0)
    run_jobs()
    assert "RuntimeError" in ledger.failures.newest()[0]["message"]


def test_tasks_that_0_1_was_to_fetch_are_fetched_predicted_and_posted(restore, studio, run_jobs):
    studio.add_tasks(7, [task(0, "left")["data"], task(0, "right")["data"]])
    restore("fetch_tasks")
    run_jobs()
    assert studio.per_task() == {(1, studio.version): 1, (2, studio.version): 1}


def test_a_result_that_0_1_was_to_post_is_posted(restore, studio, run_jobs, connection):
    studio.add_tasks(7, [task(0, "left")["data"]])
    connection.hset(f"refam:due:{restore('predict')}", "7/1", "")
    restore("post_prediction")
    run_jobs()
    assert studio.per_task() == {(1, studio.version): 1}


def test_workers_of_0_1_take_what_is_written_now(queue, settings, connection):
    queue.submit([request_of(task(1, "left"), settings)], Priority.BATCH)
    queue.schedule(JobName.FETCH_TASKS, "7", [1], False, description="fetch")
    queue.schedule(JobName.POST_PREDICTION, "job", description="post", after=5)
    hashes = [connection.hgetall(key) for key in connection.keys("rq:job:*")]
    assert {json.loads(zlib.decompress(fields[b"data"]))[0] for fields in hashes} == FUNCTIONS_OF_0_1
    assert {fields[b"failure_callback_name"].decode() for fields in hashes} == CALLBACKS_OF_0_1
    assert all(json.loads(zlib.decompress(fields[b"data"]))[1] is None for fields in hashes)


@pytest.mark.parametrize("name", JobName)
def test_both_names_are_read(name):
    assert name_of(str(name)) is name_of(stored_name(name).function) is name


@pytest.mark.parametrize("function", [None, "", "os.mkdir", "backend.jobs.on_failure", "backend.worker.predict.run"])
def test_other_names_are_none_of_ours(function):
    assert name_of(function) is None

"""What waits in Redis since release 0.1 is taken over if it is this Label Studio's, and stays where nobody can tell."""

import base64
import json
import zlib
from pathlib import Path

import pytest

from backend.queue.job_names import JobName, name_of
from backend.queue.release_0_1 import OldTasks
from tests.support.tasks import task

# Hashes as 0.1 stored them (commit aec7227): a task of project 7, the posting of its result, the fetching of tasks 1, 2
STORED = json.loads((Path(__file__).parents[1] / "fixtures" / "jobs_of_0_1.json").read_text())


@pytest.fixture
def settings(studio_settings):
    return studio_settings


@pytest.fixture
def restore(connection):
    """Puts a job of 0.1 into Redis, where it waits."""

    def restore(name):
        entry = STORED[name]
        fields = {field: base64.b64decode(value) for field, value in entry["fields"].items()}
        connection.hset(f"rq:job:{entry['id']}", mapping=fields)
        connection.rpush(f"rq:queue:{entry['queue']}", entry["id"])
        return entry["id"]

    return restore


@pytest.fixture
def due(restore, connection):
    """A job of 0.1 that is due for task 1 of project 7."""
    job = restore("predict")
    connection.hset(f"refam:due:{job}", "7/1", "")
    return job


def asked(job, connection):
    """What the job's task asked: image and text."""
    call = json.loads(zlib.decompress(connection.hget(f"rq:job:{job}", "data")))
    (request,) = call[2]
    return {"image": request["image"], "text": request["expressions"][0]["text"]}


def test_a_task_that_asks_the_same_gets_its_prediction(due, studio, run_jobs, connection):
    studio.add_tasks(7, [asked(due, connection)])
    run_jobs()
    assert studio.per_task() == {(1, studio.version): 1}
    assert not OldTasks(connection).left()
    assert not connection.keys(f"*{due}*")
    assert not connection.exists("rq:queue:refam-batch")


@pytest.mark.parametrize("data", [task(0, "another text")["data"], None])
def test_a_task_of_another_label_studio_stays_and_is_listed(due, studio, run_jobs, connection, client, data):
    """It has the same number, and other data, or none here has the number."""
    studio.add_tasks(7, [data] if data else [])
    run_jobs()
    assert not studio.predictions
    assert OldTasks(connection).left() == {"7": 1}
    assert client.get("/status").json()["of_release_0_1"] == {"7": 1}
    assert connection.lrange("rq:queue:refam-batch", 0, -1) == [due.encode()]
    assert client.get("/status").json()["done"] == 0


def test_tasks_of_which_only_the_numbers_are_known_stay_and_are_listed(restore, studio, run_jobs, connection):
    studio.add_tasks(7, [task(0, "left")["data"], task(0, "right")["data"]])
    restore("fetch_tasks")
    run_jobs()
    assert not studio.predictions
    assert OldTasks(connection).left() == {"7": 2}


def test_workers_of_0_1_see_to_it_themselves_while_there_are_any(due, studio, run_jobs, connection):
    studio.add_tasks(7, [asked(due, connection)])
    connection.sadd("rq:workers", "rq:worker:old")
    connection.hset("rq:worker:old", mapping={"model_version": "refam-tiny", "state": "idle"})
    run_jobs()
    assert not studio.predictions
    assert OldTasks(connection).left() == {"7": 1}


def test_names_of_jobs():
    assert all(name_of(str(name)) is name for name in JobName)
    for function in (None, "", "os.mkdir", "backend.jobs.run", "backend.worker.predict.run"):
        assert name_of(function) is None

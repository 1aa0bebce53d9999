"""Whoever reaches Redis can queue jobs; workers run none but this project's own."""

import json
import zlib

import pytest
from rq.callbacks import Callback
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from backend.queue.job_queue import Priority
from backend.queue.known_jobs import CALLBACKS, FUNCTIONS, KnownJob
from backend.worker.predict import run


def outcome(queue, job):
    return KnownJob.fetch(job.id, queue.connection, JSONSerializer).get_status()


@pytest.mark.parametrize("function", ["os.mkdir", "backend.jobs.logging.os.mkdir", "backend.studio_jobs.os.mkdir"])
def test_a_foreign_function_is_not_run(queue, run_jobs, tmp_path, function):
    job = Job.create(function, (str(tmp_path / "made"),), connection=queue.connection, serializer=JSONSerializer)
    queue.queues[Priority.BATCH].enqueue_job(job)
    run_jobs()
    assert outcome(queue, job) == "failed"
    assert not (tmp_path / "made").exists()


def test_a_method_of_what_a_job_holds_is_not_run(queue, run_jobs):
    job = Job.create("backend.jobs.run", ({},), connection=queue.connection, serializer=JSONSerializer)
    job._instance = "text"
    queue.queues[Priority.BATCH].enqueue_job(job)
    run_jobs()
    assert outcome(queue, job) == "failed"


@pytest.mark.parametrize("event", ["on_failure", "on_success", "on_stopped"])
def test_a_foreign_callback_is_not_called(queue, event):
    options = {event: Callback("os.mkdir")}
    job = Job.create("backend.jobs.run", (), connection=queue.connection, serializer=JSONSerializer, **options)
    job.save()
    known = KnownJob.fetch(job.id, queue.connection, JSONSerializer)
    assert (known.failure_callback, known.success_callback, known.stopped_callback) == (None, None, None)


def test_what_is_known_exists():
    assert import_attribute(FUNCTIONS["backend.jobs.run"]) is run
    assert all(callable(import_attribute(name)) for name in (FUNCTIONS | CALLBACKS).values())


def test_nothing_in_redis_is_a_pickle(queue):
    queue.queues[Priority.BATCH].enqueue("backend.jobs.run", {})
    (key,) = queue.connection.keys("rq:job:*")
    assert json.loads(zlib.decompress(queue.connection.hget(key, "data")))[0] == "backend.jobs.run"

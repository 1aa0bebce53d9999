"""Whoever reaches Redis can queue jobs; workers run none but this project's own."""

import json
import zlib

import pytest
from rq.callbacks import Callback
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.queue.job_names import JobName
from backend.queue.known_jobs import KnownJob
from backend.queue.priorities import Priority
from tests.support.rq_queues import rq_queue


def stored(function, arguments, connection, **options):
    return Job.create(function, arguments, connection=connection, serializer=JSONSerializer, **options)


def status(job, connection):
    return KnownJob.fetch(job.id, connection, JSONSerializer).get_status()


@pytest.mark.parametrize("function", ["os.mkdir", "backend.jobs.logging.os.mkdir", "backend.worker.predict.os.mkdir"])
def test_a_foreign_function_is_not_run(queue, run_jobs, tmp_path, function, connection, shared):
    job = stored(function, (str(tmp_path / "made"),), connection)
    rq_queue(shared.keyspace, Priority.BATCH).enqueue_job(job)
    run_jobs()
    assert status(job, connection) == "failed"
    assert not (tmp_path / "made").exists()


def test_a_method_of_what_a_job_holds_is_not_run(queue, run_jobs, connection, shared):
    job = stored("predict", ({},), connection)
    job._instance = "text"
    rq_queue(shared.keyspace, Priority.BATCH).enqueue_job(job)
    run_jobs()
    assert status(job, connection) == "failed"


class Recorder:
    def __init__(self):
        self.failed = []

    def run(self, *args):
        raise AssertionError

    def on_failure(self, job, kind, error):
        self.failed.append((job.id, kind))


@pytest.mark.parametrize("event", ["on_failure", "on_success", "on_stopped"])
@pytest.mark.parametrize("function", ["predict", "os.mkdir"])
def test_a_foreign_callback_is_not_called(event, function, connection):
    recorder = Recorder()
    job = stored(function, (), connection, **{event: Callback("os.mkdir")})
    job.save()
    known = KnownJob.handled_by({JobName.PREDICT: recorder}).fetch(job.id, connection, JSONSerializer)
    if function == "os.mkdir":
        assert known.failure_callback is None
    else:
        known.failure_callback(known, connection, ValueError, ValueError(), None)
        assert recorder.failed == [(job.id, ValueError)]
    assert (known.success_callback, known.stopped_callback) == (None, None)


def test_processes_that_only_queue_jobs_run_none(connection):
    job = stored("predict", (), connection)
    job.save()
    with pytest.raises(ValueError, match="not this backend's"):
        _ = KnownJob.fetch(job.id, connection, JSONSerializer).func


def test_nothing_in_redis_is_a_pickle(queue, connection):
    queue.schedule(JobName.POST_PREDICTION, "job", description="post")
    (key,) = connection.keys("rq:job:*")
    assert json.loads(zlib.decompress(connection.hget(key, "data")))[2] == ["job"]

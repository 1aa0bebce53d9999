"""Whoever dies between two steps, the job is found. Each test stops a worker's work at one step, in this process."""

import time
from datetime import timedelta

import pytest
from rq import Retry
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.label_studio.label_config import read_label_config
from backend.queue import takeover
from backend.queue.job_queue import Priority
from backend.queue.takeover import MAX_DEATHS, TAKEN, Sweeper
from backend.worker.predict import Predictor, serving
from backend.worker.rq_worker import RefAMWorker
from tests.backend.conftest import CONFIG, task
from tests.support.stub_worker import StubSegmenter


@pytest.fixture(autouse=True)
def short_life(monkeypatch):
    monkeypatch.setattr(takeover, "LIFE", 1)


@pytest.fixture
def sweeper(queue):
    return Sweeper(queue.connection, list(queue.queues.values()))


@pytest.fixture
def worker(queue, settings):
    worker = RefAMWorker(queue, settings)
    worker.register_birth()
    return worker


@pytest.fixture
def request_(queue, settings):
    request = read_label_config(CONFIG).request(task(1, "left"), settings, "7")
    queue.submit([request], Priority.BATCH)
    return request


def job_of(request, queue):
    return Job.fetch(request.job_id(), queue.connection, JSONSerializer)


def waiting(queue):
    return queue.queues[Priority.BATCH].get_job_ids()


def test_a_job_that_was_taken_and_never_begun(worker, queue, sweeper, request_):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    assert waiting(queue) == []
    sweeper.sweep()
    assert waiting(queue) == [], "its worker may still live"
    time.sleep(1.1)
    sweeper.sweep()
    sweeper.sweep()
    assert waiting(queue) == [job.id]
    assert queue.connection.zcard(TAKEN) == 0


@pytest.mark.parametrize("step", ["registered", "started", "next try noted in part"])
def test_a_job_whose_worker_dies_while_it_runs(worker, queue, sweeper, request_, step):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    if step != "registered":
        worker.prepare_job_execution(job)
    if step == "next try noted in part":
        job.set_status(JobStatus.SCHEDULED)
    queue.submit([request_], Priority.BATCH)  # asking again does not help
    assert waiting(queue) == []
    time.sleep(1.1)
    sweeper.sweep()
    sweeper.sweep()
    assert waiting(queue) == [job.id]
    assert job_of(request_, queue).get_status() == JobStatus.QUEUED
    assert queue.depths()["batch"]["running"] == 0


def test_a_job_that_kills_its_workers_is_given_up(worker, queue, settings, sweeper, request_):
    with serving(Predictor(StubSegmenter(), ImageLoader(settings, Studio(settings)), queue, settings)):
        for _ in range(MAX_DEATHS):
            assert queue.failures.newest() == []
            job, _ = worker.dequeue_job_and_maintain_ttl(None)
            worker.prepare_execution(job)
            time.sleep(1.1)
            sweeper.sweep()
    assert waiting(queue) == []
    assert "died again and again" in queue.failures.newest()[0]["message"]
    assert queue.submit([request_], Priority.BATCH)[0].failure


def test_an_entry_of_a_job_that_has_ended_or_expired_is_dropped(worker, queue, sweeper, request_):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    job.set_status(JobStatus.FINISHED)
    queue.connection.zadd(TAKEN, {"expired": 1})
    time.sleep(1.1)
    sweeper.sweep()
    assert waiting(queue) == []
    assert queue.depths()["batch"]["running"] == 0
    assert queue.connection.zcard(TAKEN) == 0


def test_what_is_due_is_woken_once(queue, sweeper):
    target = queue.queues[Priority.STUDIO]
    for number in range(250):
        target.enqueue_in(timedelta(seconds=-1), "backend.studio_jobs.write", str(number), retry=Retry(max=1))
    target.enqueue_in(timedelta(seconds=60), "backend.studio_jobs.write", "later")
    sweeper.sweep()
    sweeper.sweep()
    assert len(set(target.get_job_ids())) == target.count == 250
    assert queue.depths()["studio"]["retrying"] == 1
    assert target.fetch_job(target.get_job_ids()[0]).get_status() == JobStatus.QUEUED

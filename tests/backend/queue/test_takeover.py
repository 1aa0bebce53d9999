"""Whoever dies between two steps, the job is found. Each test stops a worker's work at one step, in this process."""

import time
from datetime import timedelta
from unittest.mock import ANY

import pytest
from rq import Retry
from rq.exceptions import AbandonedJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from backend.delivery.desk import Desk
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.queue.job_names import JobName
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.takeover import MAX_DEATHS, Sweeper
from backend.timings import Timings
from backend.worker.main import bind
from backend.worker.predictor import Predictor
from backend.worker.rq_worker import RefAMWorker
from tests.support.rq_queues import rq_queue
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import request_of, task


@pytest.fixture
def worker(shared, settings):
    studio, timings = Studio(settings), Timings(life=1)
    predictor = Predictor(StubSegmenter(), ImageLoader(settings, studio), shared.gallery, settings)
    handlers = bind(predictor, Desk.over(shared, studio, settings, timings))
    worker = RefAMWorker(shared.keyspace, handlers, settings, timings)
    worker.register_birth()
    return worker


@pytest.fixture
def taken(shared):
    """Key of the jobs that were taken."""
    return shared.keyspace.key("taken")


@pytest.fixture
def sweeper(worker, connection, taken):
    return Sweeper(connection, worker.queues, taken, worker.job_class)


@pytest.fixture
def request_(queue, settings):
    request = request_of(task(1, "left"), settings)
    queue.submit([request], Priority.BATCH)
    return request


def job_of(request, connection):
    return Job.fetch(request.job_id(), connection, JSONSerializer)


def waiting(shared):
    return rq_queue(shared.keyspace, Priority.BATCH).get_job_ids()


def test_a_job_that_was_taken_and_never_begun(worker, queue, sweeper, request_, connection, shared, taken):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    assert waiting(shared) == []
    sweeper.sweep()
    assert waiting(shared) == [], "its worker may still live"
    time.sleep(1.1)
    sweeper.sweep()
    sweeper.sweep()
    assert waiting(shared) == [job.id]
    assert connection.zcard(taken) == 0


@pytest.mark.parametrize("step", ["registered", "started", "next try noted in part"])
def test_a_job_whose_worker_dies_while_it_runs(worker, queue, sweeper, request_, step, connection, backlog, shared):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    if step != "registered":
        worker.prepare_job_execution(job)
    if step == "next try noted in part":
        job.set_status(JobStatus.SCHEDULED)
    queue.submit([request_], Priority.BATCH)  # asking again does not help
    assert waiting(shared) == []
    time.sleep(1.1)
    sweeper.sweep()
    sweeper.sweep()
    assert waiting(shared) == [job.id]
    assert job_of(request_, connection).get_status() == JobStatus.QUEUED
    assert backlog.depths()["batch"]["running"] == 0


def test_a_job_that_kills_its_workers_is_given_up(
    worker, queue, settings, sweeper, request_, ledger, connection, shared
):
    for _ in range(MAX_DEATHS):
        assert ledger.failures.newest() == []
        job, _ = worker.dequeue_job_and_maintain_ttl(None)
        worker.prepare_execution(job)
        time.sleep(1.1)
        sweeper.sweep()
    assert waiting(shared) == []
    assert "died again and again" in ledger.failures.newest()[0]["message"]
    assert queue.submit([request_], Priority.BATCH)[0].failure


@pytest.mark.parametrize("deaths", [1, MAX_DEATHS])
def test_a_worker_that_was_held_up_does_not_end_what_others_took_over(
    worker, sweeper, request_, deaths, connection, shared, queue
):
    """It was counted dead, and goes on once the job waits again, or was given up."""
    job, from_queue = worker.dequeue_job_and_maintain_ttl(None)
    execution = worker.prepare_execution(job)
    worker.perform_job(job, from_queue, execution)
    connection.hset(job.key, "deaths", deaths - 1)
    time.sleep(1.1)
    sweeper.sweep()
    failures = shared.ledger.failures.newest()
    worker.teardown()  # ends what it had put off
    assert queue.outcome(job.id) == (None if deaths < MAX_DEATHS else Outcome(failure=ANY))
    assert waiting(shared) == ([job.id] if deaths < MAX_DEATHS else [])
    assert shared.ledger.failures.newest() == failures
    assert shared.counters.totals()["done"] == 0


def test_a_worker_that_was_held_up_does_not_fail_what_others_took_over(
    worker, sweeper, queue, settings, ledger, shared
):
    request = request_of(task(1, "crash"), settings)
    queue.submit([request], Priority.BATCH)
    job, from_queue = worker.dequeue_job_and_maintain_ttl(None)
    execution = worker.prepare_execution(job)
    time.sleep(1.1)
    sweeper.sweep()
    worker.perform_job(job, from_queue, execution)
    assert waiting(shared) == [job.id]
    assert queue.outcome(job.id) is None
    assert ledger.failures.newest() == []
    assert worker.executions == {}


def test_a_job_that_ends_while_it_is_given_up_stays_ended(worker, connection, sweeper, request_, queue):
    job, from_queue = worker.dequeue_job_and_maintain_ttl(None)
    execution = worker.prepare_execution(job)
    handler = worker.job_class.handlers[JobName.PREDICT]
    note_failure = handler.on_failure

    def while_it_ends(*args):
        note_failure(*args)
        worker.perform_job(job, from_queue, execution)
        worker.teardown()

    handler.on_failure = while_it_ends
    sweeper.give_up(worker.job_class.fetch(job.id, connection, JSONSerializer), AbandonedJobError())
    assert queue.outcome(job.id).prediction


def test_what_one_sweeper_gives_up_no_other_puts_back(worker, connection, ledger, sweeper, request_, shared, taken):
    """Its worker died between registering the job as running and taking it off the taken ones."""
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    connection.zadd(taken, {job.id: time.time() + 1})
    connection.hset(job.key, "deaths", MAX_DEATHS - 1)
    handler = worker.job_class.handlers[JobName.PREDICT]
    note_failure = handler.on_failure

    def while_another_sweeps(*args):
        sweeper._take_over(taken, job.id, job.id, deaths=0)
        note_failure(*args)
        sweeper._take_over(taken, job.id, job.id, deaths=0)

    handler.on_failure = while_another_sweeps
    time.sleep(1.1)
    sweeper.sweep()
    assert waiting(shared) == []
    assert connection.zcard(taken) == 0
    assert job_of(request_, connection).get_status() == JobStatus.FAILED
    assert "died again and again" in ledger.failures.newest()[0]["message"]


def test_a_job_that_ends_while_a_sweeper_looks_is_not_put_back(
    worker, connection, sweeper, request_, monkeypatch, shared, taken
):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    job.set_status(JobStatus.FAILED)
    time.sleep(1.1)
    with monkeypatch.context() as patch:
        patch.setattr(Job, "get_status", lambda *_, **__: JobStatus.STARTED)  # as it was a moment ago
        sweeper.sweep()
    assert waiting(shared) == []
    assert connection.zcard(taken) == 0
    assert job_of(request_, connection).get_status() == JobStatus.FAILED


def test_an_entry_of_a_job_that_has_ended_or_expired_is_dropped(
    worker, sweeper, request_, connection, backlog, shared, taken
):
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    job.set_status(JobStatus.FINISHED)
    connection.zadd(taken, {"expired": 1})
    time.sleep(1.1)
    sweeper.sweep()
    assert waiting(shared) == []
    assert backlog.depths()["batch"]["running"] == 0
    assert connection.zcard(taken) == 0


def test_jobs_that_wait_and_run_name_their_task(worker, request_, backlog):
    (waits,) = backlog.next_in_line(5)
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    (runs,) = backlog.running()
    assert {(info.project, info.task) for info in (waits, runs)} == {(request_.project, request_.task)}
    assert waits.since
    assert runs.since


def test_of_a_queue_that_others_are_at_only_what_is_too_much_is_taken(worker, queue, request_, shared):
    for number in range(3):
        shared.jobs.schedule(JobName.POST_PREDICTION, str(number), description="write")
    studio = next(each for each in worker.queues if each.name == shared.keyspace.queue(Priority.STUDIO))
    studio.left = 2
    taken = [worker.dequeue_job_and_maintain_ttl(None) for _ in range(3)]
    assert [found and found[0].args[0] for found in taken[::2]] == ["0", None]
    assert taken[1][0].id == request_.job_id()
    studio.left = 0
    assert worker.dequeue_job_and_maintain_ttl(None)[0].args[0] == "1"


def test_what_is_due_is_woken_once(sweeper, connection, backlog, shared):
    target = rq_queue(shared.keyspace, Priority.STUDIO)
    for number in range(250):
        target.enqueue_in(timedelta(seconds=-1), "post_prediction", str(number), retry=Retry(max=1))
    target.enqueue_in(timedelta(seconds=60), "post_prediction", "later")
    sweeper.sweep()
    sweeper.sweep()
    assert len(set(target.get_job_ids())) == target.count == 250
    assert backlog.depths()["studio"]["retrying"] == 1
    assert target.fetch_job(target.get_job_ids()[0]).get_status() == JobStatus.QUEUED

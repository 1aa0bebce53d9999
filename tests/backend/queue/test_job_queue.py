"""The queue on a real Redis; jobs run in this process."""

import time
from dataclasses import replace

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.errors import QueueUnavailableError, TaskError
from backend.queue.connection import connect
from backend.queue.known_jobs import KnownJob
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.queue.takeover import Sweeper
from backend.queue.task_ledger import TaskLedger
from backend.settings import load_settings
from backend.worker.main import work
from tests.support.rq_queues import rq_queue, rq_queues
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import request_of, task


@pytest.fixture
def request_for(settings):
    return lambda number, text, **data: request_of(task(number, text, **data), settings)


DEVICE = (Priority.INTERACTIVE, Priority.BATCH)


def waiting(backlog):
    return {name: depth["waiting"] for name, depth in backlog.depths().items() if name in DEVICE}


def test_work_is_queued_once(queue, request_for, backlog):
    requests = [request_for(1, "left"), request_for(2, "left"), request_for(3, "right")]
    assert queue.submit(requests, Priority.BATCH) == [None] * 3
    assert queue.submit(requests, Priority.BATCH) == [None] * 3
    assert waiting(backlog) == {"interactive": 0, "batch": 2}


def test_two_web_processes_queue_once(queue, settings, request_for, backlog):
    other = SharedState.over(connect(settings), settings).jobs
    for number in range(5):
        request = request_for(number, f"left {number}")
        queue._enqueue([request], Priority.BATCH)
        other._enqueue([request], Priority.BATCH)
    assert waiting(backlog)["batch"] == 5


def test_results_are_there_for_the_next_call(queue, request_for, run_jobs, counters, backlog):
    request = request_for(1, "left")
    queue.submit([request], Priority.BATCH)
    run_jobs()
    (outcome,) = queue.submit([request], Priority.BATCH)
    assert outcome.prediction["result"][0]["value"]["brushlabels"] == ["Object"]
    assert counters.totals() == {"done": 1, "failed": 0, "nothing": 0, "heatmaps": 1, "image_embeddings": 0}
    assert waiting(backlog)["batch"] == 0


def test_interactive_goes_before_batch(queue, request_for, run_jobs, connection):
    batch, urgent = request_for(1, "left 1"), request_for(2, "left 2")
    queue.submit([batch], Priority.BATCH)
    queue.submit([urgent], Priority.INTERACTIVE)
    run_jobs()
    first, second = (Job.fetch(r.job_id(), connection, JSONSerializer).started_at for r in (urgent, batch))
    assert first < second


def test_a_batch_task_that_is_opened_jumps_the_queue(queue, request_for, run_jobs, counters, connection, backlog):
    requests = [request_for(number, f"left {number}") for number in range(4)]
    queue.submit(requests, Priority.BATCH)
    queue.submit([requests[3]], Priority.INTERACTIVE)
    assert waiting(backlog) == {"interactive": 1, "batch": 3}
    run_jobs()
    jobs = Job.fetch_many([request.job_id() for request in requests], connection, JSONSerializer)
    assert min(jobs, key=lambda job: job.started_at).id == requests[3].job_id()
    assert counters.totals()["done"] == 4


def test_what_a_worker_has_taken_is_not_brought_forward(queue, request_for, connection, backlog, shared):
    request = request_for(1, "left")
    queue.submit([request], Priority.BATCH)
    job = Job.fetch(request.job_id(), connection, JSONSerializer)
    connection.zpopmin(rq_queue(shared.keyspace, Priority.BATCH).line)
    queue._bring_forward(job)
    assert waiting(backlog) == {"interactive": 0, "batch": 0}


def test_bad_input_fails_at_once_and_alone(queue, request_for, run_jobs, settings, ledger, counters, connection):
    requests = [request_for(1, "left"), request_for(2, "unusable"), request_for(3, "right")]
    queue.submit(requests, Priority.BATCH)
    run_jobs()
    good, bad, other = queue.submit(requests, Priority.BATCH)
    assert good.prediction
    assert other.prediction
    assert bad.failure["field"] == "text"
    assert counters.totals() == {"done": 2, "failed": 1, "nothing": 0, "heatmaps": 2, "image_embeddings": 0}
    (failure,) = ledger.failures.newest()
    assert (failure["project"], failure["task"]) == ("7", "2")
    job = Job.fetch(requests[1].job_id(), connection, JSONSerializer)
    assert job.retries_left == len(settings.retry_delays)
    assert 0 < connection.ttl(job.key) <= settings.failure_ttl


def test_temporary_failures_are_tried_again_and_then_listed(
    queue, request_for, run_jobs, ledger, connection, backlog, shared
):
    request = request_for(1, "crash")
    queue.submit([request], Priority.BATCH)
    run_jobs()
    assert backlog.depths()["batch"]["retrying"] == 1
    assert ledger.failures.newest() == []
    assert queue.submit([request], Priority.BATCH) == [None]
    time.sleep(1.1)
    Sweeper(connection, rq_queues(shared.keyspace), shared.keyspace.key("taken"), KnownJob).sweep()
    run_jobs()
    (outcome,) = queue.submit([request], Priority.BATCH)
    assert "RuntimeError" in outcome.failure["message"]
    assert "secret detail" not in str(outcome)
    assert ledger.failures.newest()[0]["message"] == outcome.failure["message"]


def test_too_long_a_job_is_ended_and_not_tried_again(configure, connection, run_jobs):
    settings = configure(JOB_TIMEOUT=1)
    queue = SharedState.over(connection, settings).jobs
    request = request_of(task(1, "slow 30"), settings)
    queue.submit([request], Priority.BATCH)
    run_jobs()
    assert "longer than" in queue.submit([request], Priority.BATCH)[0].failure["message"]


def test_where_memory_is_short_caches_are_emptied_before_a_task_fails(queue, request_for, run_jobs):
    requests = [request_for(1, "large"), request_for(2, "too large"), request_for(3, "left")]
    queue.submit(requests, Priority.BATCH)
    run_jobs()
    large, too_large, other = queue.submit(requests, Priority.BATCH)
    assert large.prediction
    assert other.prediction
    assert too_large.failure["field"] == "REFAM_DEVICE"
    assert "REFAM_RESOLUTION" in too_large.failure["remedy"]


def test_a_broken_device_ends_the_worker_and_the_job_is_tried_again(queue, settings, request_for, ledger, connection):
    requests = [request_for(1, "broken"), request_for(2, "left")]
    queue.submit(requests, Priority.BATCH)
    for _ in range(len(settings.retry_delays) + 1):
        assert ledger.failures.newest() == []
        assert work(connection, settings, lambda _: StubSegmenter()) == 1
        time.sleep(1.1)
    assert "the device failed each of the 2 times" in ledger.failures.newest()[0]["message"]


def test_a_full_queue_is_known(configure, connection, request_for):
    shared = SharedState.over(connection, configure(MAX_QUEUED=2))
    assert not shared.backlog.is_full()
    shared.jobs.submit([request_for(number, f"left {number}") for number in range(2)], Priority.BATCH)
    assert shared.backlog.is_full()
    roomy = SharedState.over(connection, configure(MAX_QUEUED=9, REDIS_MAX_BYTES=2**24)).backlog
    assert roomy.is_full() is (roomy.memory() >= 2**24)


def test_a_task_queued_before_the_settings_were_changed_is_made_and_named_as_they_are_now(
    queue, request_for, run_jobs, settings, ledger
):
    request = replace(request_for(1, "left"), model_version="refam-other")
    queue.submit([request], Priority.BATCH)
    run_jobs()
    prediction = queue.submit([request], Priority.BATCH)[0].prediction
    assert prediction["model_version"] == settings.model_version
    assert prediction["result"]
    assert not ledger.failures.newest()


def test_nothing_found_is_listed_apart_from_failures_with_a_reason(queue, request_for, run_jobs, ledger):
    request = request_for(1, "nothing")
    queue.submit([request], Priority.BATCH)
    run_jobs()
    (entry,) = ledger.nothing.newest()
    assert (entry["field"], entry["message"]) == ("text", "nothing found (score 0.75).")
    assert ledger.failures.newest() == []
    outcome = queue.outcome(request.job_id())
    assert outcome.prediction is None and outcome.failure is None
    assert ledger.progress.state("7").done == 0


def test_waiting_ends_with_time_and_with_closing(queue, request_for):
    request = request_for(1, "left")
    queue.submit([request], Priority.INTERACTIVE)
    start = time.monotonic()
    assert queue.await_outcome(request, 0.2) is None
    queue.closing.set()
    assert queue.await_outcome(request, 60) is None
    assert time.monotonic() - start < 5


def test_waiting_for_what_is_not_there_ends(queue, request_for):
    assert queue.await_outcome(request_for(1, "left"), 60) is None


def test_no_more_than_the_allowed_number_wait(configure, connection):
    queue = SharedState.over(connection, configure(INLINE_WAITERS=1)).jobs
    request = request_of(task(1, "left"), configure())
    queue.submit([request], Priority.INTERACTIVE)
    queue._waiters.acquire()
    start = time.monotonic()
    assert queue.await_outcome(request, 60) is None
    assert time.monotonic() - start < 1


def test_the_list_of_failures_is_bounded_and_shows_each_task_once(configure, connection, shared):
    ledger = TaskLedger(shared.keyspace, configure(MAX_FAILURES=3))
    failed = Outcome(failure=TaskError("text", "it is empty.", "Write one.").as_json())
    for number in range(5):
        ledger.end([("7", str(number), failed)])
    ledger.end([("7", "4", failed)])
    assert [entry["task"] for entry in ledger.failures.newest()] == ["4", "3", "2"]
    assert connection.hlen(shared.keyspace.key("failure")) == 3
    ledger.end([("7", "3", Outcome(prediction={}))])
    assert [entry["task"] for entry in ledger.failures.newest()] == ["4", "2"]


def test_nothing_in_redis_is_a_pickle(queue, request_for, run_jobs, connection):
    queue.submit([request_for(1, "left"), request_for(2, "crash")], Priority.BATCH)
    values = []
    for key in connection.scan_iter("rq:job:*"):
        values += connection.hvals(key)
    run_jobs()
    for key in connection.scan_iter("rq:results:*"):
        values += [value for _, entry in connection.xrange(key) for value in entry.values()]
    assert values
    assert not [value for value in values if value.startswith(b"\x80")]


def test_obstacles_say_why_nothing_will_run(fleet):
    assert fleet.obstacles()[0]["field"] == "worker"
    fleet.report_problem("here/cuda", TaskError("REFAM_MODEL", "it is not there.", "Download it."))
    assert fleet.obstacles() == [{"field": "REFAM_MODEL", "message": "it is not there.", "remedy": "Download it."}]
    fleet.forget_problem("here/cuda")
    assert fleet.obstacles()[0]["field"] == "worker"


def test_no_redis_is_explained(configure):
    with pytest.raises(QueueUnavailableError, match="Check REDIS_URL"):
        connect(configure(REDIS_URL="redis://:hush@127.0.0.1:1/0"))


def test_no_private_redis_is_explained():
    with pytest.raises(QueueUnavailableError, match="refam-backend up"):
        connect(load_settings())

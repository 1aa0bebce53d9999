"""What a worker's threads do beside each other."""

import signal
import threading
import time

import pytest

from backend.queue.job_names import JobName
from backend.queue.priorities import Priority
from backend.timings import Timings
from backend.worker.clerk import Clerk
from backend.worker.rq_worker import RefAMWorker
from tests.support.deliveries import once, texts
from tests.support.processes import eventually
from tests.support.tasks import request_of, task


@pytest.fixture
def settings(studio_settings):
    return studio_settings


def test_the_device_goes_on_while_label_studio_keeps_a_write_waiting(
    client, studio, processes, fleet, counters, monkeypatch
):
    answers, released = studio.answer, threading.Event()

    def answer(method, path, query, body):
        if path.endswith("/import/predictions"):
            released.wait(60)
        return answers(method, path, query, body)

    monkeypatch.setattr(studio, "answer", answer)
    processes.stub_worker(fleet)
    numbers = studio.add_tasks(7, texts("left", "right", "the left", "the right"))
    studio.retrieve(client, 7, numbers)
    eventually(lambda: counters.totals()["done"] == 4)
    assert not studio.predictions
    released.set()
    eventually(lambda: len(studio.predictions) == 4)
    once(studio, numbers)
    imports = [path for _, path in studio.requests if path.endswith("/import/predictions")]
    assert len(imports) <= 2, "what has become ready meanwhile is written together"


def test_reading_and_writing_take_turns(shared, settings, signals, monkeypatch):
    """Or the device would wait for tasks until all masks are written, or these would pile up."""
    done = []
    worker = RefAMWorker(shared.keyspace, {}, settings, Timings())
    priorities = (Priority.WRITE, Priority.STUDIO, Priority.HINT)
    queues = [worker._line(priority) for priority in priorities]
    for priority in priorities:
        for number in range(3):
            shared.jobs.schedule(
                JobName.LOOK_AGAIN, description="look", job_id=f"{priority}-{number}", priority=priority
            )
    clerk = Clerk(worker, lambda job, queue: done.append(queue), queues, threading.Event())
    for _ in range(9):
        clerk._work_once()
    assert [queues.index(queue) for queue in done] == [0, 1, 0, 1, 0, 1, 2, 2, 2]


def test_a_last_mask_is_stored_though_no_further_job_comes(processes, fleet, queue, settings):
    processes.stub_worker(fleet)
    for text in ("left", "right"):
        request = request_of(task(1, text), settings)
        queue.submit([request], Priority.BATCH)
        eventually(lambda asked=request: queue.submit([asked], Priority.BATCH)[0])


def test_two_signals_at_once_are_one(processes, fleet, queue, settings, backlog):
    worker = processes.stub_worker(fleet)
    request = request_of(task(1, "slow 2"), settings)
    queue.submit([request], Priority.BATCH)
    eventually(lambda: backlog.depths()["batch"]["running"])
    worker.terminate()
    time.sleep(0.2)
    worker.terminate()
    assert worker.wait(15) == 0
    assert queue.submit([request], Priority.BATCH)[0].prediction


@pytest.fixture
def signals():
    """Puts back what a worker in this process changes."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def test_a_worker_whose_clerk_fails_ends_and_says_so(shared, settings, signals, monkeypatch, caplog):
    def fail(_):
        raise RuntimeError("no way to go on")

    monkeypatch.setattr(Clerk, "_work_once", fail)
    assert RefAMWorker(shared.keyspace, {}, settings, Timings()).run(burst=False) is False
    assert "this worker ends" in caplog.text

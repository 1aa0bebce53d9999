"""Hosts that take a connection and never answer: their tasks wait, and keep nobody else waiting."""

import time
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from rq.job import Job, JobStatus

from backend.json_bytes import JSONBytes
from backend.queue import silent_hosts
from backend.queue.priorities import Priority
from backend.worker import predict
from tests.support.silent_host import HOST, silent_host
from tests.support.tasks import request_of, task


@pytest.fixture
def host():
    with silent_host() as host:
        yield host


@pytest.fixture
def settings(configure):
    return configure(IMAGE_TIMEOUT="0.2", IMAGE_HOSTS=f"{HOST}", RETRY_DELAYS="60", PREFETCH="0")


@pytest.fixture
def ask(queue, settings, host):
    """Queues tasks whose images are on the host; returns their jobs."""

    def ask(*numbers, project="7"):
        requests = [
            request_of(task(number, "left", host.picture(number)), settings, project=project) for number in numbers
        ]
        queue.submit(requests, Priority.BATCH)
        return [request.job_id() for request in requests]

    return ask


def jobs(ids, connection):
    return Job.fetch_many(ids, connection, JSONBytes)


@contextmanager
def later(seconds):
    """The host has rested for that long."""
    now = time.time
    with patch.object(silent_hosts.time, "time", lambda: now() + seconds):
        yield


def test_it_is_asked_three_times_and_the_others_do_not_wait(ask, run_jobs, host, connection, queue, settings):
    silent = jobs(ask(*range(12)), connection)
    good = request_of(task(99, "left"), settings, project="8")
    queue.submit([good], Priority.BATCH)
    run_jobs()
    assert host.asked == 3
    assert queue.submit([good], Priority.BATCH)[0].prediction
    for job in silent:
        job.refresh()
    assert {job.get_status() for job in silent} == {JobStatus.SCHEDULED}
    assert sorted(job.retries_left for job in silent) == [0] * 3 + [1] * 9, "to be put off is no try"


def test_the_tasks_go_on_once_it_answers(ask, run_jobs, run_later, host, queue, shared, client):
    ask(*range(12))
    run_jobs()
    (resting,) = client.get("/status").json()["silent_hosts"]
    assert (resting["project"], resting["host"]) == ("7", HOST)
    host.answers = True
    with later(40):
        run_later()
    assert host.asked == 3 + 12
    assert shared.counters.totals()["done"] == 12
    assert client.get("/status").json()["silent_hosts"] == []


def test_one_task_asks_again_and_the_host_rests_for_longer(ask, run_jobs, run_later, host, shared):
    ask(*range(12))
    run_jobs()
    with later(29):
        run_later()
    assert host.asked == 3
    with later(31):
        run_later()
        assert host.asked == 4
    with later(31 + 55):
        run_later()
    assert host.asked == 4
    with later(31 + 65):
        run_later()
    assert host.asked == 5


def test_a_task_does_not_wait_for_ever(ask, run_jobs, run_later, host, ledger, monkeypatch, shared):
    ask(*range(5))
    run_jobs()
    monkeypatch.setattr(predict, "PATIENCE", 0)
    run_later()
    found = [entry["message"] for entry in ledger.failures.newest()]
    assert found == ["its host 127.0.0.1 has not answered for 0 hours."] * len(found)
    assert len(found) >= 2


def test_a_host_that_answers_now_and_then_does_not_rest(shared):
    hosts = shared.hosts
    for _ in range(5):
        hosts.was_silent("7", "a.org")
        hosts.was_silent("7", "a.org")
        assert hosts.wait("7", "a.org", 1) == 0
        hosts.has_answered("7", "a.org")
    assert hosts.wait("7", "a.org", 1) == 0
    assert hosts.resting() == []


def test_only_one_task_asks_a_host_that_has_rested(shared):
    for _ in range(3):
        shared.hosts.was_silent("7", "a.org")
    with later(31):
        assert [shared.hosts.wait("7", "a.org", 20) > 0 for _ in range(3)] == [False, True, True]


def test_tasks_that_are_put_off_come_back_one_after_another(shared):
    for _ in range(3):
        shared.hosts.was_silent("7", "a.org")
    waits = [shared.hosts.wait("7", "a.org", 20) for _ in range(100)]
    assert waits[-1] - waits[0] == pytest.approx(99 * silent_hosts.APART, abs=1)


def test_a_project_with_bad_addresses_keeps_a_host_from_no_other(ask, run_jobs, host, shared):
    ask(*range(5))
    run_jobs()
    host.answers = True
    ask(*range(20, 25), project="8")
    run_jobs()
    assert shared.counters.totals()["done"] == 5
    assert host.asked == 3 + 5


def test_what_has_expired_is_forgotten(shared, connection):
    for _ in range(3):
        shared.hosts.was_silent("7", "a.org")
    assert len(shared.hosts.resting()) == 1
    connection.delete(shared.keyspace.key("silent", "7:a.org"))
    assert shared.hosts.resting() == []
    assert not connection.exists(shared.keyspace.key("silent"))

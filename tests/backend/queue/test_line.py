"""Projects take turns, whoever asked first."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from backend.json_bytes import JSONBytes
from backend.queue.known_jobs import KnownJob
from backend.queue.priorities import Priority
from backend.queue.takeover import Sweeper, TakingQueue
from tests.support.rq_queues import rq_queue
from tests.support.tasks import request_of, task


@pytest.fixture
def ask(queue, settings):
    """Queues so many new tasks of a project, in one request; returns their jobs."""
    numbers = count(1)

    def ask(project: str, many: int) -> list[str]:
        tasks = [
            request_of(task(number, f"left {number}"), settings, project=project)
            for _, number in zip(range(many), numbers, strict=False)
        ]
        queue.submit(tasks, Priority.BATCH)
        return [each.job_id() for each in tasks]

    return ask


@pytest.fixture
def line(shared):
    return rq_queue(shared.keyspace, Priority.BATCH)


@pytest.fixture
def take(line, shared, connection):
    """Takes so many jobs, as a worker does."""
    kind = TakingQueue.taking(shared.keyspace.key("taken"), 0, shared.jobs.closing)
    lines = [kind(line.name, connection=connection)]

    def take(many: int) -> list[KnownJob]:
        found = [kind.dequeue_any(lines, None, connection, KnownJob, JSONBytes) for _ in range(many)]
        return [each[0] for each in found if each]

    return take


def projects(jobs):
    return "".join(job.meta["project"] for job in jobs)


def test_a_project_that_comes_later_does_not_wait_for_all_of_another(ask, take):
    ask("a", 50)
    assert projects(take(3)) == "aaa"
    ask("b", 4)
    ask("c", 1)
    assert Counter(projects(take(9))) == Counter(a=4, b=4, c=1)
    assert projects(take(3)) == "aaa"


def test_a_projects_own_tasks_are_done_in_their_order(ask, take):
    first, second = ask("a", 3), ask("a", 2)
    ask("b", 2)
    assert [job.id for job in take(7) if job.meta["project"] == "a"] == first + second


def test_who_has_waited_for_nothing_saves_no_turns(ask, take):
    ask("a", 20)
    take(10)
    ask("b", 20)
    taken = projects(take(10))
    assert abs(taken.count("a") - taken.count("b")) <= 2


def test_a_turn_that_was_withdrawn_is_given_back(ask, take, queue):
    ask("a", 3)
    for job in ask("b", 20):
        queue.withdraw(job, "none")
    ask("b", 2)
    assert projects(sorted(take(4), key=lambda job: job.meta["project"])) == "aabb"


def test_what_is_taken_over_comes_first(ask, take, line, connection, shared):
    ask("b", 5)
    ask("a", 5)
    (job,) = take(1)
    Sweeper(connection, [line], shared.keyspace.key("taken"), KnownJob).sweep()
    assert line.get_job_ids(0, 1) == [job.id]
    assert take(1)[0].id == job.id


def test_an_empty_line_leaves_nothing(ask, take, line, queue, connection):
    ask("a", 2)
    take(2)
    for job in ask("b", 2):
        queue.withdraw(job, "none")
    assert connection.keys(f"{line.line}*") == []


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 8)), min_size=1, max_size=8))
def test_projects_that_wait_get_as_much_as_each_other(ask, take, batches):
    """Start-time fair queueing: between two projects that both have jobs waiting, the difference is one at most."""
    for project, many in batches:
        ask(project, many)
    left, taken = Counter(), Counter()
    for project, many in batches:
        left[project] += many
    while jobs := take(1):
        project = projects(jobs)
        taken[project] += 1
        left[project] -= 1
        others = [taken[other] for other in left if left[other]]
        assert max([taken[project], *others]) - min([taken[project], *others]) <= 1
    assert not any(left.values())

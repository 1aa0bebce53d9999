"""What is still to be posted to Label Studio.

A result that is due stays noted until it is known to be stored, or has failed for good. Who may post it: see
backend.delivery.claims.

Key, of one Label Studio:
    refam:<studio>:due:<job>    hash: project/task -> "replace" or "". Tasks that the job's result is for
"""

import time
from collections.abc import Sequence
from typing import cast

from backend.delivery.claims import Target
from backend.delivery.schedule import Schedule
from backend.label_studio.request import TaskRequest
from backend.queue.job_queue import JobQueue
from backend.queue.keyspace import Keyspace

__all__ = ["Outbox"]

LOOK = 0.1  # seconds between two looks at a result that is being posted
DUE_LIFETIME = 30 * 86400  # seconds


class Outbox:
    """Notes which tasks a result is due for."""

    def __init__(self, keyspace: Keyspace, jobs: JobQueue) -> None:
        self._connection = keyspace.connection
        self._keyspace = keyspace
        self._jobs = jobs
        self._schedule = Schedule(jobs)

    def add(self, requests: Sequence[TaskRequest], *, replace: bool = False) -> None:
        """The results of submitted requests are due, now or once they are there; of tasks with a number alone."""
        wanted = [request for request in requests if Target.of(request).is_stored]
        with self._connection.pipeline() as pipe:
            for request in wanted:
                pipe.hset(self._due(request.job_id()), Target.of(request).key, "replace" if replace else "")
                pipe.expire(self._due(request.job_id()), DUE_LIFETIME)
            pipe.execute()
        # A job that has not ended by now will find the tasks noted when it ends.
        ids = list(dict.fromkeys(request.job_id() for request in wanted))
        for job_id, ended in zip(ids, self._jobs.have_ended(ids), strict=True):
            if ended:
                self._schedule.schedule_post(job_id)

    def due(self, job_id: str) -> list[Target]:
        """The tasks that a job's result is due for."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(self._due(job_id)))
        return [_target(key.decode(), value.decode()) for key, value in found.items()]

    def are_due(self, requests: Sequence[TaskRequest]) -> list[bool]:
        """For each request, whether its result is due for its task."""
        with self._connection.pipeline() as pipe:
            for request in requests:
                pipe.hexists(self._due(request.job_id()), Target.of(request).key)
            return [bool(found) for found in pipe.execute()]

    def await_posted(self, request: TaskRequest, seconds: float) -> None:
        """Until a request's result is due no more, for that long at most."""
        deadline = time.monotonic() + seconds
        while self.are_due([request])[0] and time.monotonic() < deadline:
            time.sleep(LOOK)

    def remove(self, job_id: str, target: Target) -> None:
        """The task needs nothing more."""
        self._connection.hdel(self._due(job_id), target.key)

    def withdraw(self, job_id: str) -> list[Target] | None:
        """Withdraw a waiting job, and return the tasks that it was due for; None if a worker has or had it."""
        found = self._jobs.withdraw(job_id, self._due(job_id))
        return None if found is None else [_target(key, value) for key, value in found.items()]

    def _due(self, job_id: str) -> str:
        return self._keyspace.key("due", job_id)


def _target(key: str, value: str) -> Target:
    project, task = key.split("/")
    return Target(project, task, value == "replace")

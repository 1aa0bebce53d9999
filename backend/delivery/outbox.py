"""What is still to be written to Label Studio, and the jobs that do so.

What is due stays noted until it is known to be stored, or has failed for good. Who may write it: see
backend.delivery.claims.

Keys:
    refam:due:<job>     hash: project/task -> "replace" or "". Tasks that the job's result is for
    refam:projects      set: projects that have connected this backend
"""

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

from rq import Retry
from rq.callbacks import Callback
from rq.exceptions import DuplicateJobError

from backend.delivery.claims import Target
from backend.label_studio.client import PAGE
from backend.label_studio.request import TaskRequest
from backend.queue.job_queue import JobQueue, Priority
from backend.settings import Settings

__all__ = ["Outbox"]

PROJECTS = "refam:projects"
READ = "read-"  # ids of jobs that read tasks begin with it
LOOK = 0.1  # seconds between two looks at a result that is being written
DUE_LIFETIME = 30 * 86400  # seconds


class Outbox:
    """Notes which tasks are due, and enqueues the jobs that talk to Label Studio."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self._queue = queue
        self._connection = queue.connection
        self._settings = settings

    def add(self, requests: Sequence[TaskRequest], *, replace: bool = False) -> None:
        """Have the results of submitted requests written, now or once they are there."""
        wanted = [request for request in requests if request.project.isdecimal() and request.task.isdecimal()]
        with self._connection.pipeline() as pipe:
            for request in wanted:
                pipe.hset(_due(request.job_id()), Target.of(request).key, "replace" if replace else "")
                pipe.expire(_due(request.job_id()), DUE_LIFETIME)
            pipe.execute()
        # A job that has not ended by now will find the tasks noted when it ends.
        ids = list(dict.fromkeys(request.job_id() for request in wanted))
        for job_id, ended in zip(ids, self._queue.ended(ids), strict=True):
            if ended:
                self.write(job_id)

    def due(self, job_id: str) -> list[Target]:
        """The tasks that a job's result is still to be written to."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(_due(job_id)))
        return [_target(key.decode(), value.decode()) for key, value in found.items()]

    def take(self, job_id: str) -> list[Target] | None:
        """Take a waiting job out of the queue, and return the tasks that were due; None if a worker has or had it."""
        found = self._queue.take(job_id, _due(job_id))
        return None if found is None else [_target(key, value) for key, value in found.items()]

    def pending(self, requests: Sequence[TaskRequest]) -> list[bool]:
        """For each request, whether its result is still to be written."""
        with self._connection.pipeline() as pipe:
            for request in requests:
                pipe.hexists(_due(request.job_id()), Target.of(request).key)
            return [bool(found) for found in pipe.execute()]

    def wait(self, request: TaskRequest, seconds: float) -> None:
        """Until a request's result has been written, for that long at most."""
        deadline = time.monotonic() + seconds
        while self.pending([request])[0] and time.monotonic() < deadline:
            time.sleep(LOOK)

    def settle(self, job_id: str, target: Target) -> None:
        """The task needs nothing more."""
        self._connection.hdel(_due(job_id), target.key)

    def write(self, job_id: str, after: float = 0) -> None:
        """Enqueue the job that writes what is due of a result, in `after` seconds."""
        options = self._options("write", f"write result {job_id[:8]}")
        queue = self._queue.queues[Priority.STUDIO]
        if after:
            queue.enqueue_in(timedelta(seconds=after), "backend.studio_jobs.write", job_id, **options)
        else:
            queue.enqueue("backend.studio_jobs.write", job_id, **options)

    def read_later(self, project: str, tasks: Sequence[int], seconds: float, *, again: bool = False) -> None:
        """Enqueue a job that reads these tasks, a page of them at most, in `seconds` seconds."""
        options = self._options("read", f"read {len(tasks)} tasks of project {project}")
        queue = self._queue.queues[Priority.STUDIO]
        queue.enqueue_in(timedelta(seconds=seconds), "backend.studio_jobs.read", project, list(tasks), again, **options)

    def read(self, project: str, tasks: Sequence[int], *, again: bool = False) -> None:
        """Enqueue jobs that read these tasks from Label Studio, and queue those that lack a prediction.

        again: also those whose last try failed a moment ago.
        """
        for start in range(0, len(tasks), PAGE):
            ids = list(tasks[start : start + PAGE])
            digest = hashlib.sha256(json.dumps([project, ids, again]).encode()).hexdigest()[:32]
            options = self._options("read", f"read {len(ids)} tasks of project {project}")
            with suppress(DuplicateJobError):
                self._queue.queues[Priority.STUDIO].enqueue(
                    "backend.studio_jobs.read", project, ids, again, job_id=f"{READ}{digest}", unique=True, **options
                )

    def meet_project(self, project: str) -> None:
        """A project has connected this backend."""
        self._connection.sadd(PROJECTS, project)

    def knows_project(self, project: str) -> bool:
        """Whether a project has connected this backend."""
        return bool(self._connection.sismember(PROJECTS, project))

    def _options(self, kind: str, description: str) -> dict[str, Any]:
        delays = list(self._settings.write_delays)
        return {
            "job_timeout": self._settings.job_timeout,
            "result_ttl": 0,
            "failure_ttl": 1,  # the list of failures tells more, and the same may be asked for again
            "retry": Retry(max=len(delays), interval=delays) if delays else None,
            "on_failure": Callback(f"backend.studio_jobs.on_{kind}_failure"),
            "description": description,
        }


def _target(key: str, value: str) -> Target:
    project, task = key.split("/")
    return Target(project, task, value == "replace")


def _due(job_id: str) -> str:
    return f"refam:due:{job_id}"

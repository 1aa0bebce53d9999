"""How much waits and runs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from rq.job import Job

from backend.queue.keyspace import Keyspace
from backend.queue.priorities import Priority, open_queues
from backend.settings import Settings

__all__ = ["Backlog", "JobInfo"]


@dataclass(frozen=True)
class JobInfo:
    """A job that has not ended. since: when it was queued or started, ISO 8601.

    project, task: None where it is no task's prediction.
    """

    queue: str
    description: str
    since: str
    project: str | None
    task: str | None


class Backlog:
    """Looks at the queues, and changes nothing."""

    def __init__(self, keyspace: Keyspace, settings: Settings) -> None:
        self._connection = keyspace.connection
        self._settings = settings
        self._queues = open_queues(keyspace)

    def running(self) -> list[JobInfo]:
        """The jobs that workers run."""
        found = [
            (priority, job_id)
            for priority, queue in self._queues.items()
            for job_id in queue.started_job_registry.get_job_ids(cleanup=False)
        ]
        return self._infos(found, "started_at")

    def next_in_line(self, count: int) -> list[JobInfo]:
        """The first `count` jobs that wait: of each queue those that are ready, then those to be tried again."""
        found: list[tuple[Priority, str]] = []
        for priority, queue in self._queues.items():
            retrying = queue.scheduled_job_registry.get_job_ids(0, count - 1, cleanup=False)
            found += [(priority, job_id) for job_id in queue.get_job_ids(0, count) + retrying]
        return self._infos(found[:count], "enqueued_at")

    def waiting(self, priority: Priority) -> int:
        """How many jobs of a queue wait for a worker."""
        return self._queues[priority].count

    def depths(self) -> dict[str, dict[str, int]]:
        """For each queue: jobs waiting, running, and waiting for a further try."""
        return {
            priority: {
                "waiting": queue.count,
                "running": queue.started_job_registry.get_job_count(cleanup=False),
                "retrying": queue.scheduled_job_registry.get_job_count(cleanup=False),
            }
            for priority, queue in self._queues.items()
        }

    def memory(self) -> int:
        """Bytes in use by Redis."""
        return int(self._connection.info("memory")["used_memory"])

    def is_full(self, priority: Priority = Priority.BATCH) -> bool:
        """Whether no further tasks of a priority should be queued for now."""
        settings = self._settings
        return self.waiting(priority) >= settings.max_queued or self.memory() >= settings.redis_max_bytes

    def _infos(self, jobs: Iterable[tuple[Priority, str]], since: str) -> list[JobInfo]:
        """Only a few fields are read: a job's arguments may hold a whole image."""
        jobs = list(jobs)
        with self._connection.pipeline() as pipe:
            for _, job_id in jobs:
                pipe.hmget(Job.key_for(job_id), ["description", since, "meta"])
            contents = pipe.execute()
        infos = []
        for (priority, _), (description, moment, meta) in zip(jobs, contents, strict=True):
            if description is None:  # it has ended meanwhile
                continue
            about = json.loads(meta) if meta else {}
            infos.append(
                JobInfo(
                    str(priority),
                    description.decode(),
                    (moment or b"").decode(),
                    about.get("project"),
                    about.get("task"),
                )
            )
        return infos

"""What waits under the names of release 0.1, which hold no Label Studio.

Nobody can tell from these names whose tasks they are, so nobody runs them. A backend takes over those that its own
Label Studio knows with the same data (backend.worker.adoption); the others stay, and are listed.

Keys of release 0.1:
    rq:queue:refam-interactive, -studio, -batch, and RQ's registries of these queues
    refam:due:<job>     hash: project/task -> "replace" or "". Tasks that the job's result is for

Key of this release:
    refam:left-by-0.1   hash: project -> tasks that wait, as a worker counted them last: looking takes a while
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job

from backend.json_bytes import JSONBytes

__all__ = ["OldTask", "OldTasks"]

QUEUES = ("refam-interactive", "refam-studio", "refam-batch")
DUE = "refam:due:"
LEFT = "refam:left-by-0.1"
FETCH = "read-"  # ids of the jobs that fetch tasks begin with it


@dataclass(frozen=True)
class OldTask:
    """A task that 0.1 owes a prediction. image, texts: what it was asked; None where nobody knows any more."""

    project: str
    task: str
    job: str
    image: str | None
    texts: tuple[str, ...]


class OldTasks:
    """Looks at what 0.1 left, and takes single tasks out of it."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection

    def due(self) -> Iterator[OldTask]:
        """Tasks whose prediction is due."""
        for key in self._connection.scan_iter(f"{DUE}*", 1000):
            job_id = key.decode().removeprefix(DUE)
            content = self._content(job_id)
            texts = tuple(str(entry["text"]) for entry in content.get("expressions", []))
            for target in cast(dict[bytes, bytes], self._connection.hgetall(key)):
                project, _, task = target.decode().partition("/")
                yield OldTask(project, task, job_id, content.get("image"), texts)

    def take(self, old: OldTask) -> None:
        """It is seen to elsewhere. A job that is due for no task any more goes, too."""
        self._connection.hdel(f"{DUE}{old.job}", f"{old.project}/{old.task}")
        if not self._connection.exists(f"{DUE}{old.job}"):
            with self._connection.pipeline() as pipe:
                for queue in self._queues():
                    pipe.lrem(queue.key, 0, old.job)
                    pipe.zrem(queue.scheduled_job_registry.key, old.job)
                pipe.delete(Job.key_for(old.job))
                pipe.execute()

    def left(self) -> Counter[str]:
        """How many tasks wait in each project: those whose prediction is due, and those that were to be fetched."""
        found = Counter(old.project for old in self.due())
        studio = next(queue for queue in self._queues() if queue.name.endswith("studio"))
        ids = [*studio.get_job_ids(), *studio.scheduled_job_registry.get_job_ids(cleanup=False)]
        for job in Job.fetch_many([each for each in ids if each.startswith(FETCH)], self._connection, JSONBytes):
            if job:
                project, tasks, *_ = job.args
                found[str(project)] += len(tasks)
        return found

    def count(self) -> Counter[str]:
        """As `left`, and note it for `counted`."""
        found = self.left()
        with self._connection.pipeline() as pipe:
            pipe.delete(LEFT)
            for project, number in found.items():
                pipe.hset(LEFT, project, number)
            pipe.execute()
        return found

    def counted(self) -> dict[str, int]:
        """What `count` found last."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(LEFT))
        return {project.decode(): int(number) for project, number in found.items()}

    def _queues(self) -> list[Queue]:
        return [Queue(name, connection=self._connection, serializer=JSONBytes) for name in QUEUES]

    def _content(self, job_id: str) -> dict[str, Any]:
        """What a job was asked; nothing if it has expired."""
        try:
            return dict(Job.fetch(job_id, self._connection, JSONBytes).args[0])
        except (NoSuchJobError, IndexError, TypeError, ValueError):
            return {}

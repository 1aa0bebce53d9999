"""Retry failed tasks and cancel waiting ones: the status page's buttons, `refam-backend retry` and `cancel`."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from rq.job import Job
from rq.serializers import JSONSerializer

from backend.delivery.outbox import READ, Outbox
from backend.errors import SettingsError, TaskError
from backend.label_studio.request import is_number
from backend.queue.job_queue import JobQueue, Outcome, Priority
from backend.settings import Settings

__all__ = ["CANCELLED", "Control"]

CANCELLED = TaskError("job", "cancelled.", "Retry it, or ask for the task again.")
CHUNK = 100  # tasks that are settled at once


@dataclass(frozen=True)
class Control:
    """Acts on the tasks of one project, or on one of them."""

    queue: JobQueue
    outbox: Outbox
    settings: Settings

    def retry(self, project: str | None = None, task: str | None = None) -> int:
        """Have failed tasks done again: all, those of a project, or one. Returns how many.

        The workers read them from Label Studio anew. They stay on the list of failures until they end otherwise.
        Raises SettingsError without Label Studio's address and token.
        """
        if not self.settings.writes_back:
            raise SettingsError(
                "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY to retry tasks from here. "
                "Without them, choose Retrieve predictions in Label Studio."
            )
        chosen: dict[str, list[int]] = defaultdict(list)
        for entry in self.queue.failures.newest():
            wanted = project in (None, entry["project"]) and task in (None, entry["task"])
            if wanted and is_number(entry["project"]) and is_number(entry["task"]):
                chosen[entry["project"]].append(int(entry["task"]))
        for name, tasks in chosen.items():
            self.outbox.read(name, sorted(tasks), again=True)
        return sum(map(len, chosen.values()))

    def cancel(self, project: str, task: str | None = None) -> int:
        """Cancel a project's waiting tasks, or one of them. Returns how many; what runs already is finished.

        They are listed as failures. Tasks that waited for the same job and are not cancelled are read anew.
        """
        cancelled, number = self._take(project, task), 0
        while some := list(islice(cancelled, CHUNK)):
            self.queue.progress.forget(project, some)  # or they would count as work that went fast
            self.queue.settle((project, name, Outcome(failure=CANCELLED.as_json())) for name in some)
            number += len(some)
        return number

    def _take(self, project: str, task: str | None) -> Iterator[str]:
        """Take jobs out of the queue; yields the tasks that have lost theirs and do not get it back."""
        tasks: dict[str, set[str]] = defaultdict(set)
        if task is None:
            for waiting, job_id in self.queue.progress.waiting(project):
                tasks[job_id].add(waiting)
        elif job := self.queue.progress.job(project, task):
            tasks[job].add(task)
        for job_id, names in tasks.items():
            due = self.outbox.take(job_id)
            if due is not None:
                yield from names
                for target in due:
                    if target.project != project or target.task not in names:
                        self.outbox.read(target.project, [int(target.task)])
        if task is None:
            yield from self._take_announced(project)

    def _take_announced(self, project: str) -> Iterator[str]:
        """Take the jobs that would read tasks of a project out of the queue; yields these tasks."""
        studio = self.queue.queues[Priority.STUDIO]
        waiting = [*studio.get_job_ids(), *studio.scheduled_job_registry.get_job_ids(cleanup=False)]
        reads = [job_id for job_id in waiting if job_id.startswith(READ)]
        for job in Job.fetch_many(reads, self.queue.connection, JSONSerializer):
            if job and job.args[0] == project and self.outbox.take(job.id) is not None:
                yield from map(str, job.args[1])

"""Retry failed tasks and cancel waiting ones: the status page's buttons, `refam-backend retry` and `cancel`."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

from backend.delivery.outbox import Outbox
from backend.delivery.schedule import Schedule
from backend.errors import TaskError
from backend.label_studio.numbers import is_number
from backend.queue.failures import reason_of
from backend.queue.outcome import Outcome
from backend.queue.shared_state import SharedState
from backend.queue.task_ledger import TaskLedger
from backend.settings import Settings

__all__ = ["CANCELLED", "Control"]

CANCELLED = TaskError("job", "cancelled.", "Retry it, or ask for the task again.")
CHUNK = 100  # tasks that are ended at once


@dataclass(frozen=True)
class Control:
    """Acts on the tasks of one project, or on one of them."""

    ledger: TaskLedger
    outbox: Outbox
    schedule: Schedule
    settings: Settings

    @classmethod
    def over(cls, shared: SharedState, settings: Settings) -> Self:
        """What acts on all that is behind a connection."""
        return cls(shared.ledger, Outbox(shared.keyspace, shared.jobs), Schedule(shared.jobs), settings)

    def retry(self, project: str | None = None, task: str | None = None, reason: str | None = None) -> int:
        """Have failed tasks done again: all, those of a project, one, or those of a reason. Returns how many.

        The workers fetch them from Label Studio anew. They stay on the list of failures until they end otherwise.
        Raises SettingsError without Label Studio's address and token.
        """
        self.settings.require_label_studio(
            "to retry tasks from here. Without them, choose Retrieve predictions in Label Studio"
        )
        chosen: dict[str, list[int]] = defaultdict(list)
        for entry in self.ledger.failures.newest():
            wanted = project in (None, entry["project"]) and task in (None, entry["task"])
            wanted = wanted and reason in (None, reason_of(entry))
            if wanted and is_number(entry["project"]) and is_number(entry["task"]):
                chosen[entry["project"]].append(int(entry["task"]))
        for name, tasks in chosen.items():
            self.schedule.schedule_fetch(name, sorted(tasks), again=True)
        return sum(map(len, chosen.values()))

    def cancel(self, project: str, task: str | None = None) -> int:
        """Cancel a project's waiting tasks, or one of them. Returns how many; what runs already is finished.

        They are listed as failures. Tasks that waited for the same job and are not cancelled are fetched anew.
        """
        cancelled, number = self._withdraw(project, task), 0
        while some := list(islice(cancelled, CHUNK)):
            self.ledger.progress.forget(project, some)  # or they would count as work that went fast
            self.ledger.end((project, name, Outcome(failure=CANCELLED.as_json())) for name in some)
            number += len(some)
        return number

    def _withdraw(self, project: str, task: str | None) -> Iterator[str]:
        """Withdraw jobs; yields the tasks that have lost theirs and do not get it back."""
        tasks: dict[str, set[str]] = defaultdict(set)
        if task is None:
            for waiting, job_id in self.ledger.progress.waiting(project):
                tasks[job_id].add(waiting)
        elif job := self.ledger.progress.job(project, task):
            tasks[job].add(task)
        for job_id, names in tasks.items():
            due = self.outbox.withdraw(job_id)
            if due is not None:
                yield from names
                for target in due:
                    if target.project != project or target.task not in names:
                        self.schedule.schedule_fetch(target.project, [int(target.task)])
        if task is None:
            for job_id, announced in self.schedule.announced(project):
                if self.outbox.withdraw(job_id) is not None:
                    yield from map(str, announced)

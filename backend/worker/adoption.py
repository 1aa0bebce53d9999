"""The job that takes over what release 0.1 left in Redis: see backend.queue.release_0_1."""

import logging
from collections import defaultdict

from rq.job import Job

from backend.delivery.desk import Desk
from backend.errors import LabelConfigError, RefusedError, TaskError
from backend.label_studio.client import PAGE
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.release_0_1 import OldTask, OldTasks

__all__ = ["AdoptTasks"]

logger = logging.getLogger(__name__)

LATER = 60.0  # seconds between two looks while workers of 0.1 run: they see to it themselves


class AdoptTasks:
    """Does the jobs called JobName.ADOPT_TASKS."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._old = OldTasks(desk.shared.keyspace.connection)

    def run(self) -> None:
        """Have those tasks fetched that Label Studio knows with the data that 0.1 saw. The others stay."""
        if self._desk.shared.fleet.workers_of_0_1():
            self._desk.schedule.schedule_adoption(after=LATER)
            return
        projects: dict[str, list[OldTask]] = defaultdict(list)
        for old in self._old.due():
            projects[old.project].append(old)
        for project, tasks in projects.items():
            try:
                config = self._desk.label_config(project)
            except (RefusedError, LabelConfigError):
                continue
            for start in range(0, len(tasks), PAGE):
                self._adopt(project, tasks[start : start + PAGE], config)
        self._old.count()

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`. Nothing is lost: the next worker that starts looks again."""
        logger.warning("Tasks of release 0.1 are not taken over yet: %s", error)

    def _adopt(self, project: str, tasks: list[OldTask], config: LabelConfig) -> None:
        known = {
            str(task["id"]): task for task in self._desk.studio.tasks(project, ids=[int(old.task) for old in tasks])
        }
        ours = []
        for old in tasks:
            try:
                same = old.task in known and _same(
                    old, read_task(known[old.task], config, self._desk.settings, project)
                )
            except TaskError:
                same = False
            if same:
                ours.append(old)
        self._desk.schedule.schedule_fetch(project, sorted({int(old.task) for old in ours}))
        for old in ours:
            self._old.take(old)
        logger.info("%d tasks of project %s are taken over from release 0.1.", len(ours), project)


def _same(old: OldTask, request: TaskRequest | None) -> bool:
    """Whether a task asks today what it asked 0.1."""
    if request is None:
        return False
    texts = tuple(expression.text for expression in request.expressions)
    return ([page.image for page in request.pages], texts) == ([old.image], old.texts)

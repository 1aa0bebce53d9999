"""The jobs that read from Label Studio: fetch tasks that are new, look for outdated and repeated predictions."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rq.exceptions import AbandonedJobError
from rq.job import Job

from backend.delivery.desk import Desk
from backend.errors import BackendError, LabelConfigError, RefusedError, TaskError
from backend.label_studio.client import PAGE
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.region_ids import question_mark
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.outcome import Outcome

__all__ = ["FetchTasks", "LookAgain", "LookThrough", "read_or_write_failure"]

logger = logging.getLogger(__name__)

REST = 6.0  # seconds for each page until a project is looked through again unasked: a large one takes a while


class FetchTasks:
    """Does the jobs called JobName.FETCH_TASKS."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, project: str, ids: list[int], again: bool = False, hint: bool = False) -> None:
        """Fetch tasks and queue those without a prediction. What Label Studio does not know has failed.

        While the queue is full, the tasks' numbers wait, which take a few bytes each.
        again: also what failed a moment ago.
        hint: nobody with a password asked for them: what Label Studio does not know is left out, or a stranger could
            fill the list of failures.
        """
        desk, ledger = self._desk, self._desk.shared.ledger
        if desk.shared.backlog.is_full():
            desk.schedule.schedule_fetch(project, ids, again=again, hint=hint, after=desk.timings.full)
            return
        tasks = desk.studio.tasks(project, ids=ids)
        known = {task["id"] for task in tasks}
        try:
            config = desk.label_config(project)
        except (RefusedError, LabelConfigError) as error:
            failed = known if hint else ids
            ledger.end([(project, str(task), Outcome(failure=error.as_json())) for task in failed])
            return
        for number in sorted(set(ids) - known):
            unknown = desk.studio.unknown_task(project, str(number))
            if hint:
                logger.warning("A webhook announced tasks that are not there, such as this one: %s", unknown)
                break
            desk.fail(project, number, unknown)
        lacking, unread, errors = [], [], []
        for task in tasks:
            try:
                request = read_task(task, config, desk.settings, project)
            except TaskError as error:
                desk.fail(project, task["id"], error)
                continue
            try:
                if request and desk.lacks_prediction(task, request):
                    lacking.append(request)
                else:
                    ledger.end([(project, str(task["id"]), Outcome())])
            except BackendError as error:
                unread.append(task["id"])
                errors.append(error)
        desk.queue(lacking, again=again)
        if unread and len(unread) == len(ids):
            raise errors[0]
        if unread:  # these alone are fetched again, so that a page gets done however many requests fail
            desk.schedule.schedule_fetch(project, unread, again=again, hint=hint, after=desk.timings.soon)

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`. Records the last one for all its tasks; a hint is followed again, after
        a while."""
        if job.should_retry:
            return
        project, ids, again, hint = (*job.args, False, False)[:4]
        if hint:
            after = max(self._desk.settings.write_delays, default=self._desk.timings.full)
            self._desk.schedule.schedule_fetch(project, ids, again=again, hint=True, after=after)
            return
        failure = read_or_write_failure(kind, error, "read from Label Studio")
        self._desk.shared.ledger.end([(project, str(task), failure) for task in ids])


class LookThrough:
    """Does the jobs called JobName.LOOK_THROUGH."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, project: str, page: int, most: int) -> None:
        """Queue the tasks of a page whose prediction answers what they asked before, and go on with the next page."""
        desk = self._desk
        config = desk.label_config(project)
        tasks = desk.studio.tasks(project, page)
        outdated = [
            request for task, request in self._suspects(project, tasks, config) if desk.is_outdated(task, request)
        ]
        desk.queue(outdated)
        desk.answered.found(project, len(outdated), anew=page == 1)
        if len(tasks) == PAGE and page < most:
            desk.schedule.schedule_look(project, page=page + 1, most=most)
        else:
            desk.answered.rest(project, REST * page)

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`. The next look finds what this one did not."""
        logger.warning("Project %s is not looked through: %s", job.args[0], error)

    def _suspects(
        self, project: str, tasks: Sequence[Mapping[str, Any]], config: LabelConfig
    ) -> Iterator[tuple[Mapping[str, Any], TaskRequest]]:
        """Tasks that ask something else than what their prediction is known to answer. What cannot be used is left out:
        the reason was said when it was asked for."""
        marks = self._desk.answered.marks(project, [str(task["id"]) for task in tasks])
        for task, mark in zip(tasks, marks, strict=True):
            if mark:
                try:
                    request = read_task(task, config, self._desk.settings, project)
                except TaskError:
                    continue
                if request and question_mark(request) != mark:
                    yield task, request


class LookAgain:
    """Does the jobs called JobName.LOOK_AGAIN."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self) -> None:
        """Look once more at tasks whose claims have ended, and delete what is stored twice: a request may be carried
        out late, or twice, when nobody is left who would see it."""
        desk, now = self._desk, time.time()
        while targets := desk.claims.ended(now, PAGE):
            projects: dict[str, list[int]] = {}
            for target in targets:
                projects.setdefault(target.project, []).append(int(target.task))
            for project, ids in projects.items():
                try:
                    self._look(project, ids)
                except TaskError as error:  # no other project shall wait for one that cannot be read
                    logger.warning("Tasks of project %s are not looked at again: %s", project, error)
            desk.claims.looked_at(targets, now)

    def _look(self, project: str, ids: list[int]) -> None:
        for task in self._desk.studio.tasks(project, ids=ids):
            if task["total_predictions"] > 1:
                self._desk.delete_repeats(str(task["id"]))

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`. The tasks stay noted: the job is scheduled again and again."""
        logger.warning("Tasks are not looked at again yet: %s", error)


def read_or_write_failure(kind: type[BaseException], error: BaseException, what: str) -> Outcome:
    """How tasks end whose job failed for good. what: that could not be done."""
    reason = str(error) if isinstance(error, BackendError) else f"{kind.__name__}."
    if kind is AbandonedJobError:
        reason = "its worker died again and again."
    logger.warning("Not %s: %s", what, reason)
    remedy = "Once Label Studio answers, ask for the task again: its result is kept for REFAM_BACKEND_RESULT_TTL."
    return Outcome(failure=TaskError("label_studio", f"it could not be {what}: {reason}", remedy).as_json())

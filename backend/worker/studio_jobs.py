"""The jobs that talk to Label Studio: fetch tasks that are new, and post predictions."""

import logging

from rq.exceptions import AbandonedJobError
from rq.job import Job

from backend.delivery.desk import Desk
from backend.errors import BackendError, LabelConfigError, RefusedError, TaskError
from backend.label_studio.label_config import read_label_config
from backend.queue.outcome import Outcome

__all__ = ["FetchTasks", "PostPrediction"]

logger = logging.getLogger(__name__)


class PostPrediction:
    """Does the jobs called JobName.POST_PREDICTION."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, job_id: str) -> None:
        """Post a result to the tasks that it is due for. Tasks whose delivery fails do not hinder the others."""
        desk = self._desk
        try:
            outcome = desk.shared.jobs.outcome(job_id)
        except LookupError:
            self._start_over(job_id)
            return
        if outcome is None:  # its worker is about to say so
            desk.schedule.schedule_post(job_id, after=desk.timings.soon)
            return
        waits, errors = [], []
        for target in desk.outbox.due(job_id):
            try:
                ended = outcome
                if outcome.prediction is not None and (wait := desk.deliver(target, outcome.prediction)):
                    waits.append(wait)
                    continue
            except RefusedError as error:
                ended = Outcome(failure=error.as_json())
            except BackendError as error:
                errors.append(error)
                continue
            desk.shared.ledger.end([(target.project, target.task, ended)])
            desk.outbox.remove(job_id, target)
        if waits:
            desk.schedule.schedule_post(job_id, after=min(waits))
        if errors:
            raise errors[0]
        if outcome.prediction and not waits:
            desk.shared.jobs.keep_for(job_id, desk.settings.delivered_ttl)

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`. Records the last one for all tasks that are still due."""
        if job.should_retry:
            return
        desk, (job_id,) = self._desk, job.args
        for target in desk.outbox.due(job_id):
            desk.shared.ledger.end([(target.project, target.task, _failure(kind, error, "written to Label Studio"))])
            desk.outbox.remove(job_id, target)

    def _start_over(self, job_id: str) -> None:
        """See to tasks whose result expired before it was posted, from the beginning."""
        for target in self._desk.outbox.due(job_id):
            self._desk.schedule.schedule_fetch(target.project, [int(target.task)])
            self._desk.outbox.remove(job_id, target)


class FetchTasks:
    """Does the jobs called JobName.FETCH_TASKS."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, project: str, ids: list[int], again: bool = False) -> None:
        """Fetch tasks and queue those without a prediction. What Label Studio does not know is left out.

        While the queue is full, the tasks' numbers wait, which take a few bytes each.
        again: also what failed a moment ago.
        """
        desk, ledger = self._desk, self._desk.shared.ledger
        if desk.shared.backlog.is_full():
            desk.schedule.schedule_fetch(project, ids, again=again, after=desk.timings.full)
            return
        try:
            config = desk.studio.project(project)["label_config"]
            read_label_config(config)
        except (RefusedError, LabelConfigError) as error:
            ledger.end([(project, str(task), Outcome(failure=error.as_json())) for task in ids])
            return
        lacking, unknown, errors = [], [], []
        for task in desk.studio.tasks(project, ids=ids):
            try:
                if desk.lacks_prediction(task):
                    lacking.append(task)
            except BackendError as error:
                unknown.append(task["id"])
                errors.append(error)
        desk.queue_tasks(project, config, lacking, again=again)
        needless = set(ids) - {task["id"] for task in lacking} - set(unknown)
        ledger.end((project, str(task), Outcome()) for task in needless)
        if unknown and len(unknown) == len(ids):
            raise errors[0]
        if unknown:  # these alone are fetched again, so that a page gets done however many requests fail
            desk.schedule.schedule_fetch(project, unknown, again=again, after=desk.timings.soon)

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`. Records the last one for all its tasks."""
        if job.should_retry:
            return
        project, ids, *_ = job.args
        failure = _failure(kind, error, "read from Label Studio")
        self._desk.shared.ledger.end([(project, str(task), failure) for task in ids])


def _failure(kind: type[BaseException], error: BaseException, what: str) -> Outcome:
    reason = str(error) if isinstance(error, BackendError) else f"{kind.__name__}."
    if kind is AbandonedJobError:
        reason = "its worker died again and again."
    logger.warning("Not %s: %s", what, reason)
    remedy = "Once Label Studio answers, ask for the task again: its result is kept for REFAM_BACKEND_RESULT_TTL."
    return Outcome(failure=TaskError("label_studio", f"it could not be {what}: {reason}", remedy).as_json())

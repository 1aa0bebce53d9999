"""Jobs that talk to Label Studio: write results, and read tasks that are new. Run in the worker."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from redis import Redis
from rq.exceptions import AbandonedJobError
from rq.job import Job

from backend.delivery.desk import SOON, Desk
from backend.errors import BackendError, LabelConfigError, RefusedError, TaskError
from backend.label_studio.label_config import read_label_config
from backend.queue.job_queue import Outcome

__all__ = ["on_read_failure", "on_write_failure", "read", "serving_studio", "write"]

logger = logging.getLogger(__name__)

FULL_SECONDS = 10  # between two looks at a queue that is full

_desk: ContextVar[Desk] = ContextVar("desk")


@contextmanager
def serving_studio(desk: Desk) -> Iterator[None]:
    """While this lasts, jobs of this process use `desk`."""
    token = _desk.set(desk)
    try:
        yield
    finally:
        _desk.reset(token)


def write(job_id: str) -> None:
    """Job: write a result to the tasks that it is due for. Tasks whose delivery fails do not hinder the others."""
    desk = _desk.get()
    try:
        outcome = desk.queue.outcome(job_id)
    except LookupError:
        _start_over(desk, job_id)
        return
    if outcome is None:  # its worker is about to say so
        desk.outbox.write(job_id, after=SOON)
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
        desk.queue.settle([(target.project, target.task, ended)])
        desk.outbox.settle(job_id, target)
    if waits:
        desk.outbox.write(job_id, after=min(waits))
    if errors:
        raise errors[0]
    if outcome.prediction and not waits:
        desk.queue.expire(job_id, desk.settings.delivered_ttl)


def _start_over(desk: Desk, job_id: str) -> None:
    """See to tasks whose result expired before it was written, from the beginning."""
    for target in desk.outbox.due(job_id):
        desk.outbox.read(target.project, [int(target.task)])
        desk.outbox.settle(job_id, target)


def read(project: str, ids: list[int], again: bool = False) -> None:
    """Job: read tasks and queue those without a prediction. What Label Studio does not know is left out.

    While the queue is full, the tasks' numbers wait, which take a few bytes each.
    again: also what failed a moment ago.
    """
    desk = _desk.get()
    if desk.queue.is_full():
        desk.outbox.read_later(project, ids, FULL_SECONDS, again=again)
        return
    try:
        config = desk.studio.project(project)["label_config"]
        read_label_config(config)
    except (RefusedError, LabelConfigError) as error:
        desk.queue.settle([(project, str(task), Outcome(failure=error.as_json())) for task in ids])
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
    desk.queue.settle((project, str(task), Outcome()) for task in needless)
    if unknown and len(unknown) == len(ids):
        raise errors[0]
    if unknown:  # these alone are read again, so that a page gets done however many requests fail
        desk.outbox.read_later(project, unknown, SOON, again=again)


def on_write_failure(
    job: Job, connection: Redis, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Called by RQ after each exception of `write`. Records the last one for all tasks that are still due."""
    if job.should_retry:
        return
    desk, (job_id,) = _desk.get(), job.args
    for target in desk.outbox.due(job_id):
        desk.queue.settle([(target.project, target.task, _failure(kind, error, "written to Label Studio"))])
        desk.outbox.settle(job_id, target)


def on_read_failure(
    job: Job, connection: Redis, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Called by RQ after each exception of `read`. Records the last one for all its tasks."""
    if job.should_retry:
        return
    project, ids, *_ = job.args
    failure = _failure(kind, error, "read from Label Studio")
    _desk.get().queue.settle([(project, str(task), failure) for task in ids])


def _failure(kind: type[BaseException], error: BaseException, what: str) -> Outcome:
    reason = str(error) if isinstance(error, BackendError) else f"{kind.__name__}."
    if kind is AbandonedJobError:
        reason = "its worker died again and again."
    logger.warning("Not %s: %s", what, reason)
    remedy = "Once Label Studio answers, ask for the task again: its result is kept for REFAM_BACKEND_RESULT_TTL."
    return Outcome(failure=TaskError("label_studio", f"it could not be {what}: {reason}", remedy).as_json())

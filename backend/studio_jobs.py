"""Jobs that talk to Label Studio: write results, and read tasks that are new. Run in the worker."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from redis import Redis
from rq.exceptions import AbandonedJobError
from rq.job import Job

from backend.errors import BackendError, LabelConfigError, RefusedError, TaskError, TemporaryError
from backend.labels import TaskRequest, read_label_config
from backend.outbox import Claim, Outbox, Target
from backend.queue import JobQueue, Outcome, Priority
from backend.settings import Settings
from backend.studio import Studio

__all__ = ["Desk", "on_read_failure", "on_write_failure", "read", "serving_studio", "write"]

logger = logging.getLogger(__name__)

DELIVERY_SECONDS = 60  # how long a claim covers one write, whose requests time out sooner
LATEST_WRITE = 20  # seconds after the claim; whoever was held up longer leaves it to others
UNSURE_SECONDS = 60  # after a write without an answer, which Label Studio may still carry out
SOON = 1  # seconds
FULL_SECONDS = 10  # between two looks at a queue that is full
OWN_VERSIONS = "refam-"


@dataclass(frozen=True)
class Desk:
    """Queue, outbox and Label Studio, as these jobs and `prelabel` use them together."""

    queue: JobQueue
    outbox: Outbox
    studio: Studio
    settings: Settings

    @classmethod
    def open(cls, queue: JobQueue, studio: Studio, settings: Settings) -> "Desk":
        """A desk with an outbox of its own."""
        return cls(queue, Outbox(queue, settings), studio, settings)

    def lacks_prediction(self, task: Mapping[str, Any]) -> bool:
        """Whether a task, as Studio.tasks gives it, has no prediction of this model version yet."""
        if not task.get("total_predictions"):
            return True
        return not _holds(self.studio.predictions(str(task["id"])), self.settings.model_version)

    def queue_tasks(
        self,
        project: str,
        config: str,
        tasks: Sequence[Mapping[str, Any]],
        *,
        replace: bool = False,
        again: bool = False,
    ) -> list[TaskRequest]:
        """Queue tasks and have their predictions written. Returns the requests; bad tasks are listed as failures.

        replace: delete RefAM's predictions of other versions, of tasks that nobody has annotated.
        again: also what failed a moment ago.
        """
        layout, requests, failed = read_label_config(config), [], []
        for task in tasks:
            try:
                requests.append(layout.request(task, self.settings, project))
            except TaskError as error:
                failed.append((project, str(task["id"]), Outcome(failure=error.as_json())))
        requests.sort(key=lambda request: request.image)  # an image that is asked about again is still in memory
        self.queue.settle(failed)
        self.queue.submit(requests, Priority.BATCH, again=again)
        self.outbox.add(requests, replace=replace)
        return requests

    def deliver(self, target: Target, prediction: Mapping[str, Any]) -> float:
        """Store a prediction, unless Label Studio holds it. Returns 0, or in how many seconds to come back.

        Raises RefusedError if Label Studio never takes it, and otherwise what Studio raises.
        """
        version = prediction["model_version"]
        start = time.monotonic()
        (claim,) = self.outbox.claim([target], version, DELIVERY_SECONDS)
        own = [claim] if claim else []
        try:
            stored = self.studio.predictions(target.task)
        except BackendError:
            self.outbox.release(own)
            raise
        if _holds(stored, version):
            self.outbox.release(own)
        elif claim is None or time.monotonic() - start > LATEST_WRITE:
            return max(self.outbox.claimed_for(target, version), SOON)
        elif not self._write(claim, target, prediction):
            stored = self.studio.predictions(target.task)
        self._delete_surplus(stored, version)
        if target.replace and not self.studio.has_annotations(target.task):
            for old in stored:
                if str(old["model_version"]).startswith(OWN_VERSIONS) and old["model_version"] != version:
                    self.studio.delete_prediction(old["id"])
        return 0

    def _write(self, claim: Claim, target: Target, prediction: Mapping[str, Any]) -> bool:
        """Store a prediction. Returns whether nobody else can have stored one meanwhile."""
        try:
            self.studio.write(target.project, target.task, prediction)
        except TemporaryError:  # it may be stored yet
            self.outbox.hold(claim, UNSURE_SECONDS)
            raise
        except TaskError:  # it is not stored
            self.outbox.release([claim])
            raise
        return self.outbox.hold(claim, self.settings.claim_seconds)

    def _delete_surplus(self, stored: Sequence[Mapping[str, Any]], version: str) -> None:
        """Delete all but the first of a version: a request that was given up may have been carried out very late."""
        own = sorted(prediction["id"] for prediction in stored if prediction["model_version"] == version)
        for surplus in own[1:]:
            logger.warning("Prediction %d is stored twice; it is deleted.", surplus)
            self.studio.delete_prediction(surplus)


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


def _holds(predictions: Sequence[Mapping[str, Any]], version: str) -> bool:
    return any(prediction["model_version"] == version for prediction in predictions)

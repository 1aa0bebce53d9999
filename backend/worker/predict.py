"""The job that predicts."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from redis.client import Pipeline
from rq import get_current_job
from rq.exceptions import AbandonedJobError
from rq.job import Job
from rq.timeouts import JobTimeoutException

from backend.delivery.outbox import Outbox
from backend.delivery.schedule import Schedule
from backend.errors import RestingHostError, TaskError, TemporaryError
from backend.label_studio.region_ids import question_mark
from backend.label_studio.request import TaskRequest
from backend.queue.known_jobs import KnownJob, PutOff, Rest
from backend.queue.outcome import Outcome
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.worker.predictor import Found, Predictor
from refam.errors import DeviceBrokenError

__all__ = ["Predict"]

logger = logging.getLogger(__name__)

PATIENCE = 7200  # seconds that a task waits for a host that does not answer
OTHER_RELEASE = TaskError("job", "another release queued it, in words of its own.", "Ask for the task again.")


class Predict:
    """Does the jobs called JobName.PREDICT."""

    def __init__(self, predictor: Predictor, shared: SharedState, settings: Settings) -> None:
        self._predictor = predictor
        self._shared = shared
        self._schedule = Schedule(shared.jobs)
        self._outbox = Outbox(shared.keyspace, shared.jobs)
        self._settings = settings

    def run(self, content: dict[str, Any]) -> Rest | PutOff | dict[str, Any]:
        """Find the masks that a request asks for; the rest makes a prediction of them. The answer is an Outcome as a
        dict; bad input is an outcome, too, and is not tried again. Raises TemporaryError where trying again may help.
        """
        job, request = get_current_job(), _read(content)
        if job is None or request is None:
            return self._start_over(job).as_json()
        try:
            found = self._predictor.find(request)
        except TaskError as error:
            return Rest(partial(self._refuse, job, request, error))
        except RestingHostError as error:
            if cast(KnownJob, job).seconds_put_off < PATIENCE:
                return PutOff(error.seconds)
            silent = f"its host {error.host} has not answered for {PATIENCE // 3600} hours."
            refusal = TaskError(request.image_field, silent, "Ask for the task again once it does.")
            return Rest(partial(self._refuse, job, request, refusal))
        return Rest(partial(self._draw, job, request, found, self._predictor.newly_computed()))

    def _draw(
        self, job: Job, request: TaskRequest, found: Found, computed: Mapping[str, int], pipe: Pipeline
    ) -> dict[str, Any]:
        try:
            made = self._predictor.draw(found)
        except TaskError as error:
            return self._refuse(job, request, error, pipe)
        if made["result"]:
            outcome = Outcome(prediction=made)
            self._shared.counters.add(pipe, done=1, **computed)
        else:
            outcome = self._nothing(request, made)
            job.result_ttl = self._settings.failure_ttl
            self._shared.counters.add(pipe, nothing=1, **computed)
        self._note(request, outcome, pipe)
        return outcome.as_json()

    def _nothing(self, request: TaskRequest, made: dict[str, Any]) -> Outcome:
        """What a task asks for was not found."""
        message, advice = f"nothing found (score {made['score']:.2f}).", "Describe it otherwise."
        if request.looks_for_labels:
            message = f"none of the {len(request.expressions)} names found (highest score {made['score']:.2f})."
            advice = "Say otherwise in predicted_values what gets a label."
        bounded = (request.min_score, self._settings.min_score) != (None, None)
        remedy = f"{advice[:-1]}, or lower the least score." if bounded else advice
        told = TaskError(request.text_field, message, remedy, annotator=advice).as_json()
        return Outcome(
            prediction=made if self._settings.store_nothing and not request.interactive else None,
            nothing={**told, "mark": question_mark(request)},
        )

    def _refuse(self, job: Job, request: TaskRequest, error: TaskError, pipe: Pipeline) -> dict[str, Any]:
        job.result_ttl = self._settings.failure_ttl
        return self._fail(request, error, pipe).as_json()

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`, and for jobs whose worker died. Records the last one."""
        if kind is JobTimeoutException:
            job.retries_left = 0  # it would only take as long again
        if job.should_retry:
            return
        request = _read(job.args[0])
        if request is None:
            self._start_over(job)
            return
        with self._shared.connection.pipeline() as pipe:
            job.meta["failure"] = self._fail(request, _reason(kind, error, self._settings), pipe).failure
            pipe.hset(job.key, "meta", job.serializer.dumps(job.meta))
            pipe.execute()

    def _start_over(self, job: Job | None) -> Outcome:
        """See to the tasks of a job that another release queued, in words of its own, from the beginning."""
        if job:
            for target in self._outbox.due(job.id):
                self._schedule.schedule_fetch(target.project, [int(target.task)], again=True)
                self._outbox.remove(job.id, target)
        return Outcome(failure=OTHER_RELEASE.as_json())

    def _fail(self, request: TaskRequest, error: TaskError, pipe: Pipeline) -> Outcome:
        logger.warning("Task %s of project %s failed: %s", request.task, request.project, error)
        outcome = Outcome(failure=error.as_json())
        self._shared.counters.add(pipe, failed=1)
        self._note(request, outcome, pipe)
        return outcome

    def _note(self, request: TaskRequest, outcome: Outcome, pipe: Pipeline) -> None:
        """Note how the task ended, and have that brought to every task that it is due for; until the job has ended,
        tasks may be added. Of a suggestion the annotator is told, and the task itself has not ended."""
        if not request.interactive:
            self._shared.ledger.note_end([(request.project, request.task, outcome)], pipe)
            if self._settings.writes_back:
                self._schedule.schedule_post(request.job_id(), pipe=pipe)


def _read(content: Mapping[str, Any]) -> TaskRequest | None:
    """What was asked; None if another release has queued it, and this one cannot read it."""
    try:
        return TaskRequest.from_json(content)
    except (KeyError, TypeError):
        return None


def _reason(kind: type[BaseException], error: BaseException, settings: Settings) -> TaskError:
    if kind is JobTimeoutException:
        remedy = "Use a faster device, or raise REFAM_BACKEND_JOB_TIMEOUT."
        return TaskError("job", f"it took longer than {settings.job_timeout} s.", remedy)
    if kind is AbandonedJobError:
        return TaskError("job", "its worker died again and again.", "See the worker's log; it may lack memory.")
    if isinstance(error, DeviceBrokenError):
        message = f"the device failed each of the {len(settings.retry_delays) + 1} times that it was tried."
        return TaskError("REFAM_DEVICE", message, "See the worker's log, and `nvidia-smi`.")
    if isinstance(error, TemporaryError):
        return TaskError("image", f"{error} It was tried {len(settings.retry_delays) + 1} times.", "Try again later.")
    return TaskError("job", f"the worker failed with {kind.__name__}.", "See the worker's log.")

"""Queue, outbox, claims and Label Studio together: tasks in, predictions out, each once."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.delivery.claims import Claim, Claims, Target
from backend.delivery.outbox import Outbox
from backend.delivery.schedule import Schedule
from backend.errors import BackendError, TaskError, TemporaryError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["Desk"]

logger = logging.getLogger(__name__)

OWN_VERSIONS = "refam-"


@dataclass(frozen=True)
class Desk:
    """What the worker's jobs and `prelabel` use together to bring predictions to tasks."""

    shared: SharedState
    outbox: Outbox
    claims: Claims
    schedule: Schedule
    studio: Studio
    settings: Settings
    timings: Timings

    @classmethod
    def over(cls, shared: SharedState, studio: Studio, settings: Settings, timings: Timings | None = None) -> "Desk":
        """A desk with an outbox, claims and a schedule of its own."""
        jobs, connection = shared.jobs, shared.connection
        outbox, claims, schedule = Outbox(connection, jobs), Claims(connection), Schedule(jobs)
        return cls(shared, outbox, claims, schedule, studio, settings, timings or Timings())

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
        """Queue tasks and have their predictions posted. Returns the requests; bad tasks are listed as failures.

        replace: delete RefAM's predictions of other versions, of tasks that nobody has annotated.
        again: also what failed a moment ago.
        """
        label_config, requests, failed = read_label_config(config), [], []
        for task in tasks:
            try:
                requests.append(read_task(task, label_config, self.settings, project))
            except TaskError as error:
                failed.append((project, str(task["id"]), Outcome(failure=error.as_json())))
        requests.sort(key=lambda request: request.image)  # an image that is asked about again is still in memory
        self.shared.ledger.end(failed)
        self.shared.jobs.submit(requests, Priority.BATCH, again=again)
        self.outbox.add(requests, replace=replace)
        return requests

    def deliver(self, target: Target, prediction: Mapping[str, Any]) -> float:
        """Store a prediction, unless Label Studio holds it. Returns 0, or in how many seconds to come back.

        Raises RefusedError if Label Studio never takes it, and otherwise what Studio raises.
        """
        version = prediction["model_version"]
        start = time.monotonic()
        (claim,) = self.claims.claim([target], version, self.timings.delivery)
        own = [claim] if claim else []
        try:
            stored = self.studio.predictions(target.task)
        except BackendError:
            self.claims.release(own)
            raise
        if _holds(stored, version):
            self.claims.release(own)
        elif claim is None or time.monotonic() - start > self.timings.latest_post:
            return max(self.claims.claimed_for(target, version), self.timings.soon)
        elif not self._post(claim, target, prediction):
            stored = self.studio.predictions(target.task)
        self._delete_surplus(stored, version)
        if target.replace and not self.studio.has_annotations(target.task):
            for old in stored:
                if str(old["model_version"]).startswith(OWN_VERSIONS) and old["model_version"] != version:
                    self.studio.delete_prediction(old["id"])
        return 0

    def _post(self, claim: Claim, target: Target, prediction: Mapping[str, Any]) -> bool:
        """Store a prediction. Returns whether nobody else can have stored one meanwhile."""
        try:
            self.studio.post_prediction(target.project, target.task, prediction)
        except TemporaryError:  # it may be stored yet
            self.claims.extend(claim, self.timings.unsure)
            raise
        except TaskError:  # it is not stored
            self.claims.release([claim])
            raise
        return self.claims.extend(claim, self.settings.claim_seconds)

    def _delete_surplus(self, stored: Sequence[Mapping[str, Any]], version: str) -> None:
        """Delete all but the first of a version: a request that was given up may have been carried out very late."""
        own = sorted(prediction["id"] for prediction in stored if prediction["model_version"] == version)
        for surplus in own[1:]:
            logger.warning("Prediction %d is stored twice; it is deleted.", surplus)
            self.studio.delete_prediction(surplus)


def _holds(predictions: Sequence[Mapping[str, Any]], version: str) -> bool:
    return any(prediction["model_version"] == version for prediction in predictions)

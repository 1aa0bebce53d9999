"""Queue, outbox, claims and Label Studio together: tasks in, predictions out, each once."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.delivery.claims import Claim, Claims, Target
from backend.delivery.outbox import Outbox
from backend.errors import BackendError, TaskError, TemporaryError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import TaskRequest
from backend.queue.job_queue import JobQueue, Outcome, Priority
from backend.settings import Settings

__all__ = ["SOON", "Desk"]

logger = logging.getLogger(__name__)

DELIVERY_SECONDS = 60  # how long a claim covers one write, whose requests time out sooner
LATEST_WRITE = 20  # seconds after the claim; whoever was held up longer leaves it to others
UNSURE_SECONDS = 60  # after a write without an answer, which Label Studio may still carry out
SOON = 1  # seconds
OWN_VERSIONS = "refam-"


@dataclass(frozen=True)
class Desk:
    """Queue, outbox, claims and Label Studio, as the worker's jobs and `prelabel` use them together."""

    queue: JobQueue
    outbox: Outbox
    claims: Claims
    studio: Studio
    settings: Settings

    @classmethod
    def open(cls, queue: JobQueue, studio: Studio, settings: Settings) -> "Desk":
        """A desk with an outbox and claims of its own."""
        return cls(queue, Outbox(queue, settings), Claims(queue.connection), studio, settings)

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
        (claim,) = self.claims.claim([target], version, DELIVERY_SECONDS)
        own = [claim] if claim else []
        try:
            stored = self.studio.predictions(target.task)
        except BackendError:
            self.claims.release(own)
            raise
        if _holds(stored, version):
            self.claims.release(own)
        elif claim is None or time.monotonic() - start > LATEST_WRITE:
            return max(self.claims.claimed_for(target, version), SOON)
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
            self.claims.hold(claim, UNSURE_SECONDS)
            raise
        except TaskError:  # it is not stored
            self.claims.release([claim])
            raise
        return self.claims.hold(claim, self.settings.claim_seconds)

    def _delete_surplus(self, stored: Sequence[Mapping[str, Any]], version: str) -> None:
        """Delete all but the first of a version: a request that was given up may have been carried out very late."""
        own = sorted(prediction["id"] for prediction in stored if prediction["model_version"] == version)
        for surplus in own[1:]:
            logger.warning("Prediction %d is stored twice; it is deleted.", surplus)
            self.studio.delete_prediction(surplus)


def _holds(predictions: Sequence[Mapping[str, Any]], version: str) -> bool:
    return any(prediction["model_version"] == version for prediction in predictions)

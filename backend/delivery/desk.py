"""Queue, outbox, claims and Label Studio together: tasks in, predictions out, each once."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.delivery.answered import Answered
from backend.delivery.claims import Claim, Claims, Target
from backend.delivery.known_projects import KnownProjects
from backend.delivery.outbox import Outbox
from backend.delivery.schedule import Schedule
from backend.errors import BackendError, RefusedError, TaskError, TemporaryError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig, read_label_config
from backend.label_studio.region_ids import question_mark, question_of
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["Desk", "OutdatedError"]

logger = logging.getLogger(__name__)

OWN_VERSIONS = "refam-"


@dataclass(frozen=True)
class Desk:
    """What the worker's jobs and `prelabel` use together to bring predictions to tasks."""

    shared: SharedState
    outbox: Outbox
    answered: Answered
    claims: Claims
    schedule: Schedule
    projects: KnownProjects
    studio: Studio
    settings: Settings
    timings: Timings

    @classmethod
    def over(cls, shared: SharedState, studio: Studio, settings: Settings, timings: Timings | None = None) -> "Desk":
        """A desk with an outbox, notes, claims and a schedule of its own."""
        jobs, keyspace = shared.jobs, shared.keyspace
        outbox, answered = Outbox(keyspace, jobs), Answered(keyspace)
        claims, schedule, projects = Claims(keyspace), Schedule(jobs), KnownProjects(keyspace)
        return cls(shared, outbox, answered, claims, schedule, projects, studio, settings, timings or Timings())

    def label_config(self, project: str) -> LabelConfig:
        """A project's label config. Raises what Studio.project raises, and LabelConfigError if it cannot be used."""
        about = self.studio.project(project)
        self.projects.note_title(project, str(about.get("title") or ""))
        return read_label_config(about["label_config"])

    def lacks_prediction(self, task: Mapping[str, Any], request: TaskRequest) -> bool:
        """Whether a task, as Studio.tasks gives it, has no prediction of this model version that answers what it asks.

        Where it cannot be told what a prediction answers, it counts.
        """
        if not task.get("total_predictions"):
            return True
        stored = self.studio.predictions(str(task["id"]))
        mark = question_mark(request)
        return not _answering(stored, request.model_version, mark, nothing=self._found_nothing(request))

    def is_outdated(self, task: Mapping[str, Any], request: TaskRequest) -> bool:
        """Whether a task has predictions of this model version, and none that answers what it asks."""
        stored = self.studio.predictions(str(task["id"])) if task.get("total_predictions") else []
        of_version = _answering(stored, request.model_version, None, nothing=True)
        mark, nothing = question_mark(request), self._found_nothing(request)
        return bool(of_version) and not _answering(of_version, request.model_version, mark, nothing=nothing)

    def _found_nothing(self, request: TaskRequest) -> bool:
        """Whether an empty prediction answers a request: not if it is known to answer another question."""
        (mark,) = self.answered.marks(request.project, [request.task])
        return mark in (None, question_mark(request))

    def queue(self, requests: Sequence[TaskRequest], *, replace: bool = False, again: bool = False) -> None:
        """Queue tasks and have their predictions posted.

        replace: delete RefAM's predictions of other versions, of tasks that nobody has annotated.
        again: also what failed a moment ago.
        """
        requests = sorted(requests, key=lambda request: request.pages[0].image)  # still in memory if asked about again
        self.shared.jobs.submit(requests, Priority.BATCH, again=again)
        self.outbox.add(requests, replace=replace)

    def fail(self, project: str, task: object, error: TaskError) -> None:
        """A task cannot be used: it is listed as a failure."""
        self.shared.ledger.end([(project, str(task), Outcome(failure=error.as_json()))])

    def deliver(self, target: Target, prediction: Mapping[str, Any], mark: str | None = None) -> float:
        """Store a prediction, unless Label Studio holds it, in place of RefAM's own that answers what the task asked
        before. Returns 0, or in how many seconds to come back.

        mark: of the question that an empty prediction answers; of any other its regions tell.

        Raises OutdatedError if the task asks something else by now, RefusedError if Label Studio never takes it, and
        otherwise what Studio raises.
        """
        version, mark = prediction["model_version"], question_of(prediction) or mark
        nothing = not prediction["result"]
        start = time.monotonic()
        (claim,) = self.claims.claim([target], version, self.timings.delivery)
        own = [claim] if claim else []
        try:
            stored = self.studio.predictions(target.task)
            strict = target.replace and not self.studio.has_annotations(target.task)
            outdated = [entry for entry in stored if _is_outdated(entry, version, mark, strict, nothing)]
            if outdated and not self._still_asks(target, mark):
                raise OutdatedError(target)
        except (BackendError, OutdatedError):
            self.claims.release(own)
            raise
        if _answering(stored, version, mark, strict, nothing):
            self.claims.release(own)
        elif claim is None or time.monotonic() - start > self.timings.latest_post:
            return max(min(self.claims.claimed_for(target, version), self.timings.claimed), self.timings.soon)
        elif not self._post(claim, target, prediction):
            stored = self.studio.predictions(target.task)
        if mark:
            self.answered.note(target.project, {target.task: mark})
        self._delete_surplus(_answering(stored, version, mark, strict, nothing))
        if strict:
            outdated += [entry for entry in stored if _is_own(entry) and entry["model_version"] != version]
        for number in sorted({entry["id"] for entry in outdated}):
            self.studio.delete_prediction(number)
        return 0

    def delete_repeats(self, task: str) -> None:
        """Delete what is stored twice in a task: RefAM's own predictions of one version that answer the same."""
        alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for prediction in self.studio.predictions(task):
            mark = question_of(prediction) if prediction.get("result") else "nothing"
            if _is_own(prediction) and mark:
                alike.setdefault((str(prediction["model_version"]), mark), []).append(prediction)
        for predictions in alike.values():
            self._delete_surplus(predictions)

    def _still_asks(self, target: Target, mark: str | None) -> bool:
        """Whether a task, as Label Studio has it now, asks this question."""
        config = self.label_config(target.project)
        for task in self.studio.tasks(target.project, ids=[int(target.task)]):
            try:
                request = read_task(task, config, self.settings, target.project)
            except TaskError:
                return False
            return request is not None and question_mark(request) == mark
        raise self.studio.unknown_task(target.project, target.task)

    def _post(self, claim: Claim, target: Target, prediction: Mapping[str, Any]) -> bool:
        """Store a prediction. Returns whether nobody else can have stored one meanwhile."""
        try:
            self._store(target, prediction)
        except TemporaryError:  # it may be stored yet
            self.claims.extend(claim, self.timings.unsure)
            raise
        except TaskError:  # it is not stored
            self.claims.release([claim])
            raise
        return self.claims.extend(claim, self.settings.claim_seconds)

    def _store(self, target: Target, prediction: Mapping[str, Any]) -> None:
        try:
            self.studio.post_prediction(target.project, target.task, prediction)
        except RefusedError:
            if not self._has_labels_of_the_task(target, prediction):
                raise
            self.studio.add_prediction(target.task, prediction)

    def _has_labels_of_the_task(self, target: Target, prediction: Mapping[str, Any]) -> bool:
        """Whether a prediction fits the labels that a task itself brings (`value="$options"`)."""
        tags = {tag.name: tag for tag in self.label_config(target.project).controls if tag.labels_path}
        for task in self.studio.tasks(target.project, ids=[int(target.task)]):
            known = {name: {label.answer for label in tag.of(task["data"]).labels} for name, tag in tags.items()}
            found = [(region["from_name"], *region["value"][region["type"]]) for region in prediction["result"]]
            return bool(tags) and all(label in known.get(tag, ()) for tag, *labels in found for label in labels)
        return False

    def _delete_surplus(self, stored: Sequence[Mapping[str, Any]]) -> None:
        """Delete all but the first that answer the same: a request that was given up may have been carried out very
        late."""
        for surplus in sorted(prediction["id"] for prediction in stored)[1:]:
            logger.warning("Prediction %d is stored twice; it is deleted.", surplus)
            self.studio.delete_prediction(surplus)


class OutdatedError(Exception):
    """A task asks something else by now than what its prediction answers."""


def _answering(
    predictions: Sequence[Mapping[str, Any]],
    version: str,
    mark: str | None,
    strict: bool = False,
    nothing: bool = False,
) -> list[Mapping[str, Any]]:
    """Those of a version that answer a question."""
    return [entry for entry in predictions if entry["model_version"] == version and _fits(entry, mark, strict, nothing)]


def _fits(prediction: Mapping[str, Any], mark: str | None, strict: bool, nothing: bool) -> bool:
    """Whether a prediction answers a question. Where that cannot be told it does, unless `strict`.

    nothing: whether an empty one does, which says that nothing was found.
    """
    if not prediction.get("result"):
        return nothing
    return mark is None or question_of(prediction) in ((mark,) if strict else (mark, None))


def _is_outdated(prediction: Mapping[str, Any], version: str, mark: str | None, strict: bool, nothing: bool) -> bool:
    """Whether a prediction is RefAM's own and answers another question. An empty one of another version may answer any,
    and stays."""
    tells = bool(prediction.get("result")) or prediction["model_version"] == version
    return _is_own(prediction) and tells and not _fits(prediction, mark, strict, nothing)


def _is_own(prediction: Mapping[str, Any]) -> bool:
    return str(prediction["model_version"]).startswith(OWN_VERSIONS)

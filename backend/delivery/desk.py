"""Queue, outbox, claims and Label Studio together: tasks in, predictions out, each once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.delivery.answered import Answered
from backend.delivery.claims import Claims
from backend.delivery.known_projects import KnownProjects
from backend.delivery.outbox import Outbox
from backend.delivery.schedule import Schedule
from backend.delivery.writer import Writer, delete_surplus
from backend.errors import TaskError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig, read_label_config
from backend.label_studio.region_ids import question_mark, question_of
from backend.label_studio.request import TaskRequest
from backend.label_studio.stored_predictions import answering, is_own
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["Desk"]


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

    @property
    def writer(self) -> Writer:
        """Writes what is due."""
        return Writer(self.studio, self.claims, self.answered, self.settings, self.timings, self.label_config)

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
        return not answering(stored, request.model_version, mark, nothing=self._found_nothing(request))

    def is_outdated(self, task: Mapping[str, Any], request: TaskRequest) -> bool:
        """Whether a task has predictions of this model version, and none that answers what it asks."""
        stored = self.studio.predictions(str(task["id"])) if task.get("total_predictions") else []
        of_version = answering(stored, request.model_version, None, nothing=True)
        mark, nothing = question_mark(request), self._found_nothing(request)
        return bool(of_version) and not answering(of_version, request.model_version, mark, nothing=nothing)

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

    def delete_repeats(self, task: str) -> None:
        """Delete what is stored twice in a task: RefAM's own predictions of one version that answer the same."""
        alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for prediction in self.studio.predictions(task):
            mark = question_of(prediction) if prediction.get("result") else "nothing"
            if is_own(prediction) and mark:
                alike.setdefault((str(prediction["model_version"]), mark), []).append(prediction)
        for predictions in alike.values():
            delete_surplus(self.studio, predictions)

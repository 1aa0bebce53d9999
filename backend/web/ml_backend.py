"""The plugin: Label Studio's tasks in, predictions out."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any

from backend.delivery.claims import Claim, Claims, Target
from backend.delivery.outbox import Outbox
from backend.errors import TaskError
from backend.label_studio.interaction import read_interaction, reply_in_text
from backend.label_studio.label_config import Layout, read_label_config
from backend.label_studio.request import TaskRequest
from backend.queue.connection import connect
from backend.queue.job_queue import JobQueue, Outcome, Priority
from backend.settings import Settings, load_settings
from backend.web.ml_base import LabelStudioMLBase

__all__ = ["Answer", "RefAMBackend", "refuse"]

Prediction = dict[str, Any]
Task = Mapping[str, Any]
MANY = 200  # tasks in one request; queueing more takes longer than an answer should
ANSWERED = 30  # predictions in one answer: Label Studio stores each for 0.2 s to 1 s, and its page waits meanwhile
OPENING_SECONDS = 5  # that a task's page waits for a mask which somebody else is about to store
NOT_YET: list[Any] = []  # Label Studio stores nothing for an empty list, and logs no error


@dataclass(frozen=True)
class Answer:
    """What /predict answers: for each task its prediction or `[]`; and why tasks failed or have to wait."""

    results: list[Prediction | list[Any]]
    errors: list[dict[str, str]] = field(default_factory=list)


class RefAMBackend(LabelStudioMLBase):  # type: ignore[misc]
    """RefAM as a Label Studio ML backend. Works under label-studio-ml 1.0.9 and 2.x.

    The masks are made by workers (`refam-backend worker`); this class reads tasks, queues them and answers with what is
    ready.
    """

    def __init__(
        self, *args: Any, queue: JobQueue | None = None, settings: Settings | None = None, **kwargs: Any
    ) -> None:
        """Arguments are those of the installed label-studio-ml, and:

        queue, settings: from the environment if absent.
        Raises LabelConfigError if the label config cannot be used.
        """
        self._queue, self._settings = (queue, settings) if queue and settings else _from_environment()
        self._outbox = Outbox(self._queue, self._settings)
        self._claims = Claims(self._queue.connection)
        given = inspect.signature(LabelStudioMLBase.__init__).bind_partial(self, *args, **kwargs).arguments
        if given.get("label_config") is not None:
            read_label_config(given["label_config"])  # before the base class, which would resolve entities
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Called by label-studio-ml 2.x: say what answers."""
        self.set("model_version", self._settings.model_version)

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Prediction | list[Any]]:
        """Predictions for `tasks`, one entry each: a prediction, or `[]` if it is not ready or failed.

        One task is waited for, within REFAM_BACKEND_INLINE_SECONDS; several are queued, and written to Label Studio or
        fetched by the next call.
        context: what the annotator drew and typed, in an interactive request. The entry is then always a prediction,
            which shows the reason where there is no mask: Label Studio shows an annotator no error.
        """
        return self.answer(tasks, context).results

    def answer(self, tasks: Sequence[Task], context: Mapping[str, Any] | None = None, *, wait: bool = True) -> Answer:
        """As `predict`, and with the reasons where there is no prediction. Raises LabelConfigError.

        Where Label Studio's address and token are known, what is not answered is written to it by the workers.
        """
        layout = read_label_config(self.label_config or "")
        if context and len(tasks) == 1:
            return self._suggest(tasks[0], context, layout)
        writes = context is None and self._settings.writes_back
        many = len(tasks) > MANY or (len(tasks) > 1 and self._queue.is_full())
        if writes and many and all(map(_is_stored, tasks)):
            self._have_read(tasks)
            return Answer([NOT_YET for _ in tasks])
        requests: dict[int, TaskRequest] = {}
        outcomes: dict[int, Outcome | None] = {}
        for number, task in enumerate(tasks):
            try:
                requests[number] = layout.request(task, self._settings, _project(task))
            except TaskError as error:
                outcomes[number] = Outcome(failure=error.as_json())
        alone = len(tasks) == 1 and wait
        priority = Priority.INTERACTIVE if alone else Priority.BATCH
        outcomes |= zip(requests, self._queue.submit(list(requests.values()), priority), strict=True)
        obstacles = self._queue.obstacles() if alone and outcomes[0] is None else []
        waits = alone and outcomes[0] is None and not obstacles
        if writes:
            ready = {number: request for number, request in requests.items() if waits or outcomes[number]}
            claimed = self._claim(dict(islice(ready.items(), ANSWERED)))
            self._outbox.add(list(requests.values()))
        if waits:
            outcomes[0] = self._queue.wait(requests[0], self._settings.inline_seconds)
        if writes:
            self._withhold(outcomes, ready, claimed)
            if alone and outcomes[0] is None and ready and not claimed:  # Label Studio shows what is stored by then
                self._outbox.wait(requests[0], OPENING_SECONDS)
        answer = _assemble(tasks, context, outcomes, self._queue, self._settings)
        return replace(answer, errors=answer.errors + obstacles)

    def _have_read(self, tasks: Sequence[Task]) -> None:
        """Have the workers read tasks from Label Studio and queue them: one by one would take too long here."""
        projects: dict[str, list[int]] = {}
        for task in tasks:
            projects.setdefault(_project(task), []).append(task["id"])
        for project, ids in projects.items():
            self._outbox.read(project, ids)

    def _claim(self, ready: Mapping[int, TaskRequest]) -> dict[int, Claim]:
        """Claims of those tasks whose predictions may be answered, since nobody else delivers them, by number."""
        seconds = self._settings.inline_seconds + self._settings.claim_seconds
        claims = self._claims.claim(map(Target.of, ready.values()), self._settings.model_version, seconds)
        return {number: claim for number, claim in zip(ready, claims, strict=True) if claim}

    def _withhold(
        self, outcomes: dict[int, Outcome | None], ready: Mapping[int, TaskRequest], claimed: Mapping[int, Claim]
    ) -> None:
        """Take predictions that somebody else delivers out of the answer, and give back claims that are of no use."""
        useless = []
        for number in ready:
            outcome = outcomes[number]
            predicted = outcome is not None and outcome.prediction is not None
            if predicted and number not in claimed:
                outcomes[number] = None
            elif not predicted and number in claimed:
                useless.append(claimed[number])
        self._claims.release(useless)

    def _suggest(self, task: Task, context: Mapping[str, Any], layout: Layout) -> Answer:
        """The answer to what an annotator typed, clicked or drew; an empty prediction if nothing is asked."""
        nothing = _nothing(self._settings)
        interaction = read_interaction(context, task.get("drafts"), layout.prompt_tag, layout.click_tags)
        if interaction is None:
            return Answer([nothing])
        try:
            outcome, reasons = self._wait(layout.request(task, self._settings, _project(task), interaction))
        except TaskError as error:
            outcome, reasons = None, [error.as_json()]
        if outcome and outcome.failure:
            reasons = [outcome.failure]
        elif outcome is None and not reasons:
            reasons = [TaskError("mask", "it is not ready yet.", "Ask again in a moment.").as_json()]
        prediction = (outcome and outcome.prediction) or nothing
        shown = reply_in_text(interaction, reasons, layout.prompt_tag, layout.image_tag)
        errors = [{"task": str(task.get("id")), **reason} for reason in reasons]
        return Answer([{**prediction, "result": [*prediction["result"], *shown]}], errors)

    def _wait(self, request: TaskRequest) -> tuple[Outcome | None, list[dict[str, str]]]:
        """The outcome of one request, ahead of all batches, and why it has none."""
        (outcome,) = self._queue.submit([request], Priority.INTERACTIVE)
        obstacles = self._queue.obstacles() if outcome is None else []
        if outcome is None and not obstacles:
            outcome = self._queue.wait(request, self._settings.inline_seconds)
        return outcome, obstacles


def refuse(
    tasks: Sequence[Task], context: Mapping[str, Any] | None, error: TaskError, queue: JobQueue, settings: Settings
) -> Answer:
    """The answer where every task fails for the same reason, such as an unusable label config."""
    return _assemble(
        tasks, context, dict.fromkeys(range(len(tasks)), Outcome(failure=error.as_json())), queue, settings
    )


def _assemble(
    tasks: Sequence[Task],
    context: Mapping[str, Any] | None,
    outcomes: Mapping[int, Outcome | None],
    queue: JobQueue,
    settings: Settings,
) -> Answer:
    """Note failures in the queue's list, and put the answer together."""
    ended = [(_project(tasks[n]), str(tasks[n].get("id")), outcome) for n, outcome in outcomes.items() if outcome]
    queue.settle(ended)
    empty = NOT_YET if context is None else _nothing(settings)  # an annotator's request must get a prediction
    results = [(outcome and outcome.prediction) or empty for outcome in map(outcomes.get, range(len(tasks)))]
    return Answer(results, [{"task": task, **outcome.failure} for _, task, outcome in ended if outcome.failure])


def _nothing(settings: Settings) -> Prediction:
    return {"model_version": settings.model_version, "score": 0.0, "result": []}


@cache
def _from_environment() -> tuple[JobQueue, Settings]:
    settings = load_settings()
    return JobQueue(connect(settings), settings), settings


def _is_stored(task: Task) -> bool:
    return isinstance(task.get("id"), int) and _project(task).isdecimal()


def _project(task: Task) -> str:
    return str(task.get("project") or "")

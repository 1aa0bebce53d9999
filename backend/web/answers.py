"""What Label Studio gets for its tasks: three kinds of request, three answers.

A task that is opened is waited for; the tasks of a retrieve are answered as far as they are ready, and the workers post
the rest; an annotator's suggestion always gets an answer, which says why there is no mask.

Key, of one Label Studio:
    refam:<studio>:told:<project>/<task>    string that expires: its annotator was told who answers
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.delivery.answered import Answered
from backend.delivery.claims import Claim, Claims, Target
from backend.delivery.outbox import Outbox
from backend.delivery.schedule import Schedule
from backend.errors import LabelConfigError, TaskError
from backend.label_studio.interaction import Interaction, read_interaction, reply_in_text
from backend.label_studio.label_config import LabelConfig, read_label_config
from backend.label_studio.numbers import is_number
from backend.label_studio.region_ids import question_of
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.job_queue import FULL
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.queue.task_ledger import Ended
from backend.settings import Settings
from backend.timings import Timings
from refam.tiny import NOTICE, SWITCH

__all__ = ["Answer", "Answering"]

Prediction = dict[str, Any]
Task = Mapping[str, Any]
TOLD = 86400  # seconds until an annotator is told again that this is the demonstration model
MANY = 200  # tasks in one request; queueing more takes longer than an answer should
ANSWERED = 30  # predictions in one answer: Label Studio stores each for 0.2 s to 1 s, and its page waits meanwhile


@dataclass(frozen=True)
class Answer:
    """What /predict answers: for each task its prediction or `[]`, for which Label Studio stores nothing and logs no
    error; and why tasks failed or have to wait."""

    results: list[Prediction | list[Any]]
    errors: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Asked:
    """A task that is asked about, and what is known of it so far.

    request: what it asks for; None where it cannot be used, which its outcome explains.
    outcome: None while it has not ended, and where somebody else delivers it.
    claim: the right to deliver its prediction in this answer; None where somebody else has it, or where nobody but this
        answer delivers.
    found_no_room: whether it was not queued, since the queue is full.
    """

    task: Task
    request: TaskRequest | None = None
    outcome: Outcome | None = None
    claim: Claim | None = None
    found_no_room: bool = False

    @property
    def prediction(self) -> Prediction | None:
        """What can be answered."""
        return self.outcome.prediction if self.outcome else None

    @property
    def ended(self) -> list[Ended]:
        """How it ended, for the ledger; empty while it has not."""
        return [(_project(self.task), str(self.task.get("id")), self.outcome)] if self.outcome else []


class Answering:
    """Answers requests out of what is queued and what is ready. It makes no mask itself: workers do."""

    def __init__(self, shared: SharedState, settings: Settings, timings: Timings | None = None) -> None:
        self.settings = settings
        self._shared = shared
        self._timings = timings or Timings()
        self._schedule = Schedule(shared.jobs)
        self._outbox = Outbox(shared.keyspace, shared.jobs)
        self._claims = Claims(shared.keyspace)
        self._answered = Answered(shared.keyspace)

    def answer(
        self, label_config: str, tasks: Sequence[Task], context: Mapping[str, Any] | None = None, *, wait: bool = True
    ) -> Answer:
        """Predictions for `tasks`, as far as they can be had now; the workers make and post the others.

        context: what an annotator drew and typed. The answer is then always a prediction.
        wait: whether a single task is waited for, within REFAM_BACKEND_INLINE_SECONDS.
        """
        try:
            config = read_label_config(label_config)
        except LabelConfigError as error:
            return self._refuse(tasks, context, error)
        if context:
            return self._suggest(tasks[0], context, config) if len(tasks) == 1 else self._suggest_nothing(tasks)
        if len(tasks) == 1 and wait:
            return self._open(tasks[0], config)
        return self._retrieve(tasks, config)

    def _open(self, task: Task, config: LabelConfig) -> Answer:
        """A task that somebody opens: waited for, unless no worker will see to it soon."""
        asked, obstacles = self._read(task, config), []
        if asked.request:
            self._submit([asked], Priority.INTERACTIVE)
            if asked.found_no_room and self.settings.writes_back and _is_stored(task):  # its number takes little
                self._have_fetched([task])
                return Answer([[]])
            obstacles = self._shared.fleet.obstacles() if asked.outcome is None else []
            waits = asked.outcome is None and not obstacles
            if waits or asked.prediction:
                self._claim([asked])
            self._add_due([asked])
            if waits:
                asked.outcome = self._shared.jobs.await_outcome(asked.request, self.settings.inline_seconds)
            if (waits or asked.prediction) and not self._withhold([asked]):
                # Label Studio shows what is stored by then
                self._outbox.await_posted(asked.request, self._timings.opening)
        answer = self._conclude([asked])
        return Answer(answer.results, answer.errors + obstacles)

    def _retrieve(self, tasks: Sequence[Task], config: LabelConfig) -> Answer:
        """Many tasks: what is ready is answered, up to ANSWERED; the rest is posted by the workers."""
        many = len(tasks) > MANY or (len(tasks) > 1 and self._shared.backlog.is_full())
        if self.settings.writes_back and many and all(map(_is_stored, tasks)):
            self._have_fetched(tasks)
            return Answer([[] for _ in tasks])
        everything = [self._read(task, config) for task in tasks]
        usable = [asked for asked in everything if asked.request]
        self._submit(usable, Priority.BATCH)
        ready = [asked for asked in usable if asked.prediction]
        self._claim(ready[:ANSWERED])
        self._add_due(usable)
        self._withhold(ready)
        return self._conclude(everything)

    def _submit(self, everything: Sequence[Asked], priority: Priority) -> None:
        """Queue what can be used. Where there is no room, what is new is not: it has failed, and asks for nothing."""
        usable = [(asked, asked.request) for asked in everything if asked.request]
        requests = [request for _, request in usable]
        outcomes = self._shared.jobs.submit(requests, priority, full=self._shared.backlog.is_full(priority))
        for (asked, request), outcome in zip(usable, outcomes, strict=True):
            asked.outcome = outcome
            asked.found_no_room = bool(outcome and outcome.failure == FULL.as_json())
            asked.request = None if asked.found_no_room else request

    def _suggest(self, task: Task, context: Mapping[str, Any], config: LabelConfig) -> Answer:
        """What an annotator typed, clicked or drew. An empty prediction if nothing is asked: Label Studio shows an
        annotator no error, but it does show a prediction's text."""
        try:
            interaction = read_interaction(context, task.get("drafts"), config.prompt_tag, config.click_tags)
        except TaskError as error:
            shown = reply_in_text(Interaction(), [error.as_json()], config.prompt_tag, config.image_tag)
            return Answer([{**self._nothing(), "result": shown}], [{"task": str(task.get("id")), **error.as_json()}])
        if interaction is None:
            return Answer([self._nothing()])
        asked = self._read(task, config, interaction)
        reasons = []
        if asked.request:
            self._submit([asked], Priority.INTERACTIVE)
            reasons = self._shared.fleet.obstacles() if asked.outcome is None else []
            if asked.outcome is None and not reasons:
                asked.outcome = self._shared.jobs.await_outcome(asked.request, self.settings.inline_seconds)
        if asked.outcome and (reason := asked.outcome.failure or asked.outcome.nothing):
            reasons = [reason]
        elif asked.outcome is None and not reasons:
            reasons = [TaskError("mask", "it is not ready yet.", "Ask again in a moment.").as_json()]
        prediction = asked.prediction or self._nothing()
        notices = [f"{NOTICE} {SWITCH}"] if interaction.texts and self._is_news(task) else []
        shown = reply_in_text(interaction, reasons, config.prompt_tag, config.image_tag, notices + _notes(prediction))
        errors = [{"task": str(task.get("id")), **reason} for reason in reasons]
        return Answer([{**prediction, "result": [*prediction["result"], *shown]}], errors)

    def _is_news(self, task: Task) -> bool:
        """Whether the annotator of a task has yet to be told that the demonstration model answers."""
        keyspace = self._shared.keyspace
        key = keyspace.key("told", f"{_project(task)}/{task.get('id')}")
        return self.settings.refam.is_demonstration and bool(keyspace.connection.set(key, "", nx=True, ex=TOLD))

    def _suggest_nothing(self, tasks: Sequence[Task]) -> Answer:
        """What was drawn belongs to one task; Label Studio sends no others along."""
        error = TaskError("context", f"it belongs to one task, and not to {len(tasks)}.", "Send one task.").as_json()
        return Answer([self._nothing() for _ in tasks], [{"task": str(task.get("id")), **error} for task in tasks])

    def _refuse(self, tasks: Sequence[Task], context: Mapping[str, Any] | None, error: LabelConfigError) -> Answer:
        """Every task fails for the same reason."""
        answer = self._conclude([Asked(task, outcome=Outcome(failure=error.as_json())) for task in tasks])
        return Answer([self._nothing() for _ in tasks], answer.errors) if context else answer

    def _nothing(self) -> Prediction:
        return {"model_version": self.settings.model_version, "score": 0.0, "result": []}

    def _read(self, task: Task, config: LabelConfig, interaction: Interaction | None = None) -> Asked:
        try:
            request = read_task(task, config, self.settings, _project(task), interaction)
            return Asked(task, request, None if request else Outcome())  # it may ask for nothing
        except TaskError as error:
            return Asked(task, outcome=Outcome(failure=error.as_json()))

    def _have_fetched(self, tasks: Sequence[Task]) -> None:
        """Have the workers fetch tasks from Label Studio and queue them: one by one would take too long here."""
        projects: dict[str, list[int]] = {}
        for task in tasks:
            projects.setdefault(_project(task), []).append(task["id"])
        for project, ids in projects.items():
            self._schedule.schedule_fetch(project, ids)

    def _claim(self, everything: Sequence[Asked]) -> None:
        """Claim what this answer is to deliver, where workers deliver, too."""
        if not self.settings.writes_back:
            return
        seconds = self.settings.inline_seconds + self.settings.claim_seconds
        targets = [Target.of(asked.request) for asked in everything if asked.request]
        claims = self._claims.claim(targets, self.settings.model_version, seconds)
        for asked, claim in zip(everything, claims, strict=True):
            asked.claim = claim

    def _add_due(self, everything: Sequence[Asked]) -> None:
        """Have the workers post what is not answered."""
        if self.settings.writes_back:
            self._outbox.add([asked.request for asked in everything if asked.request])

    def _withhold(self, everything: Sequence[Asked]) -> bool:
        """Take predictions that somebody else delivers out of the answer, and give back claims that are of no use.

        Returns whether none is delivered by somebody else.
        """
        if not self.settings.writes_back:
            return True
        self._claims.release([asked.claim for asked in everything if asked.claim and not asked.prediction])
        others = [asked for asked in everything if asked.claim is None]
        for asked in others:
            if asked.prediction:
                asked.outcome = None
        return not any(asked.outcome is None for asked in others)

    def _conclude(self, everything: Sequence[Asked]) -> Answer:
        """Note how tasks ended, and put the answer together."""
        ended = [end for asked in everything for end in asked.ended]
        if self.settings.writes_back:
            self._note_answers(everything)
        self._shared.ledger.end(ended)
        errors = [{"task": task, **outcome.failure} for _, task, outcome in ended if outcome.failure]
        return Answer([asked.prediction or [] for asked in everything], errors)

    def _note_answers(self, everything: Sequence[Asked]) -> None:
        """Note what questions the predictions in this answer answer."""
        marks: dict[str, dict[str, str]] = {}
        for asked in everything:
            mark = question_of(asked.prediction) if asked.prediction else None
            if mark and asked.request and not asked.request.interactive:
                marks.setdefault(asked.request.project, {})[asked.request.task] = mark
        for project, noted in marks.items():
            self._answered.note(project, noted)


def _notes(prediction: Prediction) -> list[str]:
    """What stands beside a prediction's regions, which Label Studio drops when a suggestion is accepted."""
    notes = [note for region in prediction["result"] for note in region.get("meta", {}).get("text", [])]
    return list(dict.fromkeys(notes))


def _is_stored(task: Task) -> bool:
    return isinstance(task.get("id"), int) and is_number(_project(task))


def _project(task: Task) -> str:
    return str(task.get("project") or "")

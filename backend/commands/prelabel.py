"""`refam-backend prelabel`: a whole project, with progress. The workers do the work; this only keeps them supplied.

Tasks are read in pages, and no more than WINDOW are underway at once, so memory does not grow with the project. What is
queued is finished and written back even if this command ends; run again, it goes on with what is left.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.commands.selection import Selection
from backend.delivery.desk import Desk
from backend.errors import TaskError
from backend.label_studio.client import PAGE, Studio
from backend.label_studio.label_config import LabelConfig, read_label_config
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings
from refam.tiny import NOTICE, SWITCH

__all__ = ["INTERRUPTED", "Summary", "prelabel"]

WINDOW = 5 * PAGE  # tasks underway
LOOK = 0.5  # seconds between two looks at them
LISTED = 20  # failed tasks in the summary
INTERRUPTED = 130  # exit code, as of a program that SIGINT ended


@dataclass
class Summary:
    """What became of the tasks. failures holds the first LISTED of them, reasons counts all by their message."""

    done: int = 0
    nothing: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def fail(self, failure: dict[str, Any]) -> None:
        """Count a failed task."""
        self.failed += 1
        self.reasons[f"{failure['field']}: {failure['message']}"] += 1
        if len(self.failures) < LISTED:
            self.failures.append(failure)


def prelabel(
    settings: Settings,
    selection: Selection,
    console: Console,
    *,
    replace: bool = False,
    min_score: float | None = None,
    timings: Timings | None = None,
) -> int:
    """Queue a project's tasks and show how they get on. Returns the exit code: 0 if none failed.

    min_score: instead of the workers' REFAM_BACKEND_MIN_SCORE.
    timings: the ordinary ones if absent.
    Raises SettingsError without Label Studio's address and token, and what Desk and Studio raise.
    """
    settings.require_label_studio("to read tasks and write predictions")
    timings = timings or Timings()
    shared = SharedState.over(connect(settings, patient=True), settings)
    desk = Desk.over(shared, Studio(settings, patience=timings.patience), settings, timings)
    if settings.refam.is_demonstration:
        console.print(f"[yellow]{NOTICE} {SWITCH}[/]", soft_wrap=True)
    for obstacle in shared.fleet.obstacles():
        console.print(f"[yellow]{escape(obstacle['message'])} {escape(obstacle['remedy'])} Tasks wait until then.[/]")
    run, interrupted = _Run(desk, selection, replace, min_score), False
    with _progress(console) as progress:
        bar = progress.add_task("prelabel", total=None, detail="")

        def show() -> None:
            ended = run.summary.done + run.summary.nothing + run.summary.skipped + run.summary.failed
            progress.update(bar, completed=ended, total=run.total, detail=_detail(run, progress.tasks[0].speed))

        try:
            run.all(show)
        except KeyboardInterrupt:
            interrupted = True
        show()
    _print_summary(run, interrupted, console)
    return INTERRUPTED if interrupted else int(run.summary.failed > 0)


class Unusable(NamedTuple):
    """A task that cannot be used."""

    task: str
    error: TaskError


class _Run:
    """One pass over a project: what is underway, and what became of the rest."""

    def __init__(self, desk: Desk, selection: Selection, replace: bool, min_score: float | None) -> None:
        self.summary = Summary()
        self.underway: dict[str, TaskRequest] = {}
        self._desk = desk
        self._selection = selection
        self._replace = replace
        self._min_score = min_score
        self._size: int | None = None

    @property
    def total(self) -> int | None:
        """How many tasks will have been looked at in the end, as far as that is known."""
        if self._selection.limit is None:
            return self._size
        most = self._selection.limit + self.summary.skipped
        return most if self._size is None else min(most, self._size)

    def all(self, show: Callable[[], None]) -> None:
        """Supply the workers until nothing is left; `show` is called whenever something may have changed."""
        project = self._desk.studio.project(self._selection.project)
        self._size = project["task_number"] if self._selection.view is None else None
        needed = islice(self._needed(read_label_config(project["label_config"])), self._selection.limit)
        while page := list(islice(needed, PAGE)):
            while self.underway and (len(self.underway) + len(page) > WINDOW or self._desk.shared.backlog.is_full()):
                self._wait(show)
            self._queue(page)
            show()
        while self.underway:
            self._wait(show)

    def _needed(self, config: LabelConfig) -> Iterator[TaskRequest | Unusable]:
        """The selected tasks, without those that ask for nothing or have their prediction."""
        desk, project = self._desk, self._selection.project
        for task in self._selection.tasks(desk.studio):
            try:
                request = None if self._selection.excludes(task) else read_task(task, config, desk.settings, project)
            except TaskError as error:
                yield Unusable(str(task["id"]), error)
                continue
            if request and (self._replace or desk.lacks_prediction(task, request)):
                yield request if self._min_score is None else dataclasses.replace(request, min_score=self._min_score)
            else:
                self.summary.skipped += 1

    def _queue(self, page: Sequence[TaskRequest | Unusable]) -> None:
        unusable = [entry for entry in page if isinstance(entry, Unusable)]
        requests = [entry for entry in page if isinstance(entry, TaskRequest)]
        self._desk.queue(requests, replace=self._replace)
        self.underway |= {request.task: request for request in requests}
        for task, error in unusable:
            self._desk.fail(self._selection.project, task, error)
        self._conclude([entry.task for entry in unusable])

    def _wait(self, show: Callable[[], None]) -> None:
        time.sleep(LOOK)
        requests = list(self.underway.values())
        pending = self._desk.outbox.are_due(requests)
        ended = [request.task for request, still in zip(requests, pending, strict=True) if not still]
        for task in ended:
            del self.underway[task]
        self._conclude(ended)
        show()

    def _conclude(self, tasks: Sequence[str]) -> None:
        ledger, project = self._desk.shared.ledger, self._selection.project
        failures, nothing = ledger.failures.of(project, tasks), ledger.nothing.of(project, tasks)
        for failure, found_nothing in zip(failures, nothing, strict=True):
            if failure is not None:
                self.summary.fail(failure)
            elif found_nothing is not None:
                self.summary.nothing += 1
            else:
                self.summary.done += 1


def _progress(console: Console) -> Progress:
    left = TimeRemainingColumn(elapsed_when_finished=True)
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        left,
        console=console,
        speed_estimate_period=120,
    )


def _detail(run: _Run, speed: float | None) -> str:
    summary = run.summary
    rate = f"{60 * speed:.0f} a minute, " if speed else ""
    return f"{rate}{_counts(summary)}"


def _counts(summary: Summary) -> str:
    nothing = f"nothing found {summary.nothing}, " if summary.nothing else ""
    return f"done {summary.done}, {nothing}skipped {summary.skipped}, failed {summary.failed}"


def _print_summary(run: _Run, interrupted: bool, console: Console) -> None:
    summary = run.summary
    for reason, number in summary.reasons.most_common(LISTED):
        console.print(f"[red]{number} failed:[/] {escape(reason)}")
    for failure in summary.failures:
        text = f"task {failure['task']}: {failure['field']}: {failure['message']} {failure['remedy']}"
        console.print(escape(text), soft_wrap=True)
    if summary.failed > len(summary.failures):
        console.print("Further ones: `refam-backend status`.")
    if interrupted:
        console.print(f"{len(run.underway)} are queued and go on. Run the same command again for the rest.")
    console.print(_counts(summary), highlight=False)

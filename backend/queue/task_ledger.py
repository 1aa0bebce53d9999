"""What becomes of tasks: which wait for a job, how those that ended did."""

from collections.abc import Iterable

from redis.client import Pipeline

from backend.label_studio.request import TaskRequest
from backend.queue.failures import FailureList
from backend.queue.keyspace import Keyspace
from backend.queue.outcome import Outcome
from backend.queue.progress import Progress
from backend.settings import Settings

__all__ = ["Ended", "TaskLedger"]

Ended = tuple[str, str, Outcome]  # project, task, how it ended


class TaskLedger:
    """Follows tasks from the moment their jobs are queued to their end.

    progress: how far each project is.
    failures: the tasks that failed, with their reasons.
    nothing: the tasks for which nothing was found.
    """

    def __init__(self, keyspace: Keyspace, settings: Settings) -> None:
        self._connection = keyspace.connection
        self.progress = Progress(keyspace)
        self.failures = FailureList(keyspace, settings.max_failures)
        self.nothing = FailureList(keyspace, settings.max_failures, "nothing")

    def begin(self, requests: Iterable[TaskRequest]) -> None:
        """Tasks wait from now on. A suggestion is no task's prediction, and is not followed."""
        self.progress.begin(request for request in requests if not request.interactive)

    def end(self, ended: Iterable[Ended]) -> None:
        """Tasks have ended: one that failed is put on the list of failures, and one for which nothing was found on the
        other; every other is taken off them."""
        with self._connection.pipeline() as pipe:
            self.note_end(ended, pipe)
            pipe.execute()

    def note_end(self, ended: Iterable[Ended], pipe: Pipeline) -> None:
        """As `end`.

        pipe: the commands are added to it.
        """
        ended = list(ended)
        masked = [(project, task, end.prediction is not None and end.nothing is None) for project, task, end in ended]
        self.progress.end(masked, pipe)
        self.failures.note([(project, task, end.failure) for project, task, end in ended], pipe)
        self.nothing.note([(project, task, end.nothing) for project, task, end in ended], pipe)

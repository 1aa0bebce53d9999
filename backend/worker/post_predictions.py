"""The jobs that post predictions to Label Studio, many with one request."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rq.job import Job

from backend.delivery.claims import Target
from backend.delivery.desk import Desk
from backend.delivery.writer import Delivery, OutdatedError
from backend.errors import RefusedError
from backend.label_studio.region_ids import question_mark
from backend.queue.outcome import Outcome
from backend.worker.studio_jobs import read_or_write_failure

__all__ = ["PostPredictions"]

MOST_NUMBERS = 2_000_000  # of masks in one request, which is about 8 MB


@dataclass
class _Post:
    """A job's result, which is due for some tasks.

    waits: seconds until tasks are looked at again that somebody else delivers. errors: of tasks that stay due.
    """

    job_id: str
    outcome: Outcome
    targets: Sequence[Target]
    waits: list[float] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    @property
    def deliveries(self) -> list[Delivery]:
        """What is to be written: nothing for a task that failed."""
        prediction, nothing = self.outcome.prediction, self.outcome.nothing or {}
        return [Delivery(target, prediction, nothing.get("mark")) for target in self.targets] if prediction else []

    @property
    def numbers(self) -> int:
        """How much there is to write."""
        regions = (self.outcome.prediction or {}).get("result", [])
        return len(self.targets) * sum(len(region["value"].get("rle", "")) for region in regions)


class PostPredictions:
    """Does the jobs called JobName.POST_PREDICTION, several at a time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, job_id: str) -> None:
        """Post a result to the tasks that it is due for. Tasks whose delivery fails do not hinder the others."""
        (error,) = self.run_all([[job_id]])
        if error:
            raise error

    def run_all(self, arguments: Sequence[Sequence[Any]]) -> list[Exception | None]:
        """As `run`, for several jobs. Returns what each raises, if anything."""
        errors: dict[str, Exception] = {}
        job_ids = [job_id for (job_id,) in arguments]
        for posts in self._handfuls(job_ids):
            self._write(posts)
            errors |= {post.job_id: post.errors[0] for post in posts if post.errors}
        return [errors.get(job_id) for job_id in job_ids]

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception. Records the last one for all tasks that are still due."""
        if job.should_retry:
            return
        desk, (job_id,) = self._desk, job.args
        for target in desk.outbox.due(job_id):
            failure = read_or_write_failure(kind, error, "written to Label Studio")
            desk.shared.ledger.end([(target.project, target.task, failure)])
            desk.outbox.remove(job_id, target)

    def _handfuls(self, job_ids: Sequence[str]) -> Iterator[list[_Post]]:
        """Results to be written together. No more of them are in memory than one request takes."""
        posts: list[_Post] = []
        for job_id in dict.fromkeys(job_ids):
            post = self._open(job_id)
            if post is None:
                continue
            if posts and sum(each.numbers for each in posts) + post.numbers > MOST_NUMBERS:
                yield posts
                posts = []
            posts.append(post)
        yield posts

    def _open(self, job_id: str) -> _Post | None:
        """A job's result; None if there is none to be written now."""
        desk = self._desk
        try:
            outcome = desk.shared.jobs.outcome(job_id)
        except LookupError:
            self._start_over(job_id)
            return None
        if outcome is None:  # its worker is about to say so
            desk.schedule.schedule_post(job_id, after=desk.timings.soon)
            return None
        return _Post(job_id, outcome, desk.outbox.due(job_id))

    def _write(self, posts: Sequence[_Post]) -> None:
        desk = self._desk
        deliveries = [(post, delivery) for post in posts for delivery in post.deliveries]
        written = desk.writer.write([delivery for _, delivery in deliveries])
        for (post, delivery), found in zip(deliveries, written, strict=True):
            self._settle(post, delivery.target, found)
        for post in posts:
            if not post.outcome.prediction:
                for target in post.targets:
                    self._end(post, target, post.outcome)
            elif not post.waits and not post.errors:
                desk.shared.jobs.keep_for(post.job_id, desk.settings.delivered_ttl)
            if post.waits:
                desk.schedule.schedule_post(post.job_id, after=min(post.waits))

    def _settle(self, post: _Post, target: Target, found: float | Exception) -> None:
        """See to a task, of which the writer has found this."""
        match found:
            case OutdatedError():
                self._desk.schedule.schedule_fetch(target.project, [int(target.task)])
                self._desk.outbox.remove(post.job_id, target)
            case RefusedError():
                self._end(post, target, Outcome(failure=found.as_json()))
            case Exception():
                post.errors.append(found)
            case 0:
                self._end(post, target, post.outcome)
            case seconds:
                post.waits.append(seconds)

    def _end(self, post: _Post, target: Target, outcome: Outcome) -> None:
        """A task needs nothing more. A question that has no mask, which is said, need not be asked again and again."""
        desk = self._desk
        desk.shared.ledger.end([(target.project, target.task, outcome)])
        if post.outcome.failure or post.outcome.nothing:
            with suppress(LookupError):
                mark = question_mark(desk.shared.jobs.request(post.job_id))
                desk.answered.note(target.project, {target.task: mark})
        desk.outbox.remove(post.job_id, target)

    def _start_over(self, job_id: str) -> None:
        """See to tasks whose result expired before it was posted, from the beginning."""
        for target in self._desk.outbox.due(job_id):
            self._desk.schedule.schedule_fetch(target.project, [int(target.task)])
            self._desk.outbox.remove(job_id, target)

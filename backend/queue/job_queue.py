"""The jobs, on RQ. What they are about is known elsewhere: backend.queue.task_ledger, backend.delivery."""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.client import Pipeline
from rq import Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.results import Result

from backend.errors import TaskError
from backend.json_bytes import JSONBytes
from backend.label_studio.request import TaskRequest
from backend.queue.job_names import JobName
from backend.queue.keyspace import Keyspace
from backend.queue.line import IN_TURNS, Line
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority, open_queues
from backend.queue.takeover import ENDED
from backend.queue.task_ledger import TaskLedger
from backend.settings import Settings

__all__ = ["FULL", "JobQueue"]

LOOK = 0.5  # seconds, at most, between two looks at a job that is waited for
AT_ONCE = 500  # jobs enqueued in one round trip
SUGGESTION_TTL = 300  # seconds that a suggestion is kept: clicks are rarely repeated, and masks are large

# Stores a job and puts it into its queue, unless it exists. RQ's own script does the same, but not in a pipeline.
ENQUEUE = (
    IN_TURNS
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 2))
    join(KEYS[2], ARGV[1], KEYS[1])
end
"""
)

# Takes a job from one queue to another in one step, so that it is never in none. Does nothing once a worker has it.
PROMOTE = (
    IN_TURNS
    + """
if leave(KEYS[1], ARGV[1], KEYS[3]) then
    redis.call('HSET', KEYS[3], 'origin', ARGV[2])
    join(KEYS[2], ARGV[1], KEYS[3])
end
"""
)

# Takes a job that waits away for good, with the hash KEYS[1], whose content is returned; false for one that a worker
# has or had. KEYS: that hash, job, its results, then each line with the registry of jobs that wait for a later try.
WITHDRAW = (
    IN_TURNS
    + """
local status = redis.call('HGET', KEYS[2], 'status')
local taken = status == false
for i = 4, #KEYS, 2 do
    taken = leave(KEYS[i], ARGV[1], KEYS[2]) or redis.call('ZREM', KEYS[i + 1], ARGV[1]) == 1 or taken
end
if not taken then return false end
local kept = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
return kept
"""
)


FULL = TaskError(
    "queue",
    "it is full.",
    "Ask for the task again later. What is full, and which setting bounds it, is on the status page.",
    annotator="Ask again later.",
)


class JobQueue:
    """Queues jobs, each once, and knows how they ended.

    closing: once it is set, nothing is waited for any more.
    """

    def __init__(self, keyspace: Keyspace, settings: Settings, ledger: TaskLedger) -> None:
        self._connection = connection = keyspace.connection
        self._keyspace = keyspace
        self._settings = settings
        self._ledger = ledger
        self.closing = threading.Event()
        self._waiters = threading.BoundedSemaphore(settings.inline_waiters)
        self._enqueue_once = connection.register_script(ENQUEUE)
        self._promote = connection.register_script(PROMOTE)
        self._withdraw = connection.register_script(WITHDRAW)
        self._queues = open_queues(keyspace)

    # --- predictions ---

    def submit(
        self, requests: Sequence[TaskRequest], priority: Priority, *, again: bool = False, full: bool = False
    ) -> list[Outcome | None]:
        """Queue what is new; return each request's outcome, None where it is not known yet.

        again: what has failed counts as new.
        full: there is no room, see Backlog.is_full: what is new fails.
        """
        ids = [request.job_id() for request in requests]
        jobs = Job.fetch_many(ids, self._connection, JSONBytes)
        if again:
            jobs = [self._unless_failed(job) if job else None for job in jobs]
        outcomes = [_outcome(job) if job else None for job in jobs]
        if full:
            no_room = Outcome(failure=FULL.as_json())
            outcomes = [outcome if job else no_room for job, outcome in zip(jobs, outcomes, strict=True)]
        new = [] if full else [request for request, job in zip(requests, jobs, strict=True) if job is None]
        for start in range(0, len(new), AT_ONCE):
            self._enqueue(new[start : start + AT_ONCE], priority)
        if priority is Priority.INTERACTIVE:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if job and outcome is None:
                    self._bring_forward(job)
        self._ledger.begin(request for request, outcome in zip(requests, outcomes, strict=True) if outcome is None)
        return outcomes

    def outcome(self, job_id: str) -> Outcome | None:
        """How a job ended; None while it has not. Raises LookupError if it has expired."""
        try:
            return _outcome(Job.fetch(job_id, self._connection, JSONBytes))
        except NoSuchJobError:
            raise LookupError(job_id) from None

    def request(self, job_id: str) -> TaskRequest:
        """What a job was asked. Raises LookupError if it has expired."""
        try:
            return TaskRequest.from_json(Job.fetch(job_id, self._connection, JSONBytes).args[0])
        except (NoSuchJobError, KeyError, TypeError):
            raise LookupError(job_id) from None

    def await_outcome(self, request: TaskRequest, seconds: float) -> Outcome | None:
        """The outcome of a submitted request.

        None if it takes longer, if REFAM_BACKEND_INLINE_WAITERS wait already, or once `closing` is set.
        """
        if not self._waiters.acquire(blocking=False):
            return None
        try:
            return self._await_outcome(request.job_id(), seconds)
        finally:
            self._waiters.release()

    def have_ended(self, job_ids: Sequence[str]) -> list[bool]:
        """For each job, whether it has ended; jobs that have expired have."""
        with self._connection.pipeline() as pipe:
            for job_id in job_ids:
                pipe.hget(Job.key_for(job_id), "status")
            return [status is None or status.decode() in ENDED for status in pipe.execute()]

    def keep_for(self, job_id: str, seconds: int) -> None:
        """Keep a finished result no longer than that."""
        with self._connection.pipeline() as pipe:
            pipe.expire(Job.key_for(job_id), seconds)
            pipe.expire(Result.get_key(job_id), seconds)  # type: ignore[no-untyped-call]
            pipe.execute()

    def upcoming(self, count: int) -> list[TaskRequest]:
        """The requests that are next in line, `count` at most. They are not taken."""
        with self._connection.pipeline() as pipe:
            for priority in (Priority.INTERACTIVE, Priority.BATCH):
                pipe.zrange(self._queues[priority].line, 0, count - 1)
            ids = [job_id.decode() for job_ids in pipe.execute() for job_id in job_ids]
        jobs = Job.fetch_many(ids[:count], self._connection, JSONBytes)
        return [TaskRequest.from_json(job.args[0]) for job in jobs if job]

    # --- jobs that talk to Label Studio ---

    def schedule(
        self,
        name: JobName,
        *args: Any,
        description: str,
        after: float = 0,
        job_id: str | None = None,
        pipe: Pipeline | None = None,
        priority: Priority = Priority.STUDIO,
        project: str | None = None,
    ) -> None:
        """Queue a job that talks to Label Studio, to be done in `after` seconds.

        job_id: its id among ours, if it needs one; where this job exists, nothing is queued, unless `after` is given.
        pipe: the commands are added to it, if there is one.
        project: the one that the job is for, if it is for one: projects take turns.
        """
        queue, delays = self._queues[priority], list(self._settings.write_delays)
        job = queue.create_job(
            str(name),
            args=args,
            job_id=job_id and self._own_id(job_id),
            timeout=self._settings.job_timeout,
            result_ttl=0,
            failure_ttl=1,  # the list of failures tells more, and the same may be asked for again
            retry=Retry(max=len(delays), interval=delays) if delays else None,
            description=description,
            meta={"project": project} if project else None,
            status=JobStatus.SCHEDULED if after else JobStatus.QUEUED,
        )
        if after:
            queue.schedule_job(job, datetime.now(UTC) + timedelta(seconds=after), pipeline=pipe)
        elif pipe is not None:
            self._put([job], queue, pipe)
        else:
            with self._connection.pipeline(transaction=False) as own:
                self._put([job], queue, own)
                own.execute()

    def scheduled(self, prefix: str) -> Iterator[tuple[str, list[Any]]]:
        """(id, arguments) of the jobs that wait to talk to Label Studio, whose id among ours begins with `prefix`."""
        waiting: list[str] = []
        for queue in (self._queues[Priority.STUDIO], self._queues[Priority.HINT]):
            waiting += [*queue.get_job_ids(), *queue.scheduled_job_registry.get_job_ids(cleanup=False)]
        wanted = [job_id for job_id in waiting if job_id.startswith(self._own_id(prefix))]
        for job in Job.fetch_many(wanted, self._connection, JSONBytes):
            if job:
                yield job.id, list(job.args)

    # --- all jobs ---

    def withdraw(self, job_id: str, note: str) -> dict[str, str] | None:
        """Take a job that waits away for good; None if a worker has or had it. One that does not exist is taken, too.

        note: key of a hash about it, which goes with it, and is returned.
        """
        keys = [note, Job.key_for(job_id), Result.get_key(job_id)]  # type: ignore[no-untyped-call]
        for queue in self._queues.values():
            keys += [queue.line, queue.scheduled_job_registry.key]
        found = self._withdraw(keys=keys, args=[job_id])
        if found is None:
            return None
        names = [name.decode() for name in found]
        return dict(zip(names[::2], names[1::2], strict=True))

    def _own_id(self, name: str) -> str:
        """Label Studios number projects alike, and RQ keeps all jobs in one place."""
        return f"{self._keyspace.studio}-{name}"

    def _await_outcome(self, job_id: str, seconds: float) -> Outcome | None:
        """Each try of a job adds an entry to the stream of its results, which can be waited for."""
        stream: str = Result.get_key(job_id)  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.closing.is_set():
            newest = self._connection.xrevrange(stream, count=1)
            try:
                outcome = self.outcome(job_id)
            except LookupError:  # it has expired
                return None
            if outcome:
                return outcome
            seen: dict[Any, Any] = {stream: newest[0][0] if newest else "0-0"}
            self._connection.xread(seen, count=1, block=math.ceil(1000 * min(left, LOOK)))
        return None

    def _enqueue(self, requests: Sequence[TaskRequest], priority: Priority) -> None:
        """Queue requests in one round trip, but none that somebody else has queued meanwhile."""
        queue = self._queues[priority]
        with self._connection.pipeline(transaction=False) as pipe:
            self._put([self._job(request, queue) for request in requests], queue, pipe)
            pipe.execute()

    def _put(self, jobs: Iterable[Job], queue: Line, pipe: Pipeline) -> None:
        """Add to a pipeline what stores jobs and puts them into their queue."""
        pipe.sadd(queue.redis_queues_keys, queue.key)
        for job in jobs:
            job.enqueued_at = datetime.now(UTC)
            fields = [part for field in job.to_dict().items() if field[1] != "" for part in field]
            self._enqueue_once(keys=[job.key, queue.line], args=[job.id, *fields], client=pipe)

    def _job(self, request: TaskRequest, queue: Line) -> Job:
        delays = self._settings.retry_delays
        return queue.create_job(
            str(JobName.PREDICT),
            args=(request.as_json(),),
            job_id=request.job_id(),
            timeout=self._settings.job_timeout,
            result_ttl=SUGGESTION_TTL if request.interactive else self._settings.result_ttl,
            failure_ttl=self._settings.failure_ttl,
            retry=Retry(max=len(delays), interval=list(delays)) if delays else None,
            # RQ logs the description. Its default would hold URLs, which may hold secrets.
            description=f"task {request.task} of project {request.project}",
            meta={"project": request.project, "task": request.task},
        )

    def _bring_forward(self, job: Job) -> None:
        batch, interactive = self._queues[Priority.BATCH], self._queues[Priority.INTERACTIVE]
        if job.origin == batch.name and job.get_status(refresh=False) == JobStatus.QUEUED:
            self._promote(keys=[batch.line, interactive.line, job.key], args=[job.id, interactive.name])

    def _unless_failed(self, job: Job) -> Job | None:
        """The job; None if it failed or found nothing, and is forgotten now."""
        outcome = _outcome(job)
        if outcome is None or (outcome.failure is None and outcome.nothing is None):
            return job
        job.delete()
        return None


def _outcome(job: Job) -> Outcome | None:
    status = job.get_status(refresh=False)
    if status == JobStatus.FINISHED:
        value = job.return_value()
        return Outcome(**value) if value else Outcome(failure=_expired().as_json())
    if status in ENDED:
        unknown = TaskError("job", f"it was {status.value}.", "Ask for it again.")
        return Outcome(failure=job.meta.get("failure") or unknown.as_json())
    return None


def _expired() -> TaskError:
    return TaskError("job", "its result has expired.", "Ask for the task again.")

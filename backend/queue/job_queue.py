"""The queue: RQ on Redis. Names and keys are known here, and in the modules of what it keeps beside.

Keys beside RQ's own:
    refam:counts        hash: COUNTED. Jobs that ended, ever, and what was computed for them
    refam:problems      hash: device -> JSON {field, message, remedy, at}. Why a worker cannot start
"""

import json
import math
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from redis import Redis
from rq import Queue, Retry
from rq.callbacks import Callback
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.worker_registration import get_keys

from backend.errors import TaskError
from backend.label_studio.request import TaskRequest
from backend.queue.failures import FailureList
from backend.queue.known_jobs import KnownJob
from backend.queue.progress import Progress, ProjectState
from backend.queue.takeover import ENDED, TakingQueue
from backend.settings import Settings

__all__ = ["JobQueue", "Outcome", "Priority"]

COUNTS, PROBLEMS = "refam:counts", "refam:problems"
COUNTED = ("done", "failed", "heatmaps", "image_embeddings")
PROBLEM_LIFETIME = 300  # seconds; a worker that still cannot start says so again
LOOK = 0.5  # seconds, at most, between two looks at a job that is waited for
AT_ONCE = 500  # jobs enqueued in one round trip
SUGGESTION_TTL = 300  # seconds that a suggestion is kept: clicks are rarely repeated, and masks are large

EXPIRED = TaskError("job", "its result has expired.", "Ask for the task again.")

# Stores a job and puts it into its queue, unless it exists. RQ's own script does the same, but not in a pipeline.
ENQUEUE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 2))
    redis.call('RPUSH', KEYS[2], ARGV[1])
end
"""

# Takes a job from one queue to another in one step, so that it is never in none. Does nothing once a worker has it.
PROMOTE = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
    redis.call('HSET', KEYS[3], 'origin', ARGV[2])
    redis.call('RPUSH', KEYS[2], ARGV[1])
    return 1
end
return 0
"""

# Takes a job that waits away for good, with the hash KEYS[1], whose content is returned; false for one that a worker
# has or had. KEYS: that hash, job, its results, then each queue with its registry of jobs that wait for a later try.
TAKE = """
local status = redis.call('HGET', KEYS[2], 'status')
local taken = status == false
for i = 4, #KEYS do
    local command = i % 2 == 0 and {'LREM', KEYS[i], 1, ARGV[1]} or {'ZREM', KEYS[i], ARGV[1]}
    taken = redis.call(unpack(command)) == 1 or taken
end
if not taken then return false end
local kept = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
return kept
"""


class Priority(StrEnum):
    """The queues, the more urgent one first. Workers empty them in this order."""

    INTERACTIVE = "interactive"
    STUDIO = "studio"  # reads from and writes to Label Studio, which are short
    BATCH = "batch"


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with Label Studio's prediction, or with a failure {field, message, remedy}."""

    prediction: dict[str, Any] | None = None
    failure: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; unlike `asdict` it copies no masks."""
        return {"prediction": self.prediction, "failure": self.failure}


class JobQueue:
    """Enqueues requests, each once, and knows how they ended."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self.connection = connection
        self._settings = settings
        self.closing = threading.Event()
        self._waiters = threading.BoundedSemaphore(settings.inline_waiters)
        self._enqueue_once = connection.register_script(ENQUEUE)
        self._promote = connection.register_script(PROMOTE)
        self._take = connection.register_script(TAKE)
        self.progress = Progress(connection)
        self.failures = FailureList(connection, settings.max_failures)
        self.queues = {
            priority: TakingQueue(
                f"refam-{priority}", connection=connection, job_class=KnownJob, serializer=JSONSerializer
            )
            for priority in Priority
        }

    def submit(
        self, requests: Sequence[TaskRequest], priority: Priority, *, again: bool = False
    ) -> list[Outcome | None]:
        """Enqueue what is new; return each request's outcome, None where it is not known yet.

        again: what has failed counts as new.
        """
        ids = [request.job_id() for request in requests]
        jobs = Job.fetch_many(ids, self.connection, JSONSerializer)
        if again:
            jobs = [self._unless_failed(job) if job else None for job in jobs]
        outcomes = [self._outcome(job) if job else None for job in jobs]
        new = [request for request, job in zip(requests, jobs, strict=True) if job is None]
        for start in range(0, len(new), AT_ONCE):
            self._enqueue(new[start : start + AT_ONCE], priority)
        if priority is Priority.INTERACTIVE:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if job and outcome is None:
                    self._bring_forward(job)
        unknown = [request for request, outcome in zip(requests, outcomes, strict=True) if outcome is None]
        self.progress.begin(request for request in unknown if not request.interactive)
        return outcomes

    def wait(self, request: TaskRequest, seconds: float) -> Outcome | None:
        """The outcome of a submitted request, waited for.

        None if it takes longer, if REFAM_BACKEND_INLINE_WAITERS wait already, or once `closing` is set.
        """
        if not self._waiters.acquire(blocking=False):
            return None
        try:
            return self._wait(request, seconds)
        finally:
            self._waiters.release()

    def take(self, job_id: str, note: str) -> dict[str, str] | None:
        """Take a job that waits away for good; None if a worker has or had it. One that does not exist is taken, too.

        note: key of a hash about it, which goes with it, and is returned.
        """
        keys = [note, Job.key_for(job_id), Result.get_key(job_id)]  # type: ignore[no-untyped-call]
        for queue in self.queues.values():
            keys += [queue.key, queue.scheduled_job_registry.key]
        found = self._take(keys=keys, args=[job_id])
        if found is None:
            return None
        names = [name.decode() for name in found]
        return dict(zip(names[::2], names[1::2], strict=True))

    def settle(self, ended: Iterable[tuple[str, str, Outcome]]) -> None:
        """Note how tasks ended: (project, task, outcome) puts a task on the list of failures, or takes it off."""
        ended = list(ended)
        with self.connection.pipeline() as pipe:
            self.progress.end([(project, task, end.prediction is not None) for project, task, end in ended], pipe)
            self.failures.note([(project, task, outcome.failure) for project, task, outcome in ended], pipe)
            pipe.execute()

    def projects(self) -> list[ProjectState]:
        """How far the projects are that had tasks lately.

        A few waiting tasks of each are checked: their job may have ended while nobody was there to say so.
        """
        names = self.progress.projects()
        for project in names:
            drawn = self.progress.sample(project)
            ended = self.ended(list(drawn.values()))
            self.progress.forget(project, [task for task, over in zip(drawn, ended, strict=True) if over])
        return [self.progress.state(project) for project in names]

    def ended(self, job_ids: Sequence[str]) -> list[bool]:
        """For each job, whether it has ended; jobs that have expired have."""
        with self.connection.pipeline() as pipe:
            for job_id in job_ids:
                pipe.hget(Job.key_for(job_id), "status")
            return [status is None or status.decode() in ENDED for status in pipe.execute()]

    def upcoming(self, count: int) -> list[TaskRequest]:
        """The requests that are next in line, `count` at most. They are not taken."""
        with self.connection.pipeline() as pipe:
            for priority in (Priority.INTERACTIVE, Priority.BATCH):
                pipe.lrange(self.queues[priority].key, 0, count - 1)
            ids = [job_id.decode() for job_ids in pipe.execute() for job_id in job_ids]
        jobs = Job.fetch_many(ids[:count], self.connection, JSONSerializer)
        return [TaskRequest.from_json(job.args[0]) for job in jobs if job]

    def outcome(self, job_id: str) -> Outcome | None:
        """How a job ended; None while it has not. Raises LookupError if it has expired."""
        try:
            return self._outcome(Job.fetch(job_id, self.connection, JSONSerializer))
        except NoSuchJobError:
            raise LookupError(job_id) from None

    def expire(self, job_id: str, seconds: int) -> None:
        """Keep a finished result no longer than that."""
        with self.connection.pipeline() as pipe:
            pipe.expire(Job.key_for(job_id), seconds)
            pipe.expire(Result.get_key(job_id), seconds)  # type: ignore[no-untyped-call]
            pipe.execute()

    def backlog(self) -> int:
        """Tasks that wait for a worker, beside those that an annotator waits for."""
        return self.queues[Priority.BATCH].count

    def memory(self) -> int:
        """Bytes in use by Redis."""
        return int(self.connection.info("memory")["used_memory"])

    def is_full(self) -> bool:
        """Whether no further tasks should be queued in batches for now."""
        return self.backlog() >= self._settings.max_queued or self.memory() >= self._settings.redis_max_bytes

    def count(self, **numbers: int) -> None:
        """Add to what is COUNTED."""
        with self.connection.pipeline() as pipe:
            for name, number in numbers.items():
                if number:
                    pipe.hincrby(COUNTS, name, number)
            pipe.execute()

    def counts(self) -> dict[str, int]:
        """What is COUNTED, ever: jobs that are done and that have failed; heatmaps and image_embeddings computed."""
        found = self.connection.hmget(COUNTS, list(COUNTED))
        return {name: int(number or 0) for name, number in zip(COUNTED, found, strict=True)}

    def depths(self) -> dict[str, dict[str, int]]:
        """For each queue: jobs waiting, running, and waiting for a further try."""
        return {
            priority: {
                "waiting": queue.count,
                "running": queue.started_job_registry.get_job_count(cleanup=False),
                "retrying": queue.scheduled_job_registry.get_job_count(cleanup=False),
            }
            for priority, queue in self.queues.items()
        }

    def workers(self) -> list[dict[str, str]]:
        """Live workers, as they describe themselves: see RefAMWorker.serialize."""
        with self.connection.pipeline() as pipe:
            for key in get_keys(connection=self.connection):
                pipe.hgetall(key)
            found = pipe.execute()
        entries = [{name.decode(): value.decode() for name, value in entry.items()} for entry in found]
        return [entry for entry in entries if "model_version" in entry and "death" not in entry]

    def report_problem(self, device: str, error: TaskError) -> None:
        """Say why the worker of a device cannot start."""
        self.connection.hset(PROBLEMS, device, json.dumps({**error.as_json(), "at": time.time()}))

    def solve_problem(self, device: str) -> None:
        """The worker of a device has started."""
        self.connection.hdel(PROBLEMS, device)

    def problems(self) -> list[dict[str, Any]]:
        """Why workers cannot start, as far as they said so lately."""
        found = cast(dict[bytes, bytes], self.connection.hgetall(PROBLEMS))
        entries = [{"device": device.decode(), **json.loads(entry)} for device, entry in found.items()]
        return [entry for entry in entries if entry["at"] > time.time() - PROBLEM_LIFETIME]

    def obstacles(self) -> list[dict[str, str]]:
        """Why no worker will run a job soon, as {field, message, remedy}; empty if one will."""
        versions = {worker["model_version"] for worker in self.workers()}
        if self._settings.model_version in versions:
            return []
        if problems := self.problems():
            return [{name: problem[name] for name in ("field", "message", "remedy")} for problem in problems]
        if versions:
            message = f"the workers run {', '.join(versions)}, not {self._settings.model_version}."
            error = TaskError("model_version", message, "Start all with the same REFAM_* settings.")
        else:
            error = TaskError("worker", "none is running.", "Start `refam-backend worker`, or `refam-backend up`.")
        return [error.as_json()]

    def _wait(self, request: TaskRequest, seconds: float) -> Outcome | None:
        """Each try of a job adds an entry to the stream of its results, which can be waited for."""
        stream: str = Result.get_key(request.job_id())  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.closing.is_set():
            newest = self.connection.xrevrange(stream, count=1)
            try:
                outcome = self.outcome(request.job_id())
            except LookupError:  # it has expired
                return None
            if outcome:
                return outcome
            seen: dict[Any, Any] = {stream: newest[0][0] if newest else "0-0"}
            self.connection.xread(seen, count=1, block=math.ceil(1000 * min(left, LOOK)))
        return None

    def _enqueue(self, requests: Sequence[TaskRequest], priority: Priority) -> None:
        """Enqueue requests in one round trip, but none that somebody else has enqueued meanwhile."""
        queue = self.queues[priority]
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.sadd(queue.redis_queues_keys, queue.key)
            for request in requests:
                job = self._job(request, queue)
                fields = [part for field in job.to_dict().items() if field[1] != "" for part in field]
                self._enqueue_once(keys=[job.key, queue.key], args=[job.id, *fields], client=pipe)
            pipe.execute()

    def _job(self, request: TaskRequest, queue: Queue) -> Job:
        delays = self._settings.retry_delays
        job = queue.create_job(
            "backend.jobs.run",
            args=(request.as_json(),),
            job_id=request.job_id(),
            timeout=self._settings.job_timeout,
            result_ttl=SUGGESTION_TTL if request.interactive else self._settings.result_ttl,
            failure_ttl=self._settings.failure_ttl,
            retry=Retry(max=len(delays), interval=list(delays)) if delays else None,
            on_failure=Callback("backend.jobs.on_failure"),
            # RQ logs the description. Its default would hold URLs, which may hold secrets.
            description=f"task {request.task} of project {request.project}",
            meta={"project": request.project, "task": request.task},
        )
        job.enqueued_at = datetime.now(UTC)
        return job

    def _bring_forward(self, job: Job) -> None:
        batch, interactive = self.queues[Priority.BATCH], self.queues[Priority.INTERACTIVE]
        if job.origin == batch.name and job.get_status(refresh=False) == JobStatus.QUEUED:
            self._promote(keys=[batch.key, interactive.key, job.key], args=[job.id, interactive.name])

    def _unless_failed(self, job: Job) -> Job | None:
        """The job; None if it failed, and is forgotten now."""
        outcome = self._outcome(job)
        if outcome is None or outcome.failure is None:
            return job
        job.delete()
        return None

    def _outcome(self, job: Job) -> Outcome | None:
        status = job.get_status(refresh=False)
        if status == JobStatus.FINISHED:
            value = job.return_value()
            return Outcome(**value) if value else Outcome(failure=EXPIRED.as_json())
        if status in ENDED:
            unknown = TaskError("job", f"it was {status.value}.", "Ask for it again.")
            return Outcome(failure=job.meta.get("failure") or unknown.as_json())
        return None

"""How jobs change hands, in steps that are atomic in Redis, so that none is lost whoever dies between two of them.

A job that has not ended is in one of these:
    rq:line:<queue>       sorted set: it waits, see backend.queue.line
    refam:<studio>:taken  sorted set: job by the time it counts as abandoned. A worker took it, and is about to run it
    rq:wip:<queue>        sorted set: job:execution by the time it counts as abandoned. A worker runs it
    rq:scheduled:<queue>  sorted set: job by the time of its next try

RQ itself forgets a job whose worker dies between taking and running it, or between running it and noting its next
try. Here, a job whose worker dies goes back to the front of its queue; one that took MAX_DEATHS workers with it fails.
The count is the field `deaths` of the job's own hash.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import AbandonedJobError, DequeueTimeout, NoSuchJobError, StopRequested
from rq.job import Job, JobStatus
from rq.job_lifecycle import record_job_failure

from backend.json_bytes import JSONBytes
from backend.queue.known_jobs import KnownJob
from backend.queue.line import IN_TURNS, Line

__all__ = ["ENDED", "MAX_DEATHS", "Sweeper", "TakingQueue"]

logger = logging.getLogger(__name__)

ENDED = (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)
MAX_DEATHS = 3
POLL = 0.005, 0.05  # seconds between two looks at empty queues: more and more, from the first to the second
AT_ONCE = 100  # jobs woken in one step, so that Redis is never busy for long

# Takes the next job, and returns its line, its id and its hash. KEYS: the lines, then the taken jobs. ARGV: when it
# counts as abandoned, prefix of hashes, then for each line how many of its jobs are left there.
TAKE = (
    IN_TURNS
    + """
for number = 1, #KEYS - 1 do
    local left = tonumber(ARGV[2 + number])
    local job = (left == 0 or redis.call('ZCARD', KEYS[number]) > left) and take(KEYS[number])
    if job then
        redis.call('ZADD', KEYS[#KEYS], ARGV[1], job)
        return {KEYS[number], job, redis.call('HGETALL', ARGV[2] .. job)}
    end
end
return false
"""
)

# Puts a job back, once, if its entry ARGV[1] in KEYS[1] has expired. A worker that died between registering a job as
# running and taking it off the taken ones left two entries: the running one then speaks for both, or one sweeper would
# put back what another gives up. Nor is a job put back that has ended since its entry was found. KEYS: where the entry
# is, line, job, taken, running. ARGV: entry, job, now, deaths, then the statuses of jobs that have ended.
PUT_BACK = (
    IN_TURNS
    + """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[3]) then return 0 end
if KEYS[1] == KEYS[4] then
    for _, running in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
        if string.sub(running, 1, #ARGV[2] + 1) == ARGV[2] .. ':' then
            redis.call('ZREM', KEYS[4], ARGV[1])
            return 0
        end
    end
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[2])
for number = 5, #ARGV do
    if redis.call('HGET', KEYS[3], 'status') == ARGV[number] then return 0 end
end
redis.call('HSET', KEYS[3], 'status', 'queued')
redis.call('HINCRBY', KEYS[3], 'deaths', ARGV[4])
join_in_front(KEYS[2], ARGV[2])
return 1
"""
)

WAKE = (
    IN_TURNS
    + """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, job in ipairs(due) do
    redis.call('ZREM', KEYS[1], job)
    if redis.call('EXISTS', ARGV[3] .. job) == 1 then
        redis.call('HSET', ARGV[3] .. job, 'status', 'queued')
        join(KEYS[2], job, ARGV[3] .. job)
    end
end
return #due
"""
)


class TakingQueue(Line):
    """A line whose jobs are noted as taken in the same step that takes them.

    taken: key of those that were taken.
    life: seconds after which one that was taken, and not begun, counts as abandoned.
    ended: once it is set, none is taken any more.
    left: of one queue, how many jobs are left to others, which are at it anyway.
    """

    taken: ClassVar[str] = ""  # processes that only queue jobs take none
    life: ClassVar[int] = 0
    ended: ClassVar[threading.Event] = threading.Event()
    left: int = 0

    @classmethod
    def taking(cls, taken: str, life: int, ended: threading.Event) -> "type[TakingQueue]":
        """This class for a worker. RQ is given a class, and makes the queues itself."""
        return type(cls.__name__, (cls,), {"taken": taken, "life": life, "ended": ended})

    @classmethod
    def dequeue_any(  # noqa: PLR0917 - RQ's order of arguments
        cls,
        queues: Iterable[Any],
        timeout: int | None,
        connection: Redis,
        job_class: type[Job] | None = None,
        serializer: Any = None,
        death_penalty_class: Any = None,
    ) -> tuple[Job, Queue] | None:
        """The next job and its queue, waited for if there is a timeout in seconds, taken in one step. Raises
        DequeueTimeout, and StopRequested once the worker is ending."""
        waiting = {queue.line: queue for queue in queues}
        take = connection.register_script(TAKE)
        keys, left = [*waiting, cls.taken], [queue.left for queue in waiting.values()]
        deadline, (pause, longest) = time.monotonic() + (timeout or 0), POLL
        while not cls.ended.is_set():
            if found := take(keys=keys, args=[time.time() + cls.life, Job.redis_job_namespace_prefix, *left]):
                key, job_id, fields = found
                if fields:
                    job = (job_class or Job)(job_id.decode(), connection, serializer)
                    job.restore(dict(zip(fields[::2], fields[1::2], strict=True)))
                    return job, waiting[key.decode()]
            elif timeout is None:
                return None
            elif time.monotonic() > deadline:
                raise DequeueTimeout(timeout, keys)
            else:
                cls.ended.wait(pause)
                pause = min(2 * pause, longest)
        raise StopRequested


class Sweeper:
    """Takes over what dead workers left, and wakes what is due for another try. Every worker may do so at any time."""

    def __init__(self, connection: Redis, queues: Sequence[Line], taken: str, job_class: type[KnownJob]) -> None:
        self._connection = connection
        self._queues = queues
        self._taken = taken
        self._job_class = job_class
        self._put_back = connection.register_script(PUT_BACK)
        self._wake = connection.register_script(WAKE)

    def sweep(self) -> None:
        """Look once."""
        for queue in self._queues:
            keys, now = [queue.scheduled_job_registry.key, queue.line], time.time()
            while self._wake(keys=keys, args=[now, AT_ONCE, Job.redis_job_namespace_prefix]) == AT_ONCE:
                pass
            for entry in self._expired(queue.started_job_registry.key):
                self._take_over(queue.started_job_registry.key, entry, entry.rpartition(":")[0], deaths=1)
        for entry in self._expired(self._taken):
            self._take_over(self._taken, entry, entry, deaths=0)

    def give_up(self, job: Job, error: Exception) -> None:
        """End a job as failed, with what its failure callback makes of the error. Whoever dies in between leaves a job
        that is given up again; one that has ended meanwhile stays as it is."""
        job.retries_left = 0
        if job.failure_callback:
            job.failure_callback(job, self._connection, type(error), error, None)

        def record(pipe: Pipeline) -> None:
            status = cast(bytes | None, pipe.hget(job.key, "status"))
            pipe.multi()
            if status and status.decode() not in ENDED:
                record_job_failure(job, f"Given up: {type(error).__name__}", pipe)

        self._connection.transaction(record, job.key)

    def _expired(self, key: str) -> list[str]:
        found: Any = self._connection.zrangebyscore(key, "-inf", time.time())
        return [entry.decode() for entry in found]

    def _take_over(self, key: str, entry: str, job_id: str, deaths: int) -> None:
        """See to an entry of a dead worker."""
        try:
            job = self._job_class.fetch(job_id, self._connection, JSONBytes)
        except NoSuchJobError:
            self._connection.zrem(key, entry)
            return
        if job.get_status(refresh=False) in ENDED:
            self._connection.zrem(key, entry)
        elif deaths and int(self._connection.hget(job.key, "deaths") or 0) + deaths >= MAX_DEATHS:
            logger.error("Job %s is given up: %d workers died running it.", job_id, MAX_DEATHS)
            self.give_up(job, AbandonedJobError())
            self._connection.zrem(key, entry)
        else:
            running = job.started_job_registry.key
            keys = [key, Line(job.origin, connection=self._connection).line, job.key, self._taken, running]
            if self._put_back(
                keys=keys, args=[entry, job_id, time.time(), deaths, *(status.value for status in ENDED)]
            ):
                logger.warning("Job %s is taken over from a worker that died.", job_id)

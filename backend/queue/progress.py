"""How far each project is: which of its tasks wait, how many got a mask, and how fast. Costs a few commands a task.

Projects and tasks are Label Studio's numbers; what has none, such as a task that is not stored yet, is not followed.

Keys, of one Label Studio, all of which expire:
    refam:<studio>:active            sorted set: projects by the time of the last task, the newest MAX_PROJECTS of them
    refam:<studio>:waiting:<project> hash: task -> job. Tasks whose job is queued or running
    refam:<studio>:masked:<project>  set: tasks that got a mask, each once
    refam:<studio>:pace:<project>    list: when the last PACE tasks ended, newest first
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from redis.client import Pipeline

from backend.label_studio.numbers import is_number
from backend.label_studio.request import TaskRequest
from backend.queue.keyspace import Keyspace

__all__ = ["Progress", "ProjectState"]

MAX_PROJECTS = 200
LIFETIME = 30 * 86400  # seconds
PACE = 50  # tasks that the rate is taken from
RECENT = 1800  # seconds; what ended before says nothing about the rate
SAMPLE = 20  # waiting tasks of each project that a look at it checks

# A task waits no more; the rate is of those that waited. KEYS: waiting, masked and pace of its project. ARGV: task,
# whether it got a mask, now, LIFETIME, PACE, RECENT.
END = """
if ARGV[2] == '1' then
    redis.call('SADD', KEYS[2], ARGV[1])
    redis.call('EXPIRE', KEYS[2], ARGV[4])
end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
    redis.call('LPUSH', KEYS[3], ARGV[3])
    redis.call('LTRIM', KEYS[3], 0, ARGV[5] - 1)
    redis.call('EXPIRE', KEYS[3], ARGV[6])
end
"""


@dataclass(frozen=True)
class ProjectState:
    """waiting: tasks that are queued or running; done: tasks that got a mask; rate: tasks a minute, lately;
    seconds_left: until none waits at this rate. The latter two are None where nothing ended lately."""

    project: str
    waiting: int
    done: int
    rate: float | None
    seconds_left: float | None


class Progress:
    """The counters of all projects. Kept by TaskLedger."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._connection = keyspace.connection
        self._keyspace = keyspace
        self._active = keyspace.key("active")
        self._end = keyspace.connection.register_script(END)

    def begin(self, requests: Iterable[TaskRequest]) -> None:
        """Note tasks whose jobs have been queued."""
        with self._connection.pipeline() as pipe:
            for request in requests:
                if is_number(request.project) and is_number(request.task):
                    pipe.hset(self._waiting(request.project), request.task, request.job_id())
                    pipe.expire(self._waiting(request.project), LIFETIME)
                    pipe.zadd(self._active, {request.project: time.time()})
            if len(pipe):
                pipe.zrange(self._active, 0, -MAX_PROJECTS - 1)
                self._drop(pipe.execute()[-1])

    def end(self, ended: Sequence[tuple[str, str, bool]], pipe: Pipeline) -> None:
        """Note tasks that ended, as (project, task, whether it got a mask), be it at once.

        pipe: the commands are added to it.
        """
        for project, task, masked in ended:
            if is_number(project) and is_number(task):
                keys = [self._waiting(project), self._masked(project), self._pace(project)]
                arguments: list[str | float] = [task, int(masked), time.time(), LIFETIME, PACE, RECENT]
                self._end(keys=keys, args=arguments, client=pipe)
                if masked:
                    pipe.zadd(self._active, {project: time.time()})

    def forget(self, project: str, tasks: Sequence[str]) -> None:
        """Tasks do not wait any more, though nobody said how they ended."""
        if tasks:
            self._connection.hdel(self._waiting(project), *tasks)

    def projects(self) -> list[str]:
        """Projects that had tasks lately, the newest first."""
        return [project.decode() for project in cast(list[bytes], self._connection.zrevrange(self._active, 0, -1))]

    def waiting(self, project: str) -> Iterator[tuple[str, str]]:
        """(task, job) of all tasks of a project that wait."""
        for task, job in self._connection.hscan_iter(self._waiting(project)):
            yield task.decode(), job.decode()

    def job(self, project: str, task: str) -> str | None:
        """The job that a task waits for, if any."""
        found = cast(bytes | None, self._connection.hget(self._waiting(project), task))
        return found.decode() if found else None

    def are_waiting(self, tasks: Iterable[tuple[str, str]]) -> list[bool]:
        """For each (project, task), whether it waits."""
        with self._connection.pipeline() as pipe:
            for project, task in tasks:
                pipe.hexists(self._waiting(project), task)
            return [bool(found) for found in pipe.execute()]

    def sample(self, project: str) -> dict[str, str]:
        """Up to SAMPLE waiting tasks with their jobs, drawn at random."""
        drawn = cast(list[bytes], self._connection.hrandfield(self._waiting(project), SAMPLE, withvalues=True) or [])
        names = [name.decode() for name in drawn]
        return dict(zip(names[::2], names[1::2], strict=True))

    def state(self, project: str) -> ProjectState:
        """How far a project is."""
        with self._connection.pipeline() as pipe:
            pipe.hlen(self._waiting(project))
            pipe.scard(self._masked(project))
            pipe.lrange(self._pace(project), 0, -1)
            waiting, done, ends = pipe.execute()
        rate = _rate([float(end) for end in ends], time.time())
        left = 60 * waiting / rate if rate and waiting else None
        return ProjectState(project, waiting, done, rate, left)

    def _drop(self, projects: Sequence[bytes]) -> None:
        keys = [key(project.decode()) for project in projects for key in (self._waiting, self._masked, self._pace)]
        if keys:
            self._connection.delete(*keys)
            self._connection.zrem(self._active, *projects)

    def _waiting(self, project: str) -> str:
        return self._keyspace.key("waiting", project)

    def _masked(self, project: str) -> str:
        return self._keyspace.key("masked", project)

    def _pace(self, project: str) -> str:
        return self._keyspace.key("pace", project)


def _rate(ends: Sequence[float], now: float) -> float | None:
    """Tasks a minute, from when the last ones ended, newest first: it sinks while nothing ends."""
    lately = [end for end in ends if end > now - RECENT]
    return 60 * (len(lately) - 1) / (now - lately[-1]) if len(lately) > 1 else None

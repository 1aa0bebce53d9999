"""How jobs wait: projects take turns, so that none waits behind all the jobs of another.

A job's turn is one after that of its project's last job, but none that is over; the lowest comes next, and of equal
ones any. This is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996, section 2), with jobs that count as
equally long. A job whose project is not known takes turns as if that were a project of its own.

Keys:
    rq:line:<queue>          sorted set: job by its turn
    rq:line:<queue>:turns    hash: p<project> -> turn of its last job; now -> the turn that was taken last. Only while
        a job waits
"""

from typing import cast

from redis.client import Pipeline
from rq import Queue
from rq.job import Job

__all__ = ["IN_TURNS", "Line"]

# What the scripts have in common that take jobs in and out of lines. hash: key of the job's own.
IN_TURNS = """
local function project_of(hash)
    local read, about = pcall(cjson.decode, redis.call('HGET', hash, 'meta') or '')
    local project = read and type(about) == 'table' and about.project
    return 'p' .. (type(project) == 'string' and project or '')
end

local function forget_if_empty(line)
    if redis.call('EXISTS', line) == 0 then redis.call('DEL', line .. ':turns') end
end

local function join(line, job, hash)
    local turns, project = line .. ':turns', project_of(hash)
    local last, now = redis.call('HGET', turns, project), redis.call('HGET', turns, 'now')
    local turn = math.max((tonumber(last) or 0) + 1, tonumber(now) or 1)
    redis.call('HSET', turns, project, turn)
    redis.call('ZADD', line, turn, job)
end

local function join_in_front(line, job)
    local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    redis.call('ZADD', line, (tonumber(first[2]) or 1) - 1, job)
end

local function leave(line, job, hash)
    if redis.call('ZREM', line, job) == 0 then return false end
    redis.call('HINCRBY', line .. ':turns', project_of(hash), -1)
    forget_if_empty(line)
    return true
end

local function take(line)
    local job, turn = unpack(redis.call('ZPOPMIN', line))
    if job then
        local now = redis.call('HGET', line .. ':turns', 'now')
        redis.call('HSET', line .. ':turns', 'now', math.max(tonumber(now) or 1, tonumber(turn)))
        forget_if_empty(line)
    end
    return job
end
"""

PUSH = (
    IN_TURNS
    + """
if ARGV[2] == '1' then join_in_front(KEYS[1], ARGV[1]) else join(KEYS[1], ARGV[1], KEYS[2]) end
"""
)


class Line(Queue):
    """RQ's queue, but for the way in which its jobs wait."""

    @property
    def line(self) -> str:
        """Key of the jobs that wait."""
        return f"rq:line:{self.name}"

    @property
    def count(self) -> int:
        """How many jobs wait."""
        return self.connection.zcard(self.line)

    def get_job_ids(self, offset: int = 0, length: int = -1) -> list[str]:
        """The jobs that wait, `length` at most, or all from the `offset`th on if it is negative."""
        found = self.connection.zrange(self.line, offset, offset + length - 1 if length >= 0 else -1)
        return [job_id.decode() for job_id in cast(list[bytes], found)] if length else []

    def push_job_id(self, job_id: str, pipeline: Pipeline | None = None, at_front: bool = False) -> None:
        """Have a job wait."""
        push = self.connection.register_script(PUSH)
        push(keys=[self.line, Job.key_for(job_id)], args=[job_id, int(at_front)], client=pipeline)

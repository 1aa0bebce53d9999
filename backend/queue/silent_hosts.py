"""Hosts of images that do not answer: they rest, so that not each of their tasks holds a worker up for as long.

Once IN_A_ROW downloads of a project in a row have run out of time, its tasks on that host are put off, which is no try
of theirs. After a while one of them asks again; the host rests for twice as long unless it answers. Each project for
itself, or one with a few bad addresses could keep a host that many share from all others.

Keys, of one Label Studio:
    refam:<studio>:silent:<project>:<host>    hash that expires. times: downloads in a row that ran out of time; until:
        the end of its rest; put_off: tasks that were put off in this rest
    refam:<studio>:silent    sorted set: <project>:<host>, of hosts that rest, by when they began to
"""

import time
from typing import cast

from backend.queue.keyspace import Keyspace

__all__ = ["SilentHosts"]

IN_A_ROW = 3
SHORTEST, LONGEST = 30, 300  # seconds that a host rests
APART = 0.05  # seconds between two tasks that are put off: they shall not all come back at once
LIFETIME = 86400  # seconds

# Seconds that a task waits, as a string; "0" where it may ask, "" where nothing is known against the host either. ARGV:
# now, seconds until another one may ask, APART.
WAIT = """
local times, resting = unpack(redis.call('HMGET', KEYS[1], 'times', 'until'))
if not times then return '' end
if not resting then return '0' end
local left = tonumber(resting) - tonumber(ARGV[1])
if left > 0 then
    return tostring(left + ARGV[3] * redis.call('HINCRBY', KEYS[1], 'put_off', 1))
end
redis.call('HSET', KEYS[1], 'until', ARGV[1] + ARGV[2], 'put_off', 0)
return '0'
"""

# KEYS: the host's, and that of all hosts. ARGV: now, IN_A_ROW, SHORTEST, LONGEST, LIFETIME, name.
NOTE = """
local times = redis.call('HINCRBY', KEYS[1], 'times', 1)
redis.call('EXPIRE', KEYS[1], ARGV[5])
if times >= tonumber(ARGV[2]) then
    local rest = math.min(ARGV[3] * 2 ^ (times - ARGV[2]), ARGV[4])
    redis.call('HSET', KEYS[1], 'until', ARGV[1] + rest, 'put_off', 0)
    redis.call('ZADD', KEYS[2], 'NX', ARGV[1], ARGV[6])
end
"""


class SilentHosts:
    """What all workers know of hosts that do not answer."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._connection = keyspace.connection
        self._keyspace = keyspace
        self._all = keyspace.key("silent")
        self._noted: set[tuple[str, str]] = set()
        self._wait = keyspace.connection.register_script(WAIT)
        self._note = keyspace.connection.register_script(NOTE)

    def wait(self, project: str, host: str, seconds: float) -> float:
        """In how many seconds a task may come back; 0 if it may ask the host.

        seconds: that asking takes at most; nobody else asks a host that has rested meanwhile.
        """
        wait = self._wait(keys=[self._key(_name(project, host))], args=[time.time(), seconds, APART])
        if wait:
            self._noted.add((project, host))
        return float(wait or 0)

    def has_answered(self, project: str, host: str) -> None:
        """It need not rest, if there was anything against it when it was to be asked."""
        if (project, host) not in self._noted:
            return
        self._noted.discard((project, host))
        with self._connection.pipeline() as pipe:
            pipe.delete(self._key(_name(project, host)))
            pipe.zrem(self._all, _name(project, host))
            pipe.execute()

    def was_silent(self, project: str, host: str) -> None:
        """A download ran out of time."""
        bounds = (IN_A_ROW, SHORTEST, LONGEST, LIFETIME)
        name = _name(project, host)
        self._note(keys=[self._key(name), self._all], args=[time.time(), *bounds, name])

    def resting(self) -> list[tuple[str, str, float]]:
        """(project, host, since when) of the hosts that rest."""
        found = cast(list[tuple[bytes, float]], self._connection.zrange(self._all, 0, -1, withscores=True))
        names = [(name.decode(), since) for name, since in found]
        with self._connection.pipeline() as pipe:
            for name, _ in names:
                pipe.exists(self._key(name))
            known = pipe.execute()
        if stale := [name for (name, _), rests in zip(names, known, strict=True) if not rests]:
            self._connection.zrem(self._all, *stale)
        resting = [(name.partition(":"), since) for name, since in names if name not in stale]
        return [(project, host, since) for (project, _, host), since in resting]

    def _key(self, name: str) -> str:
        return self._keyspace.key("silent", name)


def _name(project: str, host: str) -> str:
    return f"{project.replace(':', '')}:{host}"

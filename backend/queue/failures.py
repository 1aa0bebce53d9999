"""The lists of tasks that failed and of those for which nothing was found, as the status page shows them.

Keys, of one Label Studio:
    refam:<studio>:failures sorted set: project/task by time of failure, the newest of them
    refam:<studio>:failure  hash: project/task -> JSON {project, task, field, message, remedy, at}
    refam:<studio>:nothings sorted set: as failures, of tasks for which nothing was found
    refam:<studio>:nothing  hash: as failure
"""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from redis.client import Pipeline

from backend.queue.keyspace import Keyspace

__all__ = ["FailureGroup", "FailureList", "reason_of"]

# Keeps the newest ARGV[1] of the failures KEYS[1], and what KEYS[2] says of them.
TRIM = """
for _, task in ipairs(redis.call('ZRANGE', KEYS[1], 0, -ARGV[1] - 1)) do
    redis.call('ZREM', KEYS[1], task)
    redis.call('HDEL', KEYS[2], task)
end
"""


@dataclass
class FailureGroup:
    """Tasks that failed for the same reason. name: of the reason; example: the newest; projects: how many of each."""

    name: str
    example: dict[str, Any]
    count: int = 0
    projects: Counter[str] = field(default_factory=Counter)


def reason_of(failure: Mapping[str, Any]) -> str:
    """What the reasons of a group have in common, as a name: field and message without what the task itself brings."""
    return _reason(failure["field"], failure["message"])


@lru_cache(4096)
def _reason(field: str, message: str) -> str:
    common = re.sub(r"'[^']*'|\S*\d\S*", "_", message)
    return hashlib.sha256(f"{field}: {common}".encode()).hexdigest()[:12]


class FailureList:
    """Each failed task's newest failure; of more than `most` tasks, the newest. name: "failure" or "nothing"."""

    def __init__(self, keyspace: Keyspace, most: int, name: str = "failure") -> None:
        self._connection = keyspace.connection
        self._failures, self._failure = keyspace.key(f"{name}s"), keyspace.key(name)
        self._most = most
        self._trim = keyspace.connection.register_script(TRIM)

    def note(self, ended: Sequence[tuple[str, str, dict[str, str] | None]], pipe: Pipeline) -> None:
        """(project, task, failure) puts a task on the list, or takes it off where it has not failed.

        pipe: the commands are added to it.
        """
        now = time.time()
        for project, task, failure in ended:
            key = f"{project}/{task}"
            if failure:
                pipe.hset(self._failure, key, json.dumps({"project": project, "task": task, **failure, "at": now}))
                pipe.zadd(self._failures, {key: now})
                self._trim(keys=[self._failures, self._failure], args=[self._most], client=pipe)
            else:
                pipe.hdel(self._failure, key)
                pipe.zrem(self._failures, key)

    def newest(self, limit: int = 0) -> list[dict[str, Any]]:
        """The failed tasks, newest first; the newest `limit` of them, unless it is 0."""
        keys = cast(list[bytes], self._connection.zrevrange(self._failures, 0, limit - 1))
        entries = self._connection.hmget(self._failure, keys) if keys else []
        return [json.loads(entry) for entry in entries if entry]

    def groups(self) -> list[FailureGroup]:
        """The failed tasks by their reason, the largest group first."""
        found: dict[str, FailureGroup] = {}
        for entry in self.newest():
            name = reason_of(entry)
            group = found.setdefault(name, FailureGroup(name, entry))
            group.count += 1
            group.projects[entry["project"]] += 1
        return sorted(found.values(), key=lambda group: -group.count)

    def per_project(self) -> Counter[str]:
        """How many failed tasks each project has on the list."""
        keys = cast(list[bytes], self._connection.zrange(self._failures, 0, -1))
        return Counter(key.decode().rpartition("/")[0] for key in keys)

    def of(self, project: str, tasks: Sequence[str]) -> list[dict[str, Any] | None]:
        """The failure of each of these tasks, None for those that are not on the list."""
        entries = self._connection.hmget(self._failure, [f"{project}/{task}" for task in tasks]) if tasks else []
        return [json.loads(entry) if entry else None for entry in entries]

"""The list of failed tasks, which `refam-backend status` and the status page show.

Keys:
    refam:failures      sorted set: project/task by time of failure, the newest of them
    refam:failure       hash: project/task -> JSON {project, task, field, message, remedy, at}
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

__all__ = ["FailureList"]

FAILURES, FAILURE = "refam:failures", "refam:failure"

# Keeps the newest ARGV[1] of the failures KEYS[1], and what KEYS[2] says of them.
TRIM = """
for _, task in ipairs(redis.call('ZRANGE', KEYS[1], 0, -ARGV[1] - 1)) do
    redis.call('ZREM', KEYS[1], task)
    redis.call('HDEL', KEYS[2], task)
end
"""


class FailureList:
    """Each failed task's newest failure; of more than `most` tasks, the newest."""

    def __init__(self, connection: Redis, most: int) -> None:
        self._connection = connection
        self._most = most
        self._trim = connection.register_script(TRIM)

    def note(self, ended: Sequence[tuple[str, str, dict[str, str] | None]], pipe: Pipeline) -> None:
        """(project, task, failure) puts a task on the list, or takes it off where it has not failed.

        pipe: the commands are added to it.
        """
        now = time.time()
        for project, task, failure in ended:
            key = f"{project}/{task}"
            if failure:
                pipe.hset(FAILURE, key, json.dumps({"project": project, "task": task, **failure, "at": now}))
                pipe.zadd(FAILURES, {key: now})
                self._trim(keys=[FAILURES, FAILURE], args=[self._most], client=pipe)
            else:
                pipe.hdel(FAILURE, key)
                pipe.zrem(FAILURES, key)

    def newest(self, limit: int = 0) -> list[dict[str, Any]]:
        """The failed tasks, newest first; the newest `limit` of them, unless it is 0."""
        keys = cast(list[bytes], self._connection.zrevrange(FAILURES, 0, limit - 1))
        entries = self._connection.hmget(FAILURE, keys) if keys else []
        return [json.loads(entry) for entry in entries if entry]

    def per_project(self) -> Counter[str]:
        """How many failed tasks each project has on the list."""
        keys = cast(list[bytes], self._connection.zrange(FAILURES, 0, -1))
        return Counter(key.decode().rpartition("/")[0] for key in keys)

    def of(self, project: str, tasks: Sequence[str]) -> list[dict[str, Any] | None]:
        """The failure of each of these tasks, None for those that are not on the list."""
        entries = self._connection.hmget(FAILURE, [f"{project}/{task}" for task in tasks]) if tasks else []
        return [json.loads(entry) if entry else None for entry in entries]

"""Which question each task's prediction answers, so that it can be told when the task asks something else by now.

Label Studio tells nobody that a task's data changed, and leaves tasks that have a prediction out of a retrieve.

Keys, of one Label Studio:
    refam:<studio>:answered:<project>   hash that expires: task -> mark of the question that its prediction answers
    refam:<studio>:outdated             hash: project -> number of outdated predictions that the last look found
    refam:<studio>:looked:<project>     string that expires: the project was looked through a moment ago
"""

from collections.abc import Mapping, Sequence
from typing import cast

from backend.queue.keyspace import Keyspace

__all__ = ["Answered"]

LIFETIME = 30 * 86400  # seconds


class Answered:
    """Notes of what was delivered. What has none, as after a loss of Redis, is found by `refresh` alone."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._connection = keyspace.connection
        self._keyspace = keyspace

    def note(self, project: str, marks: Mapping[str, str]) -> None:
        """Predictions of a project have been delivered: task -> mark."""
        if marks:
            key = self._keyspace.key("answered", project)
            self._connection.hset(key, items=[part for pair in marks.items() for part in pair])
            self._connection.expire(key, LIFETIME)

    def marks(self, project: str, tasks: Sequence[str]) -> list[str | None]:
        """For each task the mark of what was delivered last; None where nobody knows."""
        key = self._keyspace.key("answered", project)
        found = cast(list[bytes | None], self._connection.hmget(key, list(tasks)) if tasks else [])
        return [mark.decode() if mark else None for mark in found]

    def may_look(self, project: str, pause: float) -> bool:
        """Whether a project was not looked through for so many seconds; from now on it was."""
        key = self._keyspace.key("looked", project)
        return bool(self._connection.set(key, "", nx=True, px=round(1000 * pause)))

    def rest(self, project: str, seconds: float) -> None:
        """Do not look through a project for that long, if it may be looked through sooner."""
        key = self._keyspace.key("looked", project)
        if self._connection.pttl(key) < 1000 * seconds:
            self._connection.set(key, "", px=round(1000 * seconds))

    def found(self, project: str, outdated: int, *, anew: bool) -> None:
        """A look has found so many more outdated predictions. anew: it has just begun."""
        key = self._keyspace.key("outdated")
        if anew:
            self._connection.hset(key, project, outdated)
        elif outdated:
            self._connection.hincrby(key, project, outdated)

    def outdated(self) -> dict[str, int]:
        """For each project how many outdated predictions the last look has found. They are replaced."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(self._keyspace.key("outdated")))
        return {project.decode(): int(number) for project, number in found.items()}

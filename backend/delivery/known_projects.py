"""Which projects have connected this backend, and what they are called.

Key, of one Label Studio:
    refam:<studio>:projects     hash: their numbers -> what Label Studio calls its own address
    refam:<studio>:titles       hash: their numbers -> their titles, as far as workers have read them
"""

from typing import cast

from backend.queue.keyspace import Keyspace

__all__ = ["KnownProjects"]

LONGEST = 500  # characters of an address or a title


class KnownProjects:
    """The projects that have connected this backend, with its password if it has one."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._connection = keyspace.connection
        self._key, self._titles = keyspace.key("projects"), keyspace.key("titles")

    def add(self, project: str, hostname: str = "") -> None:
        """A project connects. hostname: what Label Studio calls its own address."""
        self._connection.hset(self._key, project, hostname[:LONGEST])

    def hostnames(self) -> dict[str, str]:
        """For each project what Label Studio called its own address."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(self._key))
        return {project.decode(): hostname.decode() for project, hostname in found.items()}

    def note_title(self, project: str, title: str) -> None:
        """What a project is called."""
        self._connection.hset(self._titles, project, title[:LONGEST])

    def titles(self) -> dict[str, str]:
        """What projects are called."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(self._titles))
        return {project.decode(): title.decode() for project, title in found.items()}

    def __contains__(self, project: str) -> bool:
        return bool(self._connection.hexists(self._key, project))

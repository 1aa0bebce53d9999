"""Which projects have connected this backend.

Key:
    refam:projects      set: their numbers
"""

from redis import Redis

__all__ = ["KnownProjects"]

PROJECTS = "refam:projects"


class KnownProjects:
    """The projects that have connected this backend, with its password if it has one."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection

    def add(self, project: str) -> None:
        """A project connects."""
        self._connection.sadd(PROJECTS, project)

    def __contains__(self, project: str) -> bool:
        return bool(self._connection.sismember(PROJECTS, project))

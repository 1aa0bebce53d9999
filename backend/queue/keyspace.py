"""Names in Redis. Those of one Label Studio hold its identity, so that the backends of several can share one Redis, and
never get each other's tasks: projects and tasks are numbered alike in each.

Key:
    refam:studios       hash: identity -> address. Label Studios whose backends use, or used, this Redis
"""

from dataclasses import dataclass
from typing import Self, cast

from redis import Redis

from backend.label_studio.identity import studio_address, studio_identity
from backend.settings import Settings

__all__ = ["Keyspace"]

STUDIOS = "refam:studios"
NO_ADDRESS = "no Label Studio"


@dataclass(frozen=True)
class Keyspace:
    """The part of a Redis that belongs to one Label Studio.

    studio: its identity.
    address: its own, for messages.
    """

    connection: Redis
    studio: str
    address: str

    @classmethod
    def over(cls, connection: Redis, settings: Settings) -> Self:
        """That of the Label Studio that the settings name."""
        return cls(connection, studio_identity(settings), studio_address(settings) or NO_ADDRESS)

    def key(self, *parts: str) -> str:
        """A key of ours."""
        return ":".join(("refam", self.studio, *parts))

    def queue(self, name: str) -> str:
        """RQ's name for a queue of ours."""
        return f"refam-{self.studio}-{name}"

    def announce(self) -> None:
        """Let those who see our names know whose they are."""
        self.connection.hset(STUDIOS, self.studio, self.address)

    def others(self) -> list["Keyspace"]:
        """The parts of other Label Studios."""
        found = cast(dict[bytes, bytes], self.connection.hgetall(STUDIOS))
        names = {studio.decode(): address.decode() for studio, address in found.items()}
        return [Keyspace(self.connection, studio, names[studio]) for studio in names if studio != self.studio]

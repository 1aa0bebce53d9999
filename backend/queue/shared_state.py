"""All that the processes share: one value over one connection."""

from dataclasses import dataclass
from typing import Self

from redis import Redis

from backend.queue.backlog import Backlog
from backend.queue.counters import Counters
from backend.queue.fleet import Fleet
from backend.queue.gallery import Gallery
from backend.queue.job_queue import JobQueue
from backend.queue.keyspace import Keyspace
from backend.queue.silent_hosts import SilentHosts
from backend.queue.task_ledger import TaskLedger
from backend.settings import Settings

__all__ = ["SharedState"]


@dataclass(frozen=True)
class SharedState:
    """What lies in Redis, each part by its keys. What backend.delivery keeps there is its own."""

    keyspace: Keyspace
    jobs: JobQueue
    backlog: Backlog
    fleet: Fleet
    ledger: TaskLedger
    counters: Counters
    gallery: Gallery
    hosts: SilentHosts

    @property
    def connection(self) -> Redis:
        """To Redis."""
        return self.keyspace.connection

    @classmethod
    def over(cls, connection: Redis, settings: Settings) -> Self:
        """The state that is behind a connection."""
        keyspace = Keyspace.over(connection, settings)
        ledger = TaskLedger(keyspace, settings)
        return cls(
            keyspace,
            JobQueue(keyspace, settings, ledger),
            Backlog(keyspace, settings),
            Fleet(keyspace, settings),
            ledger,
            Counters(keyspace),
            Gallery(keyspace, settings),
            SilentHosts(keyspace),
        )

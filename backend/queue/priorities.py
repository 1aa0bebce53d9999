"""The queues, and RQ's own objects for them."""

from enum import StrEnum

from backend.json_bytes import JSONBytes
from backend.queue.keyspace import Keyspace
from backend.queue.known_jobs import KnownJob
from backend.queue.takeover import TakingQueue

__all__ = ["Priority", "open_queues"]


class Priority(StrEnum):
    """The queues, the more urgent one first. A worker's main thread empties them in this order, but leaves those that
    need no device to another thread while that one keeps up."""

    INTERACTIVE = "interactive"
    WRITE = "write"  # posts to Label Studio
    STUDIO = "studio"  # reads from Label Studio
    BATCH = "batch"
    HINT = "hint"  # fetches that a webhook asked for, which brings no password


def open_queues(keyspace: Keyspace) -> dict[Priority, TakingQueue]:
    """RQ's queues, for whoever queues jobs and looks at them; a worker has its own."""
    return {
        priority: TakingQueue(
            keyspace.queue(priority), connection=keyspace.connection, job_class=KnownJob, serializer=JSONBytes
        )
        for priority in Priority
    }

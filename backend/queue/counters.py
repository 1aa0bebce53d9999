"""What has been done, ever.

Key, of one Label Studio:
    refam:<studio>:counts   hash: COUNTED
"""

from redis.client import Pipeline

from backend.queue.keyspace import Keyspace

__all__ = ["Counters"]

COUNTED = ("done", "failed", "nothing", "heatmaps", "image_embeddings")


class Counters:
    """Jobs that are done, have failed, or found nothing; heatmaps and image_embeddings that were computed for them."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._connection = keyspace.connection
        self._key = keyspace.key("counts")

    def add(self, pipe: Pipeline, **numbers: int) -> None:
        """Add to what is COUNTED.

        pipe: the commands are added to it.
        """
        for name, number in numbers.items():
            if number:
                pipe.hincrby(self._key, name, number)

    def totals(self) -> dict[str, int]:
        """Everything that is COUNTED."""
        found = self._connection.hmget(self._key, list(COUNTED))
        return {name: int(number or 0) for name, number in zip(COUNTED, found, strict=True)}

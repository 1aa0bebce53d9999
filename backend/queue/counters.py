"""What has been done, ever.

Key:
    refam:counts        hash: COUNTED
"""

from redis import Redis

__all__ = ["Counters"]

COUNTS = "refam:counts"
COUNTED = ("done", "failed", "heatmaps", "image_embeddings")


class Counters:
    """Jobs that are done and that have failed; heatmaps and image_embeddings that were computed for them."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection

    def add(self, **numbers: int) -> None:
        """Add to what is COUNTED."""
        with self._connection.pipeline() as pipe:
            for name, number in numbers.items():
                if number:
                    pipe.hincrby(COUNTS, name, number)
            pipe.execute()

    def totals(self) -> dict[str, int]:
        """Everything that is COUNTED."""
        found = self._connection.hmget(COUNTS, list(COUNTED))
        return {name: int(number or 0) for name, number in zip(COUNTED, found, strict=True)}

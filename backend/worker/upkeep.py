"""What is due by itself, from time to time. Every worker sees to it."""

import time

from backend.delivery.claims import Claims
from backend.delivery.schedule import Schedule
from backend.queue.shared_state import SharedState

__all__ = ["Upkeep"]

TOGETHER = 15  # seconds; tasks whose claims end within them are looked at again together


class Upkeep:
    """Schedules the jobs that nobody asks for."""

    def __init__(self, shared: SharedState) -> None:
        self._claims = Claims(shared.keyspace)
        self._schedule = Schedule(shared.jobs)

    def run(self) -> None:
        """Have tasks looked at once more whose claims ended a while ago, unless that is scheduled already."""
        if self._claims.ended(time.time() - TOGETHER, 1):
            self._schedule.schedule_look_again()

"""Keeps the private Redis running."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from backend.errors import QueueUnavailableError
from backend.supervisor.pauses import Pauses
from backend.supervisor.redis_server import RedisServer

__all__ = ["RedisKeeper"]

FROZEN_SECONDS = 30  # without an answer, after which a server that runs is ended; what it accepted is on disk
LOOK = 1  # seconds between two looks for an answer
LEAST_FREE = 64 * 2**20  # bytes of the disk; with less, Redis would end at its next write


class RedisKeeper:
    """Starts a server again where it died, and in place of one that is frozen; and leaves it where its disk is full.

    say: called with each line of progress; the same is said once.
    """

    def __init__(self, server: RedisServer, folder: Path, say: Callable[[str], None]) -> None:
        self._server = server
        self._folder = folder
        self._say = say
        self._said = ""
        self._pauses = Pauses()
        self._started = self._answered = self._looked = time.monotonic()
        self._start_at: float | None = None

    def keep_alive(self) -> None:
        """Look once."""
        now = time.monotonic()
        if self._server.is_alive():
            self._look_for_answer(now)
        elif self._start_at is None:
            pause = self._pauses.next(now - self._started)
            self._tell(f"redis stopped; starting it again in {pause:g} s")
            self._start_at = now + pause
        elif now >= self._start_at:
            self._start(now)

    def _look_for_answer(self, now: float) -> None:
        if now - self._looked < LOOK:
            return
        self._looked = now
        if not self._server.is_frozen():
            self._answered = now
        elif now - self._answered > FROZEN_SECONDS:
            self._tell(f"redis has not answered for {FROZEN_SECONDS} s; it is ended")
            self._server.kill()

    def _start(self, now: float) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < LEAST_FREE:
            self._tell(
                f"redis   waits   the disk of {self._folder} is full ({free // 2**20} MiB left); make room there"
            )
            return
        self._start_at = None
        self._started = self._answered = now
        try:
            self._server.start()
        except QueueUnavailableError as error:
            self._tell(f"redis   failed  {error}")
        else:
            self._said = ""

    def _tell(self, line: str) -> None:
        """A line more each second would fill a disk."""
        if line != self._said:
            self._said = line
            self._say(line)

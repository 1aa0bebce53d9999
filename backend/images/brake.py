"""Hosts that did not answer: for a while they are not asked again, so that others' images need not wait for theirs."""

import threading
import time
from collections.abc import Callable

from cachetools import LRUCache

from backend.errors import TemporaryError

__all__ = ["Brake"]

PATIENCE = 3  # downloads from a host, one after another, that were not answered in time
FIRST, LONGEST = 30.0, 600.0  # seconds; each pause is twice as long as the one before
MOST_HOSTS = 1000  # that are remembered


class Brake:
    """Of one process. Threads may share it. clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: LRUCache[str, tuple[int, float]] = LRUCache(MOST_HOSTS)  # silences, and when the last one ended

    def check(self, host: str) -> None:
        """Raises TemporaryError where a host is not to be asked now."""
        with self._lock:
            silences, since = self._hosts.get(host, (0, 0.0))
        left = since + _pause(silences) - self._clock()
        if left > 0:
            message = f"The image's host {host} did not answer a moment ago; it is not asked again for {left:.0f} s."
            raise TemporaryError(message)

    def note(self, host: str, *, silent: bool) -> None:
        """A download has ended, perhaps because the host did not answer in time."""
        with self._lock:
            if silent:
                self._hosts[host] = self._hosts.get(host, (0, 0.0))[0] + 1, self._clock()
            else:
                self._hosts.pop(host, None)


def _pause(silences: int) -> float:
    return min(FIRST * 2 ** (silences - PATIENCE), LONGEST) if silences >= PATIENCE else 0.0

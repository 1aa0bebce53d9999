"""Processes that end with the one that started them, however that one ended."""

import os
import signal
import threading

__all__ = ["end_with_parent"]

STDIN = 0


def end_with_parent() -> None:
    """Stop this process, as SIGTERM does, once nobody holds the other end of its standard input any more.

    `refam-backend up` holds it; the kernel closes it even if `up` is killed.
    """
    threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

"""Programs of their own process that the demonstrations start, wait for and stop: the backend, and Label Studio."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from backend.errors import ProgramError
from backend.exclusive import listen

__all__ = ["backend_running", "free_port", "running"]

START_SECONDS = 300  # Label Studio's first start makes its database
LOOK = 0.2  # seconds between two looks
STOP_SECONDS = 90  # longer than `refam-backend up` lets jobs finish
HURRY_SECONDS = 10


def free_port() -> int:
    """A port of the loopback address that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], health: str, log: Path) -> Iterator[None]:
    """Run a program, from when `health` answers until the end, in a session of its own: Ctrl+C does not reach it.

    Its port must be free, or another one's answer would be taken for its own.

    health: URL that answers once the program is ready.
    log: file that its output replaces.
    Raises ProgramError if it does not start.
    """
    url = httpx.URL(health)
    listen(url.host, url.port or 80, "Stop what uses it, or choose another one with --port.").close()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own choice of programs
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(process, health, log)
        yield
    finally:
        _stop(process)


@contextmanager
def backend_running(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """`refam-backend up` at a port of the loopback address, ready for requests; yields its address.

    environment: its settings. Without REFAM_BACKEND_PORT, a free port is taken.
    """
    port = environment.get("REFAM_BACKEND_PORT") or str(free_port())
    address = f"http://127.0.0.1:{port}"
    environment = {**environment, "REFAM_BACKEND_HOST": "127.0.0.1", "REFAM_BACKEND_PORT": port}
    with running([sys.executable, "-m", "backend", "up"], environment, f"{address}/health", log):
        yield address


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        time.sleep(LOOK)
    raise ProgramError(f"Nothing answers at {url}: see {log}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop; to hurry, where Ctrl+C is pressed again; and end it where it does not."""
    for seconds in (STOP_SECONDS, HURRY_SECONDS):
        process.terminate()
        try:
            process.wait(seconds)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    process.kill()
    process.wait()

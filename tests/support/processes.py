"""This project's programs as processes of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.queue.fleet import Fleet

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(check: Callable[[], Any], seconds: float = 10) -> Any:
    """The first true answer of `check`, asked again and again."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return answer


class Processes:
    """Starts this project's programs and ends them after the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start `python *command` from the project's root; its output goes to `self.log`."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    def peaks(self) -> list[int]:
        """Bytes that each of those that run has taken at most."""
        peaks = []
        for process in self._running:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks.append(1024 * int(status.partition("VmHWM:")[2].split()[0]))
        return peaks

    @property
    def log(self) -> Path:
        return self._folder / "processes.log"

    def stub_worker(self, fleet: Fleet, **variables: str) -> subprocess.Popen[bytes]:
        """A worker process with the stub, once it is ready for jobs."""
        process = self.start("-m", "tests.support.stub_worker", **variables)
        eventually(lambda: str(process.pid) in [worker["pid"] for worker in fleet.workers()], 120)
        return process

    def stop_all(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

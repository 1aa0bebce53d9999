"""The service in processes of its own: Redis, web server, workers, and the stand-in for Label Studio."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import PREFIX, load_settings, variables
from backend.supervisor.redis_server import RedisServer
from tests.support.label_studio import ACCESS, PAT

ROOT = Path(__file__).parents[2]
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Text name="expression" value="$text"/>
  <BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>
</View>"""
PROJECT = 1
PATIENCE = 300  # seconds


class Stack:
    """A running service.

    web: client of the backend's web server. studio: client of the stand-in, for its own routes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        port, studio_port = free_port(), free_port()
        address = f"http://127.0.0.1:{studio_port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not _is_setting(name)},
            f"{PREFIX}STATE_DIR": str(folder / "state"),
            f"{PREFIX}PORT": str(port),
            f"{PREFIX}LOG_LEVEL": "WARNING",
            "LABEL_STUDIO_URL": address,
            "LABEL_STUDIO_API_KEY": PAT,
            "PYTHONPATH": str(ROOT),
        }
        with environment(self.environment):
            self.settings = load_settings()
        self._redis = RedisServer(self.settings)
        self._redis.start()
        self.shared = SharedState.over(connect(self.settings), self.settings)
        self.web = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=100, trust_env=False)
        headers = {"Authorization": f"Bearer {ACCESS}"}
        self.studio = httpx.Client(base_url=address, headers=headers, timeout=100, trust_env=False)

    def run(self, *command: str, **values: str) -> subprocess.Popen[bytes]:
        """Start `python -m *command`; its output goes to the stack's log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**self.environment, **values},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    @property
    def busy(self) -> Path:
        """When the workers' models were at work: see tests.bench.model."""
        return self.folder / "busy"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start_studio(self) -> None:
        """Start the stand-in for Label Studio, with an empty project."""
        self.run("tests.bench.studio", str(self.studio.base_url.port))
        self.until(lambda: _answers(self.studio, "/bench/progress"))

    def start_web(self) -> subprocess.Popen[bytes]:
        """Start the web server and wait for its /health."""
        process = self.run("backend", "serve")
        self.until(lambda: _answers(self.web, "/health"), 0.005)
        return process

    def start_workers(
        self, count: int = 1, seconds: float = 0, core: int | None = None
    ) -> list[subprocess.Popen[bytes]]:
        """Start workers whose model takes `seconds`, all on the given core if there is one."""
        values = {"BENCH_SLEEP": str(seconds), "BENCH_BUSY": str(self.busy)}
        values |= {} if core is None else {"BENCH_CORE": str(core)}
        workers = [self.run("tests.bench.model", **values) for _ in range(count)]
        pids = {str(worker.pid) for worker in workers}
        self.until(lambda: pids <= {worker["pid"] for worker in self.shared.fleet.workers()})
        return workers

    def add_tasks(self, count: int, side: int = 512) -> list[dict[str, Any]]:
        """New tasks with images of side x side of their own, as Label Studio sends them."""
        added = self.studio.post("/bench/tasks", json={"count": count, "side": side}).raise_for_status().json()
        return list(added)

    def stored(self) -> int:
        """How many predictions Label Studio holds."""
        return int(self.studio.get("/bench/progress").json()["predictions"])

    def predict(self, tasks: list[dict[str, Any]]) -> list[Any]:
        """What "Retrieve predictions" sends, and what it gets."""
        params = {"login": None, "password": None, "context": None}
        body = {"tasks": tasks, "project": f"{PROJECT}.1", "label_config": CONFIG, "params": params}
        return list(self.web.post("/predict", json=body).raise_for_status().json()["results"])

    def until(self, check: Callable[[], Any], pause: float = 0.02) -> None:
        """Wait until `check` is true, as long as all processes live."""
        deadline = time.monotonic() + PATIENCE
        while not check():
            if time.monotonic() > deadline or any(process.poll() for process in self._processes):
                raise RuntimeError(f"the service does not get on:\n{self.log.read_text()[-5000:]}")
            time.sleep(pause)

    def stop(self, *processes: subprocess.Popen[bytes]) -> None:
        """Stop these processes, or all and Redis."""
        stopping = list(processes) or self._processes[::-1]
        for process in stopping:
            process.terminate()
        for process in stopping:
            process.wait(30)
            self._processes.remove(process)
        if not processes:
            self.shared.connection.close()
            self.web.close()
            self.studio.close()
            self._redis.stop()


@contextmanager
def running() -> Iterator[Stack]:
    """A service with an empty Redis."""
    with tempfile.TemporaryDirectory(prefix="refam-bench-") as folder:
        stack = Stack(Path(folder))
        try:
            yield stack
        finally:
            stack.stop()


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """The environment is `values` while this lasts."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_setting(name: str) -> bool:
    return name.startswith("REFAM_") or name in variables()


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False

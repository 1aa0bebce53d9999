"""A real Redis server for the session, a database of it for each test, and workers with a stub for the model."""

import base64
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis import Redis

from backend.queue.connection import connect
from backend.queue.job_queue import JobQueue
from backend.settings import PREFIX, Settings, load_settings, variables
from backend.supervisor.redis_server import RedisServer
from backend.worker.main import work
from tests.support.stub_worker import StubSegmenter

ROOT = Path(__file__).parents[2]
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Text name="expression" value="$text"/>
  <BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>
  <TextArea name="prompt" toName="image"/>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true"><Label value="Object"/></RectangleLabels>
</View>"""


def png(width: int = 12, height: int = 8, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG", **options)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def task(number: int, text: Any, image: str | None = None, **data: Any) -> dict[str, Any]:
    return {"id": number, "project": 7, "data": {"image": image or data_uri(png()), "text": text, **data}}


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Socket of a private Redis server, started by the code that users start it with."""
    folder = Path(tempfile.mkdtemp(prefix="refam-"))
    settings = Settings.model_validate({f"{PREFIX}STATE_DIR": folder})
    server = RedisServer(settings)
    server.start()
    yield settings.redis_socket
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No settings of the machine that runs the tests."""
    for name in [name for name in os.environ if name.startswith("REFAM_") or name in variables()]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}STATE_DIR", str(tmp_path / "state"))
    return monkeypatch


@pytest.fixture
def configure(environment: pytest.MonkeyPatch, redis_socket: Path) -> Callable[..., Settings]:
    """Settings with these variables, REFAM_BACKEND_ left out of their names, on a database of their own."""
    environment.setenv("REDIS_URL", f"unix://{redis_socket}?db=0")

    def configure(**values: object) -> Settings:
        for name, value in values.items():
            environment.setenv(name if name in variables() else PREFIX + name, str(value))
        return load_settings()

    return configure


@pytest.fixture
def settings(configure: Callable[..., Settings]) -> Settings:
    return configure(INLINE_SECONDS=20, RETRY_DELAYS=1, LOG_LEVEL="WARNING")


@pytest.fixture
def connection(settings: Settings) -> Iterator[Redis]:
    connection = connect(settings)
    connection.flushdb()
    yield connection
    connection.close()


@pytest.fixture
def queue(connection: Redis, settings: Settings) -> JobQueue:
    return JobQueue(connection, settings)


@pytest.fixture
def run_jobs(queue: JobQueue, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Runs all that is queued, in this process, and none of what is to be tried again later."""
    monkeypatch.setattr("backend.worker.heartbeat.INTERVAL", 3600)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}

    def run() -> None:
        assert work(queue.connection, settings, lambda _: StubSegmenter(), burst=True) == 0

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


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

    @property
    def log(self) -> Path:
        return self._folder / "processes.log"

    def stub_worker(self, queue: JobQueue, **variables: str) -> subprocess.Popen[bytes]:
        """A worker process with the stub, once it is ready for jobs."""
        process = self.start("-m", "tests.support.stub_worker", **variables)
        eventually(lambda: str(process.pid) in [worker["pid"] for worker in queue.workers()], 120)
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


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.stop_all()


def eventually(check: Callable[[], Any], seconds: float = 10) -> Any:
    """The first true answer of `check`, asked again and again."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return answer

"""A real Redis server for the session, a database of it for each test, and workers with a stub for the model."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from backend.queue.connection import connect
from backend.queue.counters import Counters
from backend.queue.fleet import Fleet
from backend.queue.job_queue import JobQueue
from backend.queue.shared_state import SharedState
from backend.queue.task_ledger import TaskLedger
from backend.settings import PREFIX, Settings, load_settings, variables
from backend.timings import Timings
from backend.worker.main import work
from tests.support.private_redis import redis_settings, redis_socket
from tests.support.processes import Processes, eventually, free_port
from tests.support.stub_worker import StubSegmenter

__all__ = ["redis_settings", "redis_socket"]  # a fixture


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No settings of the machine that runs the tests."""
    for name in [name for name in os.environ if name.startswith("REFAM_") or name in variables()]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}STATE_DIR", str(tmp_path / "state"))
    return monkeypatch


@pytest.fixture
def configure(environment: pytest.MonkeyPatch, redis_settings: Settings) -> Callable[..., Settings]:
    """Settings with these variables, REFAM_BACKEND_ left out of their names, on a database of their own."""
    environment.setenv("REDIS_URL", f"unix://{redis_settings.redis_socket}?db=0")

    def configure(**values: object) -> Settings:
        for name, value in values.items():
            environment.setenv(name if name in variables() else PREFIX + name, str(value))
        return load_settings()

    return configure


@pytest.fixture
def settings(configure: Callable[..., Settings]) -> Settings:
    return configure(INLINE_SECONDS=20, RETRY_DELAYS=1, LOG_LEVEL="WARNING")


@pytest.fixture
def connection(settings: Settings, redis_socket: Path) -> Iterator[Redis]:
    connection = connect(settings)
    connection.flushdb()
    yield connection
    connection.close()


@pytest.fixture
def shared(connection: Redis, settings: Settings) -> SharedState:
    return SharedState.over(connection, settings)


@pytest.fixture
def queue(shared: SharedState) -> JobQueue:
    return shared.jobs


@pytest.fixture
def fleet(shared: SharedState) -> Fleet:
    return shared.fleet


@pytest.fixture
def ledger(shared: SharedState) -> TaskLedger:
    return shared.ledger


@pytest.fixture
def counters(shared: SharedState) -> Counters:
    return shared.counters


@pytest.fixture
def run_jobs(connection: Redis, settings: Settings) -> Iterator[Callable[[], None]]:
    """Runs all that is queued, in this process, and none of what is to be tried again later."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}

    def run() -> None:
        timings = Timings(heartbeat=3600)
        assert work(connection, settings, lambda _: StubSegmenter(), timings=timings, burst=True) == 0

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.stop_all()


@pytest.fixture
def web(processes: Processes, environment: pytest.MonkeyPatch, connection: Redis) -> Iterator[httpx.Client]:
    """Address of a real web server, and its process."""
    port = free_port()
    process = processes.start("-m", "backend", "serve", REFAM_BACKEND_PORT=str(port))
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=100, trust_env=False)

    def is_up() -> bool:
        assert process.poll() is None, processes.log.read_text()
        try:
            return client.get("/health").is_success
        except httpx.TransportError:
            return False

    eventually(is_up, 120)
    client.process = process  # type: ignore[attr-defined]
    yield client
    client.close()

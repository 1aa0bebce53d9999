"""A real Redis server for the session, a database of it for each test, and workers with a stub for the model."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from backend.delivery.desk import Desk
from backend.label_studio.client import Studio
from backend.queue.backlog import Backlog
from backend.queue.connection import connect
from backend.queue.counters import Counters
from backend.queue.fleet import Fleet
from backend.queue.job_queue import JobQueue
from backend.queue.keyspace import Keyspace
from backend.queue.known_jobs import KnownJob
from backend.queue.shared_state import SharedState
from backend.queue.takeover import Sweeper
from backend.queue.task_ledger import TaskLedger
from backend.settings import PREFIX, Settings, load_settings, variables
from backend.timings import Timings
from backend.web.app import create_app
from backend.worker.main import work
from tests.support.deliveries import expire_claims
from tests.support.label_studio import PAT, LabelStudio, running
from tests.support.private_redis import redis_of_0_1, redis_settings, redis_socket
from tests.support.processes import Processes, eventually, free_port
from tests.support.rq_queues import rq_queues
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import CONFIG

__all__ = ["redis_of_0_1", "redis_settings", "redis_socket"]  # a fixture


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
def keyspace(shared: SharedState) -> Keyspace:
    return shared.keyspace


@pytest.fixture
def queue(shared: SharedState) -> JobQueue:
    return shared.jobs


@pytest.fixture
def backlog(shared: SharedState) -> Backlog:
    return shared.backlog


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


@pytest.fixture
def studio() -> Iterator[LabelStudio]:
    """A stand-in for Label Studio, with project 7."""
    with running() as studio:
        studio.add_project(7, CONFIG)
        yield studio


@pytest.fixture
def studio_settings(configure: Callable[..., Settings], studio: LabelStudio) -> Settings:
    """Settings that let predictions be posted to it. A test that wants them makes them its `settings`."""
    settings = configure(
        INLINE_SECONDS=20,
        RETRY_DELAYS=1,
        WRITE_DELAYS=1,
        LOG_LEVEL="WARNING",
        LABEL_STUDIO_URL=studio.url,
        LABEL_STUDIO_API_KEY=PAT,
    )
    studio.version = settings.model_version
    return settings


@pytest.fixture
def client(settings: Settings, shared: SharedState) -> Iterator[TestClient]:
    with TestClient(create_app(shared, settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def desk(settings: Settings, shared: SharedState) -> Desk:
    return Desk.over(shared, Studio(settings), settings)


@pytest.fixture
def run_later(run_jobs: Callable[[], None], connection: Redis, shared: SharedState) -> Callable[[], None]:
    """Runs what waits for a later time, as the sweeper would, which burst mode lacks; claims have ended by then."""

    def run() -> None:
        expire_claims(connection)
        lines = rq_queues(shared.keyspace)
        for each in lines:
            for job_id in each.scheduled_job_registry.get_job_ids():
                connection.zadd(each.scheduled_job_registry.key, {job_id: 0})
        Sweeper(connection, lines, shared.keyspace.key("taken"), KnownJob).sweep()
        run_jobs()

    return run

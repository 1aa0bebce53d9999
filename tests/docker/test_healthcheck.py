"""The containers' health checks, against a real Redis server and a real web server."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from backend.queue.connection import connect
from backend.queue.keyspace import Keyspace
from backend.settings import Settings
from backend.supervisor.redis_server import RedisServer
from backend.timings import Timings
from backend.worker.rq_worker import RefAMWorker
from tests.docker.files import DOCKER, ROOT

pytestmark = pytest.mark.process


def health(process: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DOCKER / "healthcheck.py", process],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


class Answer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_web_is_well_if_it_answers(monkeypatch: pytest.MonkeyPatch, status: int, well: bool) -> None:
    monkeypatch.setattr(Answer, "status", status)
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = health("web", REFAM_BACKEND_PORT=str(server.server_port))
        server.shutdown()
    assert (result.returncode == 0) is well


def test_web_is_not_well_if_it_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert health("web", REFAM_BACKEND_PORT=str(port)).returncode == 1


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings with a Redis server of their own."""
    folder = tempfile.mkdtemp(prefix="refam-")
    settings = Settings.model_validate({"REFAM_BACKEND_STATE_DIR": Path(folder)})
    server = RedisServer(settings)
    server.start()
    yield settings
    server.stop()
    shutil.rmtree(folder)


def worker_health(settings: Settings) -> subprocess.CompletedProcess[str]:
    return health("worker", REDIS_URL="", REFAM_BACKEND_STATE_DIR=str(settings.state_dir))


def test_worker_is_well_while_it_gives_heartbeats(settings: Settings) -> None:
    nobody = worker_health(settings)
    worker = RefAMWorker(Keyspace.over(connect(settings), settings), {}, settings, Timings())
    worker.register_birth()
    running = worker_health(settings)
    long_ago = datetime.now(UTC) - timedelta(minutes=1)
    worker.connection.hset(worker.key, "last_heartbeat", long_ago.isoformat())
    silent = worker_health(settings)
    with worker.connection.pipeline() as pipe:
        worker.heartbeat(pipeline=pipe)
        pipe.execute()
    worker.connection.hset(worker.key, "hostname", "another-container")
    elsewhere = worker_health(settings)
    assert [result.returncode for result in (nobody, running, silent, elsewhere)] == [1, 0, 1, 1]
    assert nobody.stderr == "the worker process is not well\n"


def test_worker_is_not_well_without_redis(tmp_path: Path) -> None:
    assert health("worker", REDIS_URL=f"unix://{tmp_path}/redis.sock").returncode == 1

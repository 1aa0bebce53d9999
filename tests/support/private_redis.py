"""A real Redis server for a session."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.settings import PREFIX, Settings
from backend.supervisor.redis_server import RedisServer


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

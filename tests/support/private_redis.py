"""A real Redis server for a session."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.settings import PREFIX, Settings
from backend.supervisor.redis_server import RedisServer


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

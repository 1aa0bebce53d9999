from pathlib import Path

import pytest

from backend.errors import QueueUnavailableError
from backend.queue.connection import connect
from backend.settings import load_settings
from backend.supervisor.redis_server import RedisServer
from tests.support.processes import eventually


@pytest.fixture
def server():
    server = RedisServer(load_settings())
    yield server
    server.stop()


def test_only_its_user_can_connect_and_data_survives(server):
    settings = load_settings()
    server.start()
    assert settings.redis_socket.parent.stat().st_mode & 0o777 == 0o700
    connection = connect(settings)
    assert connection.config_get("port")["port"] == "0"
    connection.set("kept", "yes")
    server.stop()
    assert not server.is_alive()
    server.start()
    assert connect(settings).get("kept") == b"yes"


def test_a_server_that_was_left_behind_is_taken_over(server):
    server.start()
    other = RedisServer(load_settings())
    other.start()
    assert other.is_alive()
    other.stop()
    eventually(lambda: not server.is_alive())


def test_too_long_a_path_is_explained(environment, tmp_path):
    environment.setenv("REFAM_BACKEND_STATE_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(QueueUnavailableError, match="REFAM_BACKEND_STATE_DIR"):
        RedisServer(load_settings()).start()


def test_a_server_that_cannot_start_points_to_its_log(environment, monkeypatch, tmp_path):
    monkeypatch.setattr("backend.supervisor.redis_server.__redis_executable__", "/bin/false")
    with pytest.raises(QueueUnavailableError, match=r"redis\.log"):
        RedisServer(load_settings()).start()
    assert not Path(load_settings().redis_socket).exists()

from pathlib import Path

import pytest

from backend.errors import QueueUnavailableError
from backend.queue.connection import connect
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import load_settings
from backend.supervisor.redis_server import RedisServer
from tests.support.processes import eventually
from tests.support.tasks import requests_of

pytestmark = pytest.mark.process


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


def test_a_server_that_cannot_start_points_to_its_log(environment, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.15 sha=0"\n')
    program.chmod(0o755)
    environment.setenv("PATH", str(tmp_path))
    with pytest.raises(QueueUnavailableError, match=r"Redis 7\.0\.15 does not start.*redis\.log"):
        RedisServer(load_settings()).start()
    assert not Path(load_settings().redis_socket).exists()


def test_a_state_folder_of_0_1_is_taken_over_with_what_waits_in_it(server, redis_of_0_1):
    settings = load_settings()
    folder = settings.redis_socket.parent
    requests = requests_of(settings, "left", "right")
    with redis_of_0_1(folder) as connection:
        SharedState.over(connection, settings).jobs.submit(requests, Priority.BATCH)
    assert (folder / "appendonly.aof").is_file()
    server.start()
    assert connect(settings).info("server")["redis_version"] >= "7"
    shared = SharedState.over(connect(settings), settings)
    assert [job.project for job in shared.backlog.next_in_line(10)] == ["7", "7"]
    assert shared.jobs.upcoming(10) == requests


def test_redis_6_does_not_start_empty_beside_what_a_newer_one_wrote(server, redis_of_0_1, environment, tmp_path):
    server.start()
    connect(load_settings()).set("kept", "yes")
    server.stop()
    environment.setenv("PATH", str(tmp_path))
    with pytest.raises(QueueUnavailableError, match=r"only Redis 6\.2\.\d+, which cannot read it"):
        RedisServer(load_settings()).start()

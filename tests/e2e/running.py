"""What the browser tests share: names, places, and this project's commands as a user runs them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "e2e"
CONFIG = (ROOT / "label_config.xml").read_text()
REFUSED = "127.0.0.9"  # Label Studio refuses it as it refuses, without USE_DEFAULT_BANNED_SUBNETS=false, all like it
USER, PASSWORD = "label studio", "a pass:word"
PICTURES = 24
PATIENCE = 600  # seconds; a busy machine makes few masks a minute


def eventually(check: Callable[[], bool]) -> None:
    """Wait until `check` answers yes."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(1)  # asking takes time from those who are waited for


def start_command(variables: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """Start `refam-backend` with these arguments and settings."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "backend", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_command(variables: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of `refam-backend` with these arguments and settings."""
    command = start_command(variables, *arguments)
    try:
        said, _ = command.communicate(timeout=PATIENCE)
    finally:
        command.kill()
    return command.returncode, said

"""The wheel works outside of any checkout. Its requirements are those of this environment, to spare a download."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from PIL import Image

from tests.support.processes import ROOT, eventually, free_port

pytestmark = pytest.mark.process

PACKAGES = ("backend", "refam")
FILES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "label_config.xml",
    "requirements-web.txt",
    "requirements-worker.txt",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the wheel's programs, in a virtual environment that holds nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"  # setuptools would leave its work in the checkout, and find it there the next time
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    return python.parent


@pytest.fixture
def command(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Starts a program of the wheel in an empty folder. Its requirements are found behind it, this checkout is not."""
    monkeypatch.chdir(tmp_path)
    foreign = ("REFAM", "REDIS", "LABEL_STUDIO", "BASIC_AUTH", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {"PYTHONPATH": sysconfig.get_path("purelib"), "REFAM_BACKEND_STATE_DIR": str(tmp_path / "state")}
    environment |= {"REFAM_BACKEND_PORT": str(free_port()), "HOME": str(tmp_path)}

    def start(program: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(installed / program), *arguments],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


def said(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def test_it_is_the_wheel_that_runs(installed, command):
    code = "import backend, refam; print(backend.__file__, refam.__file__)"
    assert [str(installed.parent) in path for path in said(command("python", "-c", code)).split()] == [True, True]


def test_the_demonstration_and_the_method(command, tmp_path):
    said(command("refam-backend", "demo", "--tasks", "2"))
    assert json.loads((tmp_path / "build" / "demo" / "report.json").read_text())["predicted"] == 2
    picture = tmp_path / "build" / "demo" / "sample" / "001.png"
    said(command("refam", "segment", str(picture), "the red thing on the left", "--output", "mask.png"))
    with Image.open(tmp_path / "mask.png") as mask, Image.open(picture) as image:
        assert mask.size == image.size


def test_up_and_the_doctor(command):
    up = command("refam-backend", "up")
    try:
        eventually(lambda: "ok" in said_by_doctor(command), 200)
    finally:
        up.send_signal(signal.SIGTERM)
        output, _ = up.communicate(timeout=90)
    assert up.returncode == 0, output


def said_by_doctor(command) -> str:
    doctor = command("refam-backend", "doctor")
    output, _ = doctor.communicate(timeout=120)
    return output if doctor.returncode == 0 else ""

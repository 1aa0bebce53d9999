"""The Dockerfiles: linted, pinned, without root and secrets, and with the install step that everybody uses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.files import DOCKER, DOCKERFILES, ROOT, arguments, image_environment, instructions

pytestmark = pytest.mark.process

HADOLINT = Path(sys.executable).with_name("hadolint")
REQUIREMENTS = {"web.Dockerfile": "requirements-web.txt", "worker.Dockerfile": "requirements.txt"}
QUIET = {"--quiet", "--no-cache-dir", "--disable-pip-version-check"}
each = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)


def lint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", dockerfile], capture_output=True, text=True, check=False)


def pip_installs(text: str) -> list[str]:
    """What `pip install` is told in a text, without the options that only make it quiet."""
    commands = re.findall(r"(?:pip install|\$\(PIP_INSTALL\)) ([^\n&]+)", text)
    return [" ".join(word for word in command.split() if word not in QUIET) for command in commands]


def test_both_images_have_a_dockerfile() -> None:
    assert {path.name for path in DOCKERFILES} == set(REQUIREMENTS)


@each
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    result = lint(dockerfile)
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM python:latest\nRUN pip install torch\n")
    result = lint(careless)
    assert result.returncode == 1
    assert {"DL3007", "DL3013", "DL3042"} <= set(re.findall(r"DL\d+", result.stdout))


@each
def test_base_image_is_pinned_to_a_release_that_fits_the_project(dockerfile: Path) -> None:
    (base,) = arguments(dockerfile, "FROM")
    assert re.fullmatch(r"python:3\.13\.\d+-slim-[a-z]+", base)


@each
def test_packages_are_installed_as_the_makefile_does(dockerfile: Path) -> None:
    always, *makefile = pip_installs((ROOT / "Makefile").read_text())[:3]  # then come Label Studio and the browser
    development = (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert makefile == ["-r requirements-dev.txt", "--no-deps --editable ."]
    assert "-r requirements.txt" in development
    packages, project = pip_installs("\n".join(arguments(dockerfile, "RUN")))
    assert packages == f"{always} -r {REQUIREMENTS[dockerfile.name]}"
    assert project == makefile[1]


@each
def test_what_an_install_step_names_is_in_the_image_by_then(dockerfile: Path) -> None:
    there: set[str] = set()
    for name, given in instructions(dockerfile):
        if name == "COPY":
            there |= {Path(source).name for source in given.split()[:-1]}
        for file in re.findall(r"-r (\S+)", given) if name == "RUN" else ():
            included = re.findall(r"^-r (\S+)", (ROOT / file).read_text(), re.MULTILINE)
            assert {file, *included} <= there
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert set(re.findall(r'"([\w-]+\.(?:txt|md)|LICENSE)"', pyproject)) <= there


@each
def test_sources_exist_and_reach_the_build(dockerfile: Path) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for given in arguments(dockerfile, "COPY"):
        for source in given.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed


def test_nothing_else_reaches_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    copied = {source for path in DOCKERFILES for given in arguments(path, "COPY") for source in given.split()[:-1]}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert not any(Path("docker/.env").is_relative_to(source) for source in copied)


@each
def test_the_container_runs_as_a_plain_user(dockerfile: Path) -> None:
    names = [name for name, _ in instructions(dockerfile)]
    (user,) = arguments(dockerfile, "USER")
    assert int(user) >= 1000
    assert f"useradd --create-home --uid {user} " in " ".join(arguments(dockerfile, "RUN"))
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in ("RUN", "COPY"))


@each
def test_no_secret_is_baked_in(dockerfile: Path) -> None:
    names = {*image_environment(dockerfile), *(given.split("=")[0] for given in arguments(dockerfile, "ARG"))}
    assert not [name for name in names if re.search("TOKEN|KEY|PASS|SECRET", name)]


@each
def test_process_and_health_check_are_commands_that_exist(dockerfile: Path) -> None:
    process = dockerfile.stem
    command = {"web": "serve", "worker": "worker"}[process]
    (check,) = arguments(dockerfile, "HEALTHCHECK")
    assert arguments(dockerfile, "CMD") == [f'["refam-backend", "{command}"]']
    assert check.endswith(f'CMD ["python", "docker/healthcheck.py", "{process}"]')
    assert (DOCKER / "healthcheck.py").is_file()
    result = subprocess.run(
        [sys.executable, "-m", "backend", command, "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0


def test_only_the_worker_sees_a_gpu_and_keeps_models() -> None:
    web, worker = (image_environment(path) for path in DOCKERFILES)
    assert {"NVIDIA_DRIVER_CAPABILITIES", "HF_HOME", "TORCH_HOME"} <= set(worker) - set(web)
    assert {"compute", "utility"} == set(worker["NVIDIA_DRIVER_CAPABILITIES"].split(","))
    (volume,) = arguments(DOCKER / "worker.Dockerfile", "VOLUME")
    assert Path(worker["HF_HOME"]).is_relative_to(volume)
    assert Path(worker["TORCH_HOME"]).is_relative_to(volume)

"""`make docker-check`: the Dockerfiles' steps, carried out without a container engine; then web and worker make a mask.

Each image's root is a Debian of the base image's release with that release's Python, made by mmdebstrap. The steps are
read from the Dockerfiles and run in it with chroot, which needs root. Not shown: the base image itself (it has the same
minor release of Python, built otherwise), the GPU, compose's networks, volumes and capabilities, and the Redis image.
"""

import base64
import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from refam.synthetic.scenes import random_scene
from tests.docker.files import DOCKER, ROOT, instructions
from tests.support.tasks import CONFIG

PATIENCE = 300  # seconds for a process to start
FIRST_PORT = 9190


class CheckError(Exception):
    """A step that failed."""


@dataclass
class Image:
    """A root folder in which a Dockerfile's steps are carried out, and what they have set so far."""

    root: Path
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    folder: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def build(self, dockerfile: Path, pip: Mapping[str, str]) -> None:
        """Carry out all steps. pip: its settings on this machine."""
        for name, given in instructions(dockerfile):
            say(f"{dockerfile.name}: {name} {given[:90]}")
            match name:
                case "FROM":
                    self._check_base(given)
                case "ENV":
                    self.environment |= dict(pair.split("=", 1) for pair in shlex.split(given))
                case "WORKDIR":
                    self.folder = given
                    self._inside(given).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(*shlex.split(given))
                case "RUN":
                    self.run(["sh", "-c", given], pip, timeout=1800)
                case "USER":
                    self.user = given
                case "CMD":
                    self.command = json_list(given)
                case "HEALTHCHECK":
                    self.health = json_list(given.partition("CMD ")[2])
                case "ARG" | "EXPOSE" | "VOLUME":
                    pass
                case _:
                    raise CheckError(f"{dockerfile.name}: the check does not know {name}.")

    def run(self, command: list[str], more: Mapping[str, str], timeout: float) -> str:
        """Run a command to its end. Returns what it said."""
        result = subprocess.run(
            self.chroot(command),
            env=self.environment | dict(more),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if result.returncode:
            raise CheckError(f"{shlex.join(command)} failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
        return result.stdout

    def chroot(self, command: list[str]) -> list[str]:
        """The command as it is run here."""
        inside = f"cd {shlex.quote(self.folder)} && exec {shlex.join(command)}"
        return ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "sh", "-c", inside]

    def _check_base(self, base: str) -> None:
        wanted = re.match(r"python:(\d+\.\d+)\.", base)
        found = self.run(["python3", "--version"], {}, timeout=60).split()[1]
        if not wanted or not found.startswith(f"{wanted[1]}."):
            raise CheckError(f"{base} has another Python than Debian here, which has {found}.")
        self.run(["python3", "-m", "venv", "/usr/local"], {}, timeout=300)  # where the base image has its own

    def _copy(self, *paths: str) -> None:
        *sources, target = paths
        place = self._inside(target)
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                folder = place if target.endswith("/") else place.parent
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / source.name if target.endswith("/") else place)

    def _inside(self, path: str) -> Path:
        return self.root / Path(self.folder, path).as_posix().lstrip("/")


@contextmanager
def debian(release: str, tar: Path, pip: Mapping[str, str]) -> Iterator[Image]:
    """A root folder of its own, with /proc, /dev and what pip needs of this machine."""
    root = Path(tempfile.mkdtemp(prefix="docker-check-"))
    mounts: list[Path] = []
    try:
        if not tar.exists():
            packages = "python3,python3-venv,ca-certificates,passwd"
            run(["mmdebstrap", "--variant=minbase", f"--include={packages}", release, str(tar)])
        run(["tar", "-xf", str(tar), "-C", str(root)])
        for path in [Path("/proc"), Path("/dev"), *local_paths(pip)]:
            place = root / path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                place.mkdir(exist_ok=True)
            else:
                place.touch()
            run(["mount", "--bind", str(path), str(place)])
            mounts.append(place)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(Path("/etc") / name, root / "etc" / name)
        yield Image(root)
    finally:
        for place in reversed(mounts):
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        if not any(map(os.path.ismount, mounts)):
            shutil.rmtree(root, ignore_errors=True)


def pip_settings() -> dict[str, str]:
    """pip's settings on this machine, such as an index of its own, as variables."""
    said = run([sys.executable, "-m", "pip", "config", "list"])
    found = re.findall(r"^\S*?\.?([\w-]+)='(.*)'$", said, re.MULTILINE)
    return {f"PIP_{name.upper().replace('-', '_')}": value.replace("\\n", " ") for name, value in found}


def local_paths(settings: Mapping[str, str]) -> list[Path]:
    """Files and folders that pip's settings name; the files of an index on disk lie beside it."""
    words = [
        word.removeprefix("file://").removesuffix("/simple") for value in settings.values() for word in value.split()
    ]
    return [path for path in dict.fromkeys(map(Path, words)) if path.is_absolute() and path.exists()]


def release() -> str:
    """Debian's release that the images are based on."""
    bases = {given for path in DOCKER.glob("*.Dockerfile") for name, given in instructions(path) if name == "FROM"}
    (base,) = bases
    return base.rpartition("-")[2]


@contextmanager
def started(image: Image, variables: Mapping[str, str]) -> Iterator[None]:
    """The image's own command, until the end; ready once its own health check says so."""
    environment = image.environment | dict(variables)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(image.chroot(image.command), env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE
            while subprocess.run(
                image.chroot(image.health), env=environment, capture_output=True, check=False
            ).returncode:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise CheckError(f"{shlex.join(image.command)} is not healthy:\n{log.read().decode()[-4000:]}")
                time.sleep(1)
            yield
        finally:
            process.terminate()
            process.wait(60)


def one_mask(address: str) -> None:
    """Send a task as Label Studio does, and look at what comes back."""
    scene, file = random_scene(np.random.default_rng(1)), io.BytesIO()
    scene.image.save(file, "PNG")
    image = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    task = {"id": 1, "project": 1, "data": {"image": image, "text": f"the {scene.things[0].kind.noun}"}}
    body = {"tasks": [task], "project": "1.1", "label_config": CONFIG, "params": {"context": None}}
    answer = httpx.post(f"{address}/predict", json=body, timeout=120, trust_env=False).raise_for_status().json()
    (result,) = answer["results"]
    if not result or not result["result"][0]["value"]["rle"]:
        raise CheckError(f"no mask came back: {answer}")
    say(f"a mask came back, of {result['model_version']}, with a score of {result['score']}")


def free_port(first: int) -> int:
    """A free port, from `first` on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise CheckError("no port is free")


def run(command: list[str]) -> str:
    """Run a program here. Returns what it said."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CheckError(f"{shlex.join(command)} failed:\n{result.stderr[-2000:]}")
    return result.stdout


def json_list(text: str) -> list[str]:
    """A command in the exec form."""
    return [str(word) for word in re.findall(r'"([^"]*)"', text)]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Build both, start them, get a mask. Returns the exit code."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        say("docker-check needs root, and mmdebstrap (`apt-get install mmdebstrap`).")
        return 1
    pip = pip_settings()
    port, redis_port = free_port(FIRST_PORT), free_port(FIRST_PORT + 100)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        images = {}
        for name in ("web", "worker"):
            images[name] = stack.enter_context(debian(release(), folder / "debian.tar", pip))
            images[name].build(DOCKER / f"{name}.Dockerfile", pip)
        redis = subprocess.Popen(
            ["redis-server", "--port", str(redis_port), "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL
        )
        stack.callback(redis.wait)
        stack.callback(redis.terminate)
        variables = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}", "REFAM_BACKEND_PORT": str(port)}
        variables |= {"REFAM_BACKEND_OPEN": "1"}  # as compose sets it
        for name, image in images.items():
            stack.enter_context(started(image, variables))
            say(f"{name} is healthy")
        one_mask(f"http://127.0.0.1:{port}")
    say("Not shown: the base image, the GPU, compose's networks, volumes and capabilities, and the Redis image.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CheckError as error:
        say(str(error))
        sys.exit(1)

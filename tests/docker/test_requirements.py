"""The requirements: one exact pin a package, and a web process that needs no more than its own list."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.files import ROOT

pytestmark = pytest.mark.process

PARTS = ("requirements-web.txt", "requirements-worker.txt")
LOADED = """
import json, sys
sys.modules |= dict.fromkeys(sys.argv[1:])  # cannot be imported, as if they were not installed
before = set(sys.modules)
import backend.web.app, backend.cli
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""


def requirements(file: str) -> list[Requirement]:
    lines = (re.sub(r"\s*#.*", "", line) for line in (ROOT / file).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def closure(names: set[str]) -> set[str]:
    """Packages that come with these, themselves included."""
    found: set[str] = set()
    waiting = {canonicalize_name(name) for name in names}
    while waiting:
        found |= waiting
        needed = [Requirement(line) for name in waiting for line in requires(name) or []]
        wanted = {canonicalize_name(need.name) for need in needed if not need.marker or need.marker.evaluate()}
        waiting = wanted - found
    return found


def test_every_package_has_one_exact_pin() -> None:
    pins = [pin for file in (*PARTS, "requirements-dev.txt") for pin in requirements(file)]
    names = [canonicalize_name(pin.name) for pin in pins]
    assert sorted(names) == sorted(set(names))
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)


def test_all_that_the_pins_pull_in_is_pinned_too_and_is_what_the_tests_run_on() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    needed = closure(
        {pin.name for file in (*PARTS, "requirements-dev.txt") for pin in requirements(file) if applies(pin)}
    )
    installed = {name: version(name).partition("+")[0] for name in needed}
    assert {name: pinned.get(name) for name in needed} == installed


def applies(pin: Requirement) -> bool:
    return pin.marker is None or pin.marker.evaluate()


def test_pip_and_setuptools_read_the_same_lists() -> None:
    included = re.findall(r"^-r (\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tuple(included) == PARTS
    assert tuple(project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"]) == PARTS
    assert requirements("requirements.txt") == []


def test_the_web_process_loads_only_what_its_list_brings() -> None:
    owners = {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}
    brought, worker, dev = (
        closure({pin.name for pin in requirements(file)}) for file in (*PARTS, "requirements-dev.txt")
    )
    only_dev = [module for module, names in owners.items() if names <= dev - worker - brought]
    assert {"pytest", "cryptography"} <= set(only_dev)  # redis takes the latter if it is there
    output = subprocess.run(
        [sys.executable, "-c", LOADED, *only_dev], cwd=ROOT, capture_output=True, text=True, check=True
    )
    strangers = {module for module in json.loads(output.stdout) if module in owners and not owners[module] & brought}
    assert strangers == {"backend", "refam"}
    assert not brought & {"torch", "diffusers", "transformers", "segment-anything"}

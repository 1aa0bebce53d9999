"""The files of docker/, read as far as the tests need it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
OVERRIDES = {"gpu": (), "cpu": ("compose.cpu.yaml",)}


class Reset:
    """Compose's `!reset`: the override takes the entry away."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!reset", lambda loader, node: Reset())


def compose(variant: str = "gpu") -> dict[str, Any]:
    """The compose file with the overrides of a variant merged into it."""
    document: dict[str, Any] = {}
    for name in ("compose.yaml", *OVERRIDES[variant]):
        document = _merge(document, yaml.load((DOCKER / name).read_text(), _Loader))  # noqa: S506  # a safe loader's child
    return document


def _merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, Reset):
            merged.pop(key)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merge(base[key], value)
        elif isinstance(value, list):
            merged[key] = [*base.get(key, []), *value]
        else:
            merged[key] = value
    return merged


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, arguments.strip()) for name, arguments in (line.split(" ", 1) for line in joined.splitlines())]


def arguments(dockerfile: Path, instruction: str) -> list[str]:
    """Arguments of each occurrence of an instruction, in order."""
    return [given for name, given in instructions(dockerfile) if name == instruction]


def image_environment(dockerfile: Path) -> dict[str, str]:
    """What a Dockerfile's ENV instructions set."""
    return dict(pair.split("=", 1) for given in arguments(dockerfile, "ENV") for pair in given.split())


def dockerfile_of(service: dict[str, Any]) -> Path | None:
    """The Dockerfile that a service is built from."""
    build = service.get("build")
    return (DOCKER / build["context"] / build["dockerfile"]).resolve() if build else None


def example_settings() -> Iterator[tuple[str, str]]:
    """(variable, value) of docker/.env.example, those in comments included."""
    for line in (DOCKER / ".env.example").read_text().splitlines():
        if match := re.fullmatch(r"(?:# )?([A-Z][A-Z0-9_]*)=(.*)", line):
            yield match[1], match[2]

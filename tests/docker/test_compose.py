"""The compose files: valid, pinned, healthy, and with no setting that does not exist."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from redis import Redis
from redis.exceptions import RedisError

from backend.errors import SettingsError
from backend.settings import Settings, load_settings, variables
from refam.config import PREFIX, RefAMConfig
from tests.docker.files import (
    DOCKER,
    DOCKERFILES,
    OVERRIDES,
    arguments,
    compose,
    dockerfile_of,
    example_settings,
    image_environment,
)

pytestmark = pytest.mark.process

SETTINGS = set(variables()) | {f"{PREFIX}{field.name.upper()}" for field in fields(RefAMConfig)}
HUGGING_FACE = {"HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE"}
IMAGE_ONLY = {"PYTHONUNBUFFERED", "TORCH_HOME", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}
LABEL_STUDIO = {"USE_DEFAULT_BANNED_SUBNETS", "COLLECT_ANALYTICS"}
COMPOSE_ONLY = {"PUBLISH_ADDRESS"}
BACKEND = ("web", "worker")
each_variant = pytest.mark.parametrize("variant", OVERRIDES)
Start = Callable[[str, str, dict[str, str]], Settings]


def validate(document: dict[str, Any]) -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(document, schema)


@each_variant
def test_the_schema_of_compose_is_met(variant: str) -> None:
    validate(compose(variant))


def test_the_schema_would_find_a_misspelt_key() -> None:
    document = compose()
    document["services"]["web"]["enviroment"] = {}
    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        validate(document)


@each_variant
def test_every_service_has_a_health_check(variant: str) -> None:
    for name, service in compose(variant)["services"].items():
        dockerfile = dockerfile_of(service)
        assert "healthcheck" in service or (dockerfile and arguments(dockerfile, "HEALTHCHECK")), name


@each_variant
def test_only_settings_that_exist_are_named(variant: str) -> None:
    services = compose(variant)["services"]
    for name in BACKEND:
        assert set(services[name]["environment"]) <= SETTINGS | HUGGING_FACE
    assert set(services["label-studio"]["environment"]) <= LABEL_STUDIO
    for dockerfile in DOCKERFILES:
        assert set(image_environment(dockerfile)) <= SETTINGS | HUGGING_FACE | IMAGE_ONLY


def test_only_settings_that_exist_are_asked_of_the_user() -> None:
    interpolated = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    assert interpolated <= SETTINGS | COMPOSE_ONLY
    assert interpolated <= set(dict(example_settings())) <= SETTINGS | HUGGING_FACE | COMPOSE_ONLY


def interpolated(value: str, user: dict[str, str]) -> str:
    """As compose does it with ${NAME:-default}."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: user.get(match[1]) or match[2], value)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Reads the settings as a service of a variant does, with a user's docker/.env."""

    def read(variant: str, name: str, user: dict[str, str]) -> Settings:
        service = compose(variant)["services"][name]
        dockerfile = dockerfile_of(service)
        assert dockerfile
        for variable in SETTINGS:
            monkeypatch.delenv(variable, raising=False)
        for variable, value in {**image_environment(dockerfile), **user, **service["environment"]}.items():
            monkeypatch.setenv(variable, interpolated(value, user))
        return load_settings()

    return read


@each_variant
@pytest.mark.parametrize("user", [{}, dict(example_settings()) | {"BASIC_AUTH_USER": "a", "BASIC_AUTH_PASS": "b"}])
def test_web_and_worker_start_and_agree(start: Start, variant: str, user: dict[str, str]) -> None:
    web, worker = start(variant, "web", user), start(variant, "worker", user)
    published = compose(variant)["services"]["web"]["ports"]
    assert web.host == "0.0.0.0"  # noqa: S104  # inside of a container
    assert published == ["${PUBLISH_ADDRESS:-127.0.0.1}:${REFAM_BACKEND_PORT:-9090}:${REFAM_BACKEND_PORT:-9090}"]
    assert web.port == 9090
    assert web.redis_address == worker.redis_address
    assert web.model_version == worker.model_version
    web.require_password()
    assert worker.refam.device == {"gpu": "cuda", "cpu": "cpu"}[variant]


def test_whoever_publishes_it_to_all_can_have_a_password_required(start: Start) -> None:
    with pytest.raises(SettingsError, match="BASIC_AUTH_PASS"):
        start("cpu", "web", {"PUBLISH_ADDRESS": "0.0.0.0", "REFAM_BACKEND_OPEN": "0"}).require_password()  # noqa: S104


def test_the_example_shows_no_secret() -> None:
    assert not [value for name, value in example_settings() if re.search("TOKEN|KEY|PASS", name) and value]
    assert ".env" in (DOCKER / ".gitignore").read_text().split()


def test_the_gpu_is_reserved_unless_there_is_none() -> None:
    (device,) = compose("gpu")["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    without = compose("cpu")["services"]["worker"]
    assert "deploy" not in without
    assert set(without["build"]["args"]) <= set(arguments(DOCKER / "worker.Dockerfile", "ARG"))


def test_images_are_pinned_and_data_is_kept() -> None:
    document = compose()
    services = document["services"]
    images = {name: service["image"] for name, service in services.items() if "image" in service}
    assert all(re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+(-[\w.]+)?", image) for image in images.values())
    assert images["label-studio"] == "heartexlabs/label-studio:1.23.2"
    mounts = [mount.split(":") for service in services.values() for mount in service.get("volumes", [])]
    assert {source for source, _ in mounts} == set(document["volumes"])
    assert {target for _, target in mounts} == {"/data", "/models", "/label-studio/data"}


def test_no_service_runs_as_root() -> None:
    for name, service in compose()["services"].items():
        assert dockerfile_of(service) or service.get("user") == "redis" or name == "label-studio"
        assert service["cap_drop"] == ["ALL"]


def test_label_studio_is_asked_for_and_reaches_the_web_server_alone() -> None:
    services = compose()["services"]
    studio = services["label-studio"]
    assert studio["profiles"] == ["label-studio"]
    assert studio["environment"]["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    assert "default" in services["web"]["networks"]
    assert "networks" not in studio  # so it is on `default`, and not on `queue`
    assert services["redis"]["networks"] == ["queue"]
    assert "ports" not in services["redis"]
    assert compose()["networks"]["queue"]["internal"] is True


def test_redis_takes_its_command_and_loses_nothing() -> None:
    program, *options = compose()["services"]["redis"]["command"]
    assert program == "redis-server"
    with tempfile.TemporaryDirectory(prefix="refam-") as folder:
        socket = Path(folder) / "redis.sock"
        place = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--logfile", Path(folder) / "log"]
        server = subprocess.Popen([program, *options, *place])
        try:
            settings = wait_for(lambda: Redis(unix_socket_path=str(socket)).config_get("*"))
        finally:
            server.terminate()
            server.wait(10)
    assert (settings["appendonly"], settings["appendfsync"], settings["save"]) == ("yes", "everysec", "")
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["hash-max-ziplist-value"] == "1024"


def wait_for(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while True:
        try:
            return ask()
        except (RedisError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

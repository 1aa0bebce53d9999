"""`refam-backend doctor`: what is wrong with this installation, and what to do about it."""

from collections.abc import Callable, Iterable, Iterator

from backend.commands.doctor.finding import Finding
from backend.commands.doctor.model import device, disk_space, gpu_memory, model, sam, torchvision
from backend.commands.doctor.services import redis, web
from backend.commands.doctor.studio import label_studio
from backend.errors import SettingsError
from backend.settings import load_settings
from refam.errors import ConfigError

__all__ = ["examine"]

Found = Iterable[Finding] | Finding | None


def examine() -> Iterator[Finding]:
    """Look at everything that the backend needs, one after the other. Nothing that fails keeps the rest from being
    looked at."""
    try:
        settings = load_settings()
    except (SettingsError, ConfigError) as error:
        yield Finding("settings", "wrong", str(error), "Correct the environment variable and run doctor again.")
        return
    yield Finding("settings", "ok", f"model version {settings.model_version}")
    config = settings.refam
    torch = device(config)
    yield torch
    yield from _safely("torchvision", torchvision)
    yield from _safely("model", lambda: model(config))
    yield from _safely("sam", lambda: sam(config))
    yield from _safely("disk", lambda: disk_space(config))
    if torch.verdict == "ok":
        yield from _safely("gpu memory", lambda: gpu_memory(config))
    yield from _safely("redis", lambda: redis(settings))
    yield from _safely("web", lambda: web(settings))
    yield from _safely("label studio", lambda: label_studio(settings))


def _safely(subject: str, look: Callable[[], Found]) -> Iterator[Finding]:
    """What a look finds; where it fails itself, that."""
    try:
        found = look()
        yield from [found] if isinstance(found, Finding) else found or []
    except Exception as error:  # noqa: BLE001  # libraries raise what they like, and doctor must go on
        message = f"it could not be looked at ({type(error).__name__}: {error})."
        yield Finding(subject, "wrong", message, "Mend what is said there, and run doctor again.")

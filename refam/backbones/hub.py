"""Files of a pipeline: in a local folder, in the hub's cache, or on the hub."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from refam.errors import ModelNotFoundError

__all__ = ["Description", "describe", "fetch", "reason"]

INDEX = "model_index.json"
CONFIG = "config.json"
REASONS: list[tuple[type[Exception], str]] = [  # of the hub's client, whose own messages take many lines
    (GatedRepoError, "it is gated, and you have no access"),
    (RepositoryNotFoundError, "the hub has no such model, or shows it to others only"),
    (RevisionNotFoundError, "it has no such revision"),
    (LocalEntryNotFoundError, "it has not been downloaded, and the hub cannot be reached, or must not be asked"),
    (HFValidationError, "this is neither a folder nor a hub id"),
]
REMEDY = (
    "Set REFAM_MODEL to 'tiny', to a folder in diffusers' layout, or to a hub id; a gated one needs its licence "
    "accepted and HF_TOKEN set, and HF_HUB_OFFLINE allows only what is in the cache."
)


@dataclass(frozen=True)
class Description:
    """What a pipeline says of itself in a few kilobytes.

    Attributes:
        pipeline: the class of diffusers that its `model_index.json` names.
        transformer, vae: their `config.json`; empty where they have none.
    """

    pipeline: str
    transformer: dict[str, Any] = field(default_factory=dict)
    vae: dict[str, Any] = field(default_factory=dict)


def describe(source: str, revision: str | None) -> Description:
    """Read what tells a model's family, of a folder or a hub id, without its weights. Raises ModelNotFoundError."""
    try:
        index = _read(source, revision, INDEX)
        if index is None:
            raise ModelNotFoundError(f"REFAM_MODEL: {source!r} {_what_else(source, revision)} {REMEDY}")
        configs = (_read(source, revision, f"{part}/{CONFIG}") or {} for part in ("transformer", "vae"))
        return Description(str(index.get("_class_name")), *configs)
    except (OSError, ValueError) as error:  # the hub's client raises subclasses of these
        raise ModelNotFoundError(f"REFAM_MODEL: {source!r} cannot be read: {reason(error)}. {REMEDY}") from error


def fetch(source: str, revision: str | None, parts: Sequence[str]) -> Path:
    """The folder with a pipeline's parts: a local one as it is; of a hub id, what the cache holds or what is downloaded
    now. Pickled weights are left where they are. Raises ModelNotFoundError.

    diffusers itself asks the hub about sharded weights even when it is offline, so it only ever gets a folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=patterns(parts)))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"REFAM_MODEL: {source!r} cannot be downloaded: {reason(error)}. {REMEDY}") from error


def reason(error: Exception) -> str:
    """What went wrong with the hub, in one line."""
    known = next((text for kind, text in REASONS if isinstance(error, kind)), None)
    return known or " ".join(str(error).split())


def patterns(parts: Sequence[str]) -> list[str]:
    """The names of the files that are needed of a pipeline's parts, with wildcards."""
    kinds = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
    return [INDEX, *(f"{part}/{kind}" for part in parts for kind in kinds)]


def _read(source: str, revision: str | None, name: str) -> dict[str, Any] | None:
    """A small JSON file of an object; None where there is no such file. Raises OSError, ValueError."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        path = folder / name
        if not path.is_file():
            return None
    elif source.startswith(("/", ".", "~")):
        raise FileNotFoundError(f"there is no folder {folder}")
    else:
        try:
            path = Path(hf_hub_download(source, name, revision=revision))
        except LocalEntryNotFoundError:  # offline, and not in the cache
            raise
        except EntryNotFoundError:
            return None
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{name} is no JSON object")
    return content


def _what_else(source: str, revision: str | None) -> str:
    """What a model without an index is."""
    config = _read(source, revision, CONFIG)
    kinds = (config or {}).get("architectures") or []
    named = f": its {CONFIG} says {', '.join(map(str, kinds))}" if kinds else ""
    return f"has no {INDEX}, and so is no pipeline of diffusers{named}."

"""Models' files: in a local folder, in the hub's cache, or on the hub; whether they are whole, and loading them."""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the release that the client itself uses

__all__ = [
    "CONFIG",
    "VOCABULARIES",
    "connection_errors",
    "fetch",
    "is_local",
    "part_of",
    "read_json",
    "read_model",
    "read_tokenizer",
    "reason",
    "require_config",
]

CONFIG = "config.json"
VOCABULARIES = ("tokenizer.json", "spiece.model", "vocab.json")
REASONS: list[tuple[type[Exception], str]] = [  # of the hub's client, whose own messages take many lines
    (GatedRepoError, "it is gated, and you have no access"),
    (RepositoryNotFoundError, "the hub has no such model, or shows it to others only"),
    (RevisionNotFoundError, "it has no such revision"),
    (LocalEntryNotFoundError, "it has not been downloaded, and the hub cannot be reached, or must not be asked"),
    (HFValidationError, "this is neither a folder nor a hub id"),
]


def reason(error: Exception) -> str:
    """What went wrong with a model's files, in one line."""
    known = next((text for kind, text in REASONS if isinstance(error, kind)), None)
    return known or " ".join(str(error).split())


@contextmanager
def connection_errors() -> Iterator[None]:
    """Raise what the hub's client lets through of its HTTP library as an OSError."""
    try:
        yield
    except httpx.HTTPError as error:
        if isinstance(error, OSError):  # the client's own, which say more
            raise
        raise OSError(f"the connection failed ({type(error).__name__}: {error})") from error


def is_local(source: str) -> bool:
    """Whether it is a folder, or is written as one; else it is a hub id."""
    return Path(source).expanduser().is_dir() or source.startswith(("/", ".", "~"))


def read_json(source: str, revision: str | None, name: str) -> dict[str, Any] | None:
    """A small JSON file of a folder or a hub id; None where it has no such file. Raises OSError, ValueError; the hub's
    client raises subclasses of these."""
    if is_local(source):
        path = _folder(source) / name
        if not path.is_file():
            return None
    else:
        try:
            with connection_errors():
                path = Path(hf_hub_download(source, name, revision=revision))
        except LocalEntryNotFoundError:  # offline, and not in the cache
            raise
        except EntryNotFoundError:
            return None
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{name} is no JSON object")
    return content


def fetch(source: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of a model: a local one as it is; of a hub id, what the cache holds or what is downloaded now of the
    files that match. Raises OSError, ValueError.

    diffusers itself asks the hub about sharded weights even when it is offline, so it only ever gets a folder.
    """
    if is_local(source):
        return _folder(source)
    with connection_errors():
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(patterns)))


def part_of(kind: Any, *ignored: str) -> Any:
    """A class of diffusers or transformers that takes weights it has no place for as a matter of course, if their names
    match one of these patterns: those of blocks that it was not built with."""
    return type(f"PartOf{kind.__name__}", (kind,), {"_keys_to_ignore_on_load_unexpected": list(ignored)})


def read_model(kind: Any, folder: Path, part: str, dtype: torch.dtype, **options: Any) -> Any:
    """A model of diffusers or transformers, still in main memory. They fill what a folder lacks with random weights:
    here that is an error. Weights come from safetensors alone; unpickling others could run code.

    part: the model's folder in `folder`, "" for that itself.

    Raises OSError, ValueError.
    """
    require_config(folder, part)
    if not any((folder / part).glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder / part} has no weights in the format safetensors, and pickled ones such as .bin are not loaded; "
            "where there are some, convert them"
        )
    options |= {"dtype": dtype, "use_safetensors": True}
    try:
        model, info = kind.from_pretrained(folder, subfolder=part, output_loading_info=True, **options)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder / part} do not fit its {CONFIG}") from error
    if info["missing_keys"]:
        raise ValueError(f"the weights in {folder / part} lack {', '.join(sorted(info['missing_keys'])[:3])}")
    return model


def require_config(folder: Path, part: str) -> None:
    """Raise FileNotFoundError where a part says nothing of its sizes: transformers would take some of its own."""
    if not (folder / part / CONFIG).is_file():
        raise FileNotFoundError(f"{folder / part} has no {CONFIG}")


def read_tokenizer(kind: Any, folder: Path, part: str) -> Any:
    """A tokenizer; transformers makes one that knows no word of a folder without a vocabulary: here that is an
    error. Raises OSError, ValueError."""
    if not any((folder / part / name).is_file() for name in VOCABULARIES):
        raise FileNotFoundError(f"{folder / part} has none of {', '.join(VOCABULARIES)}")
    old = (folder / part / "spiece.model").is_file() and not (folder / part / "tokenizer.json").is_file()
    if old and importlib.util.find_spec("sentencepiece") is None:
        raise ValueError(
            f"{folder / part} has an old vocabulary alone, spiece.model, which `pip install sentencepiece` reads"
        )
    return kind.from_pretrained(folder, subfolder=part)


def _folder(source: str) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    return folder

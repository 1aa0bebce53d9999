"""What the settings need of the hub: whether it is there, how large it is, under which licence, and getting it."""

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

from refam.backbones.registry import describe, family_of, patterns_of
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError
from refam.model_files import CONFIG, VOCABULARIES, connection_errors, fetch, is_local, reason
from refam.sam import detector, loading

__all__ = ["Offer", "Wanted", "checkpoint", "wanted"]

OWN = {"tiny", "none"}  # names that are no hub ids
REMEDY = "Accept the licence on the model's page, then log in with `hf auth login` or set HF_TOKEN."


@dataclass(frozen=True)
class Offer:
    """What the hub has: bytes of all that is needed, and of what is not in the cache; the licence, such as
    "apache-2.0", as the model's card says."""

    size: int
    missing: int
    licence: str


@dataclass(frozen=True)
class Wanted:
    """A model of the hub that a setting names.

    Attributes:
        setting: such as "REFAM_MODEL".
        source, revision: its hub id, and which version.
        patterns: of the names of the files that are needed.
        parts: folders in it that hold weights or a tokenizer; "" for itself.
    """

    setting: str
    source: str
    revision: str | None
    patterns: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def folder(self) -> Path | None:
        """Where it lies in the cache, if anything of it does."""
        for name in (f"{self.parts[0]}/{CONFIG}".lstrip("/"), CONFIG):
            found = try_to_load_from_cache(self.source, name, revision=self.revision)
            if isinstance(found, str):
                return Path(found.removesuffix(name))
        return None

    @property
    def is_there(self) -> bool:
        """Whether the cache holds all of it. Asks nobody."""
        folder = self.folder
        return folder is not None and all(_is_whole(folder / part) for part in self.parts)

    def ask(self) -> Offer:
        """Ask the hub. Raises ModelNotFoundError where it has no such model, or none for you."""
        try:
            api = HfApi()
            with connection_errors():
                about = api.model_info(self.source, revision=self.revision, files_metadata=True)
                if about.gated:
                    api.auth_check(self.source)
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(f"{self.setting}: {self.source!r}: {reason(error)}. {REMEDY}") from error
        files = {
            each.rfilename: each.size or 0
            for each in about.siblings or []
            if any(fnmatch.fnmatch(each.rfilename, pattern) for pattern in self.patterns)
        }
        missing = sum(size for name, size in files.items() if not self._has(name))
        licence = str((about.card_data and about.card_data.get("license")) or "unknown")
        return Offer(sum(files.values()), missing, licence)

    def get(self) -> Path:
        """Download what is missing; files that are whole stay. Raises ModelNotFoundError."""
        try:
            return fetch(self.source, self.revision, self.patterns)
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(
                f"{self.setting}: {self.source!r} was not downloaded to its end: {reason(error)}. Run "
                "`refam-backend download` again: files that are whole stay."
            ) from error

    def _has(self, name: str) -> bool:
        return isinstance(try_to_load_from_cache(self.source, name, revision=self.revision), str)


def wanted(config: RefAMConfig) -> Iterator[Wanted]:
    """All models of the hub that a configuration names. Reads a few kilobytes to tell the transformer's family; raises
    ModelNotFoundError where it is none that is supported."""
    if config.model not in OWN and not is_local(config.model):
        family = family_of(config.model, describe(config.model, config.revision))
        patterns = tuple(patterns_of(family))
        yield Wanted("REFAM_MODEL", config.model, config.revision, patterns, family.parts)
    if not (config.sam in OWN or config.sam in loading.CHECKPOINTS or loading.is_path(config.sam)):
        yield Wanted("REFAM_SAM", config.sam, None, loading.PATTERNS, ("",))
    if config.proposer == "sam3" and not is_local(config.sam3):
        yield Wanted("REFAM_SAM3", config.sam3, None, detector.PATTERNS, ("",))


def checkpoint(config: RefAMConfig) -> Path | None:
    """Where the official checkpoint that REFAM_SAM names has to lie; None if it names none."""
    return loading.checkpoint_path(config.sam) if config.sam in loading.CHECKPOINTS else None


def _is_whole(folder: Path) -> bool:
    """Whether a folder has its weights, all shards of them, or its vocabulary."""
    if any((folder / name).is_file() for name in VOCABULARIES) and not (folder / CONFIG).is_file():
        return True
    indices = list(folder.glob("*.safetensors.index.json"))
    shards = {name for index in indices for name in json.loads(index.read_text())["weight_map"].values()}
    weights = [folder / name for name in shards] or list(folder.glob("*.safetensors"))
    return bool(weights) and all(each.is_file() for each in weights)

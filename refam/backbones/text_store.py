"""Text embeddings on disk: a restarted process, or one beside it, need not encode a text again."""

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["TextStore", "fingerprint"]

logger = logging.getLogger(__name__)


class TextStore:
    """Tensors by key, a safetensors file each. Several processes may share the folder.

    limit: bytes that the files take at most; those that were not read for longest go first.
    """

    def __init__(self, folder: Path, limit: int = 2**30) -> None:
        self._folder = folder.expanduser()
        self._limit = limit
        self._warned = False

    def get(self, key: str) -> dict[str, Tensor] | None:
        """What is stored under `key`; None if nothing is, or only a damaged file."""
        path = self._path(key)
        try:
            tensors: dict[str, Tensor] = load_file(path)
        except (OSError, SafetensorError):
            return None
        with suppress(OSError):  # a folder may be there to be read only
            os.utime(path)
        return tensors

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Store `tensors`, whole or not at all: where nothing can be written, the first time warns."""
        try:
            self._write(key, tensors)
        except (OSError, SafetensorError) as error:
            if not self._warned:
                logger.warning(
                    "REFAM_TEXT_CACHE_DIR: %s takes no more embeddings (%s), so a restart encodes their texts again; "
                    "make room there, let it be written, or set another folder",
                    self._folder,
                    error,
                )
            self._warned = True

    def _write(self, key: str, tensors: dict[str, Tensor]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        os.close(handle)
        try:
            save_file(tensors, name)
            Path(name).replace(self._path(key))
        finally:
            Path(name).unlink(missing_ok=True)
        self._trim()

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"

    def _trim(self) -> None:
        found = []
        for path in self._folder.glob("*.safetensors"):
            try:
                found.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another process trims, too
                continue
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                return
            path.unlink(missing_ok=True)
            total -= size


def fingerprint(*models: Any) -> str:
    """Tells models apart by a sample of every weight: a folder's weights may change under the same name."""
    digest = hashlib.sha256()
    for model in models:
        for name, weight in model.named_parameters():
            sample = weight.detach().flatten()[:16].float().cpu().numpy()
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode() + sample.tobytes())
    return digest.hexdigest()

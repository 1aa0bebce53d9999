"""Text embeddings on disk: a restarted process, or one beside it, need not encode a text again."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["TextStore", "fingerprint"]


class TextStore:
    """Tensors by key, a safetensors file each. Several processes may share the folder.

    limit: bytes that the files take at most; those that were not read for longest go first.
    """

    def __init__(self, folder: Path, limit: int = 2**30) -> None:
        self._folder = folder.expanduser()
        self._limit = limit

    def get(self, key: str) -> dict[str, Tensor] | None:
        """What is stored under `key`; None if nothing is, or only a damaged file."""
        path = self._path(key)
        try:
            tensors: dict[str, Tensor] = load_file(path)
            os.utime(path)
        except (OSError, SafetensorError):
            return None
        return tensors

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Store `tensors`, whole or not at all. Raises OSError if the folder cannot be written."""
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

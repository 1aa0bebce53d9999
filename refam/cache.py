"""Results kept for repeated questions, within a stated bound."""

import hashlib
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cachetools
from PIL.Image import Image

__all__ = ["LRUCache", "image_key"]

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Keeps at most `size` values; the one that was not asked for longest goes first.

    made: how many values were made so far.
    """

    def __init__(self, size: int) -> None:
        self.made = 0
        self._values: cachetools.LRUCache[Hashable, Value] = cachetools.LRUCache(size)

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value kept under `key`, made now if there is none."""
        if key not in self._values:
            self._values[key] = make()
            self.made += 1
        return self._values[key]


def image_key(image: Image) -> bytes:
    """The same for images with the same mode, size and pixels."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())  # twice as fast as blake2 where the CPU knows it
    digest.update(image.tobytes())
    return digest.digest()

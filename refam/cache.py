"""Results kept for repeated questions, within a stated bound."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cachetools

__all__ = ["LRUCache"]

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

"""Results kept for repeated questions, within a stated bound."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

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

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value kept under `key`, made now if there is none."""
        if key not in self._values:
            self._values[key] = make()
            self.made += 1
        return self._values[key]

    def get_all(self, keys: Sequence[Hashable], make: Callable[[list[Any]], Iterable[Value]]) -> list[Value]:
        """The values kept under `keys`; those that are not are made at once, from a list of their keys."""
        values = {key: self._values[key] for key in keys if key in self._values}
        missing = [key for key in dict.fromkeys(keys) if key not in values]
        if missing:
            made = dict(zip(missing, make(missing), strict=True))
            self._values.update(made)
            self.made += len(made)
            values |= made
        return [values[key] for key in keys]

"""Imports of Label Studio's own packages without what they load beside, and this project does not need."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["standing_in"]


@contextmanager
def standing_in(name: str, module: ModuleType | None) -> Iterator[None]:
    """While this lasts, importing `name` gives `module`, or raises ImportError if that is None; then all is
    as before."""
    loaded = sys.modules.pop(name, None)
    sys.modules[name] = module  # type: ignore[assignment]  # None is Python's own way to say that a module is absent
    try:
        yield
    finally:
        del sys.modules[name]
        if loaded is not None:
            sys.modules[name] = loaded

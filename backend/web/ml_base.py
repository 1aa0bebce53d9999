"""label-studio-ml's base class, imported without torch.

`label_studio_ml.model` imports torch where it is installed, only to set how processes are started. That costs the web
process 1.2 s and 200 MiB, and changes the start method for the whole process. So torch is made to look absent during
this one import, which the package handles; afterwards everything is as before.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["LabelStudioMLBase"]


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """While this lasts, importing `name` raises ImportError."""
    loaded: ModuleType | None = sys.modules.pop(name, None)
    sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say that a module is absent
    try:
        yield
    finally:
        del sys.modules[name]
        if loaded is not None:
            sys.modules[name] = loaded


with _hidden("torch"):
    from label_studio_ml.model import LabelStudioMLBase  # type: ignore[import-untyped]

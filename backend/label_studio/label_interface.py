"""label-studio-sdk's reader of label configs, imported without jsf.

Its module imports jsf, and with it faker, smart_open and requests, only to make up sample answers. That would cost the
web process half of its memory and of the time it takes to start. So an empty module stands in for jsf during this one
import; afterwards everything is as before.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["LabelInterface"]


@contextmanager
def _replaced(name: str, **content: object) -> Iterator[None]:
    """While this lasts, importing `name` gives a module with this content only."""
    loaded = sys.modules.pop(name, None)
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        del sys.modules[name]
        if loaded is not None:
            sys.modules[name] = loaded


with _replaced("jsf", JSF=None):
    from label_studio_sdk.label_interface.interface import LabelInterface

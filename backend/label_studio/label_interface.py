"""label-studio-sdk's reader of label configs, imported without jsf.

Its module imports jsf, and with it faker, smart_open and requests, only to make up sample answers. That would cost the
web process half of its memory and of the time it takes to start. So an empty module stands in for jsf during this one
import.
"""

from types import ModuleType

from backend.label_studio.lean_imports import standing_in

__all__ = ["LabelInterface"]

_no_jsf = ModuleType("jsf")
vars(_no_jsf).update(JSF=None)

with standing_in("jsf", _no_jsf):
    from label_studio_sdk.label_interface.interface import LabelInterface

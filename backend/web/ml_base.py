"""label-studio-ml's base class, imported without torch.

`label_studio_ml.model` imports torch where it is installed, only to set how processes are started. That costs the web
process 1.2 s and 200 MiB, and changes the start method for the whole process. So torch looks absent during this one
import, which the package handles.
"""

from backend.label_studio.lean_imports import standing_in

__all__ = ["LabelStudioMLBase"]

with standing_in("torch", None):
    from label_studio_ml.model import LabelStudioMLBase  # type: ignore[import-untyped]

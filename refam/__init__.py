"""RefAM: from a referring expression to a mask, by reading the attention of a diffusion transformer.

The names below are loaded on first use: importing `refam` costs nothing and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refam.config import RefAMConfig
    from refam.pipeline import Grounding, RefAM, Segmentation

__all__ = ["Grounding", "RefAM", "RefAMConfig", "Segmentation"]

_HOMES = {
    "Grounding": "refam.pipeline",
    "RefAM": "refam.pipeline",
    "RefAMConfig": "refam.config",
    "Segmentation": "refam.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""RefAM: from a referring expression to a mask, by reading the attention of a diffusion transformer.

The names below are loaded on first use: importing `refam` costs nothing and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refam.clicks import Box, Clicks
    from refam.config import RefAMConfig
    from refam.heatmap import Point
    from refam.pipeline import Grounding, RefAM, Segmentation, Selection

__all__ = ["Box", "Clicks", "Grounding", "Point", "RefAM", "RefAMConfig", "Segmentation", "Selection"]

_HOMES = {
    "Box": "refam.clicks",
    "Clicks": "refam.clicks",
    "Grounding": "refam.pipeline",
    "Point": "refam.heatmap",
    "RefAM": "refam.pipeline",
    "RefAMConfig": "refam.config",
    "Segmentation": "refam.pipeline",
    "Selection": "refam.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Where a tag's value lies in a task's data: `$image`, `$meta.url`, `$images[0].url`."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["look_up", "root_of"]

STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,6})\]")


def root_of(path: str) -> str:
    """The field of the data that a path begins in."""
    found = STEP.match(path)
    return found[1] if found and found[1] else path


def look_up(data: Mapping[str, Any], path: str) -> Any:
    """What lies at a path; None where nothing does. A field of this very name comes first."""
    if path in data:
        return data[path]
    found: Any = data
    for name, index in STEP.findall(path):
        if index or isinstance(found, list):
            place = index or name
            fits = isinstance(found, list) and place.isdecimal() and int(place) < len(found)
            found = found[int(place)] if fits else None
        else:
            found = found.get(name) if isinstance(found, Mapping) else None
    return found

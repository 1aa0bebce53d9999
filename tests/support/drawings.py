"""What an annotator draws, clicks and types, as Label Studio sends it."""

from typing import Any


def point(
    x: float = 50.0, y: float = 50.0, *, positive: bool = True, label: str = "Object", tag: str = "kp"
) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {"from_name": tag, "type": "keypointlabels", "value": value, "is_positive": positive}


def rectangle(
    x: float = 10, y: float = 20, width: float = 30, height: float = 40, rotation: float = 0, **size: int
) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": ["Object"]}
    return {"from_name": "rect", "type": "rectanglelabels", "value": value, **size}


def text(*texts: str, tag: str = "prompt") -> dict[str, Any]:
    return {"from_name": tag, "type": "textarea", "value": {"text": list(texts)}}


def drawn(*results: dict[str, Any]) -> dict[str, Any]:
    return {"result": list(results)}


def draft(*results: dict[str, Any], number: int = 1, at: str = "2026-11-23T00:43:45Z") -> dict[str, Any]:
    return {"id": number, "updated_at": at, "result": list(results)}

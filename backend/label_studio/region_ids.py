"""What the ids of a prediction's regions tell: which question it answers.

A task's text, image or labels may be corrected after its prediction was stored, and Label Studio then shows the old
mask beside the new text. So each region's id begins with the digest of what was asked.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from backend.label_studio.request import TaskRequest

__all__ = ["question_mark", "question_of", "region_id"]

MARK_LENGTH = 12
REGION_ID = re.compile(r"([0-9a-f]{12})-[0-9a-f]{8}")


def question_mark(request: TaskRequest) -> str:
    """What the ids of all regions that answer a request begin with."""
    return request.question()[:MARK_LENGTH]


def region_id(mark: str, *place: object) -> str:
    """The id of a region, the same each time. place: what tells it from the prediction's other regions."""
    return f"{mark}-{hashlib.sha256(repr(place).encode()).hexdigest()[:8]}"


def question_of(prediction: Mapping[str, Any]) -> str | None:
    """The mark of what a prediction answers; None where it cannot be told, as of one without regions or of release
    0.1."""
    for region in prediction.get("result") or []:
        if match := REGION_ID.fullmatch(str(region.get("id"))):
            return match[1]
    return None

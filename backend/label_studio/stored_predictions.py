"""What the predictions that a task has in Label Studio answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.label_studio.region_ids import question_of

__all__ = ["OWN_VERSIONS", "answering", "is_outdated", "is_own"]

OWN_VERSIONS = "refam-"  # what the names of RefAM's model versions begin with

Prediction = Mapping[str, Any]


def is_own(prediction: Prediction) -> bool:
    """Whether RefAM made it."""
    return str(prediction["model_version"]).startswith(OWN_VERSIONS)


def answering(
    predictions: Sequence[Prediction], version: str, mark: str | None, strict: bool = False, nothing: bool = False
) -> list[Prediction]:
    """Those of a version that answer a question. Where that cannot be told they do, unless `strict`.

    nothing: whether empty ones do, which say that nothing was found.
    """
    return [entry for entry in predictions if entry["model_version"] == version and _fits(entry, mark, strict, nothing)]


def is_outdated(prediction: Prediction, version: str, mark: str | None, strict: bool, nothing: bool) -> bool:
    """Whether a prediction is RefAM's own and answers another question. An empty one of another version may answer any,
    and stays."""
    tells = bool(prediction.get("result")) or prediction["model_version"] == version
    return is_own(prediction) and tells and not _fits(prediction, mark, strict, nothing)


def _fits(prediction: Prediction, mark: str | None, strict: bool, nothing: bool) -> bool:
    if not prediction.get("result"):
        return nothing
    return mark is None or question_of(prediction) in ((mark,) if strict else (mark, None))

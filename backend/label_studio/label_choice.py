"""Which of a label config's labels a mask gets."""

from collections.abc import Sequence
from typing import Any

from backend.errors import TaskError
from backend.label_studio.texts import mention

__all__ = ["choose_label"]


def choose_label(labels: Sequence[str], wanted: Any, text: str) -> str:
    """The label that is wanted; else the only one; else the one whose name comes first in the text.

    labels: those of the label config; at least one.
    wanted: what a task says; nothing if it is empty.
    Raises TaskError if the label is unknown, or none can be told.
    """
    known = ", ".join(labels)
    if wanted:
        named = next((label for label in labels if label.casefold() == str(wanted).casefold()), None)
        if named is None:
            raise TaskError(
                "label",
                f"the label {str(wanted)[:100]!r} is not in the label config.",
                f"Use one of {known}, or add it to the label config.",
            )
        return named
    if len(labels) == 1:
        return labels[0]
    found = [(match.start(), -len(label), label) for label in labels if (match := mention(label, text))]
    if not found:
        raise TaskError(
            "label",
            "the text does not say which label its mask gets.",
            f"Name one of {known} in the text, or put it beside the text, or into the task's field 'label'.",
        )
    return min(found)[2]

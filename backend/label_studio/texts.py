"""The text field of a task's data -> what to look for, checked."""

from collections.abc import Mapping
from typing import Any

from backend.errors import TaskError
from backend.settings import Settings

__all__ = ["check_text", "is_text", "kind_of", "only_text", "read_entries"]


def read_entries(value: Any, field: str) -> list[Any]:
    """The expressions of a text field, which holds a text, {"text", "label"}, or a list of these."""
    entries = value if isinstance(value, list) else [value]
    if not entries or entries == [None]:
        raise TaskError(
            field,
            "the task has no text here.",
            f"Write what to look for into the field {field!r} of the task's data, "
            'or show another field with <Text name="text" value="$field"/>, or set REFAM_BACKEND_TEXT_FIELD.',
        )
    return entries


def check_text(entry: Any, field: str, settings: Settings) -> tuple[str, Any]:
    """The text of an entry, and the label beside it, if any. Raises TaskError if it cannot be used."""
    text, label = (entry.get("text"), entry.get("label")) if isinstance(entry, Mapping) else (entry, None)
    if not isinstance(text, str):
        found = "an entry without a text" if text is None else f"{kind_of(text)}"
        raise TaskError(field, f"the text is {found}.", f"Write a sentence into the field {field!r}.")
    text = " ".join(text.split())
    if not is_text(text):
        raise TaskError(field, f"the text is {kind_of(text)}.", "Write it anew.", annotator="Type it anew.")
    if not text:
        raise TaskError(
            field, "the text is empty.", f"Write into {field!r} what to look for.", annotator="Type what to look for."
        )
    if len(text) > settings.max_text_length:
        raise TaskError(
            field,
            f"the text has {len(text)} characters; at most {settings.max_text_length} are allowed.",
            "Shorten it, or raise REFAM_BACKEND_MAX_TEXT_LENGTH.",
            annotator="Shorten it.",
        )
    return text, label


def only_text(value: Any, field: str, settings: Settings) -> tuple[str, Any]:
    """As `check_text` of a field's only entry; ("", None) if it has none, several, or one that cannot be used."""
    try:
        (entry,) = read_entries(value, field)
        return check_text(entry, field, settings)
    except (TaskError, ValueError):
        return "", None


def is_text(value: str) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON can hold, and nothing else."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, str) and not is_text(value):
        return "a text with half a character in it"
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "nothing")

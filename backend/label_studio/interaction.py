"""What an annotator typed, clicked and drew, and how to answer where something went wrong.

Label Studio's interactive context holds what was touched last: all key points (or rectangles) of one label, or the
typed texts, never both. The other half is in the task's draft, which the editor saves by itself.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import TaskError
from backend.label_studio.geometry import ellipse_extremes, rectangle_corners
from backend.label_studio.request import Click, Rectangle

__all__ = ["Interaction", "is_prompt", "read_interaction", "reply_in_text"]

REASON_MARK = "\N{WARNING SIGN} "  # what begins with it was written by the backend, and is no prompt
LARGEST = 1e9  # percent, pixels or degrees
KINDS = {
    f"{shape}{labels}": shape for shape in ("keypoint", "rectangle", "ellipse", "polygon") for labels in ("", "labels")
}
COORDINATES = {
    "keypoint": ("x", "y"),
    "rectangle": ("x", "y", "width", "height"),
    "ellipse": ("x", "y", "radiusX", "radiusY"),
}
MOST_CORNERS = 10_000  # of a polygon
MOST_CLICKS = 100  # each takes memory of Segment Anything's decoder, and nobody sets more by hand


@dataclass(frozen=True)
class Interaction:
    """What an annotator asks for.

    texts: what was typed, oldest first.
    label: of the key points or the shape.
    rectangle: around the shape that was drawn, if it is no key point.
    item_index: the page of a list of images that was pointed at; None where there is one image, or nobody knows.
    refused: whether a reason from an earlier answer stands below the typed texts.
    """

    texts: tuple[str, ...] = ()
    clicks: tuple[Click, ...] = ()
    rectangle: Rectangle | None = None
    label: str | None = None
    item_index: int | None = None
    refused: bool = False

    @property
    def points(self) -> bool:
        """Whether something was clicked on or drawn."""
        return bool(self.clicks) or self.rectangle is not None


def read_interaction(
    context: Mapping[str, Any],
    drafts: Sequence[Mapping[str, Any]] | None,
    prompt_tag: str | None,
    click_tags: Sequence[str],
) -> Interaction | None:
    """Read an interactive request; None if nothing is asked, as when the last key point was removed.

    drafts: the task's; the newest one adds the texts to clicks, or the clicks to a text.
    prompt_tag: name of the TextArea that takes prompts.
    click_tags: names of the smart tags whose shapes are prompts.
    Raises TaskError for more than MOST_CLICKS key points.
    """
    drawn = _results(context)
    saved = _results(max(drafts, key=_age)) if drafts else []
    texts, shapes = _texts(drawn, prompt_tag), [result for result in drawn if _kind(result)]
    if not texts and not shapes:
        return None
    written = texts or _texts(saved, prompt_tag)
    shapes = shapes or [result for result in saved if _kind(result) and result.get("from_name") in click_tags]
    label = _label(shapes[-1]) if shapes else None
    page = _page(shapes[-1]) if shapes else None
    meant = [result for result in shapes if (_label(result), _page(result)) == (label, page)]
    rectangles = [_rectangle(result) for result in meant if _kind(result) != "keypoint"]
    clicks = [_click(result) for result in meant if _kind(result) == "keypoint"]
    if len(clicks) > MOST_CLICKS:
        remedy = "Take some away."
        raise TaskError(
            "click", f"there are {len(clicks)} key points; at most {MOST_CLICKS} are allowed.", remedy, annotator=remedy
        )
    return Interaction(
        texts=tuple(text for text in written if not text.startswith(REASON_MARK.strip())),
        clicks=tuple(clicks),
        rectangle=rectangles[-1] if rectangles else None,
        label=label,
        item_index=page,
        refused=any(text.startswith(REASON_MARK.strip()) for text in written),
    )


def reply_in_text(
    interaction: Interaction,
    reasons: Sequence[Mapping[str, str]],
    prompt_tag: str | None,
    image_tag: str,
    notices: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The result that shows the annotator why there is no mask: the prompt's TextArea with the reasons below what was
    typed. Label Studio shows no error, but takes a suggested text over at once. Without reasons, the result takes away
    those of an earlier answer. No result where the label config has no TextArea, or there is nothing to say.

    notices: said first.
    """
    shown = [REASON_MARK + line for line in [*notices, *map(_said_to_annotator, reasons)]]
    outdated = interaction.texts and interaction.refused
    if prompt_tag is None or not (shown or outdated):
        return []
    value = {"text": [*interaction.texts, *shown]}
    name = hashlib.sha256(repr(value).encode()).hexdigest()[:10]
    return [{"id": name, "from_name": prompt_tag, "to_name": image_tag, "type": "textarea", "value": value}]


def _said_to_annotator(reason: Mapping[str, str]) -> str:
    """A reason with what an annotator can do; what only others can is for them."""
    if remedy := reason.get("annotator"):
        return f"{reason['message'][:1].upper()}{reason['message'][1:]} {remedy}"
    return f"{reason['field']}: {reason['message']} Tell whoever set this up: {reason['remedy']}"


def _results(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Results with a value, of a context or a draft."""
    results = holder.get("result")
    results = results if isinstance(results, list) else []
    return [result for result in results if isinstance(result, Mapping) and isinstance(result.get("value"), Mapping)]


def _age(draft: Mapping[str, Any]) -> tuple[str, int]:
    return str(draft.get("updated_at") or ""), int(_number(draft.get("id"), 0))


def _texts(results: Iterable[Mapping[str, Any]], tag: str | None) -> list[str]:
    values = [result["value"].get("text") for result in results if tag is not None and result.get("from_name") == tag]
    flat = [text for entry in values for text in (entry if isinstance(entry, list) else [entry])]
    return [text for text in flat if isinstance(text, str) and text.strip()]


def is_prompt(kind: Any) -> bool:
    """Whether a result of this type may say what to mask."""
    return str(kind).lower() in (*KINDS, "textarea")


def _kind(result: Mapping[str, Any]) -> str | None:
    """A shape's kind, such as "keypoint"; None for what is no shape, or lacks a coordinate."""
    kind, value = KINDS.get(str(result.get("type")).lower()), result["value"]
    if kind == "polygon":
        return kind if _corners(value) else None
    return kind if kind and _numbers(value, *COORDINATES[kind]) else None


def _page(result: Mapping[str, Any]) -> int | None:
    index = result.get("item_index")
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None


def _corners(value: Mapping[str, Any]) -> list[tuple[float, float]]:
    """A polygon's corners, in percent; none if one cannot be read."""
    points = value.get("points")
    if not isinstance(points, list) or not 0 < len(points) <= MOST_CORNERS:
        return []
    pairs = [(_number(x, math.nan), _number(y, math.nan)) for x, y in (_pair(point) for point in points)]
    return [] if any(map(math.isnan, (number for pair in pairs for number in pair))) else pairs


def _pair(point: Any) -> tuple[Any, Any]:
    return (point[0], point[1]) if isinstance(point, list) and len(point) == 2 else (None, None)


def _numbers(value: Mapping[str, Any], *names: str) -> bool:
    return not any(math.isnan(_number(value.get(name), math.nan)) for name in names)


def _number(value: Any, otherwise: float) -> float:
    """A number that can be reckoned with; JSON also knows texts, NaN, infinities, and integers of any length."""
    return value if isinstance(value, int | float) and abs(value) < LARGEST else otherwise


def _label(result: Mapping[str, Any]) -> str | None:
    value = result["value"]
    labels = value.get(str(result.get("type")).lower()) or value.get("labels")
    return str(labels[0]) if isinstance(labels, list) and labels else None


def _click(result: Mapping[str, Any]) -> Click:
    value = result["value"]
    return Click(_fraction(value["x"]), _fraction(value["y"]), result.get("is_positive") is not False)


def _rectangle(result: Mapping[str, Any]) -> Rectangle:
    """The upright rectangle around a shape: a polygon, or a rectangle or an ellipse that may be turned."""
    value, kind = result["value"], _kind(result)
    aspect = max(_number(result.get("original_width"), 1), 1) / max(_number(result.get("original_height"), 1), 1)
    turn = _number(value.get("rotation"), 0)
    if kind == "polygon":
        corners = _corners(value)
    elif kind == "ellipse":
        corners = ellipse_extremes(value, turn, aspect)
    else:
        corners = rectangle_corners(value, turn, aspect)
    x, y = zip(*corners, strict=True)
    return Rectangle(_fraction(min(x)), _fraction(min(y)), _fraction(max(x)), _fraction(max(y)))


def _fraction(percent: float) -> float:
    return round(min(max(percent / 100, 0.0), 1.0), 6)

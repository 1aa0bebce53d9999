"""Masks -> Label Studio results: brush, bitmask, polygon, rectangle. Runs in the worker.

Masks are bool arrays [H, W] of the size that the browser shows, that is after EXIF rotation.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from backend.errors import TaskError
from backend.label_studio import rle
from backend.label_studio.region_ids import question_mark, region_id
from backend.label_studio.request import Control, TaskRequest

__all__ = ["Answer", "Drawing", "prediction"]

Mask = NDArray[np.bool_]
POLYGON_TOLERANCE = 1 / 500  # of the longer side
SMALLEST_POLYGON = 1 / 100  # of the largest polygon's area; smaller islands are left out
MOST_NUMBERS = 16_000_000  # of a prediction, as many bytes of an RLE or a PNG, which grow to 4 in JSON


@dataclass(frozen=True)
class Answer:
    """What an expression means on its page: each thing's mask, bool [H, W], with a score in [0, 1] for all of them; and
    what of the expression was not understood, which the annotator reads beside each region."""

    masks: Sequence[Mask]
    score: float
    warnings: Sequence[str] = ()


def prediction(request: TaskRequest, answers: Iterable[Answer]) -> dict[str, Any]:
    """The prediction that Label Studio stores.

    answers: to each of the request's expressions, page by page. The prediction's score is the mean over those that have
        masks; the highest if none has.

    Raises TaskError for results of more than MOST_NUMBERS.
    """
    results: list[dict[str, Any]] = []
    numbers = 0
    scores: list[float] = []
    found: list[float] = []
    asked = [(page, expression) for page in request.pages for expression in page.expressions]
    for number, ((page, expression), answer) in enumerate(zip(asked, answers, strict=True)):
        score = float(np.clip(np.nan_to_num(answer.score), 0, 1))  # Label Studio drops a whole batch for one odd score
        scores.append(score)
        found += [score] if answer.masks else []
        extra: dict[str, Any] = {} if page.item_index is None else {"item_index": page.item_index}
        if answer.warnings:
            extra["meta"] = {"text": list(answer.warnings)}
        for mask in answer.masks:
            drawing = Drawing(mask)
            for control in request.controls:
                label = control.answer(expression.label)
                if label is not None:
                    for region in drawing.regions(control, label, score=score, image_tag=request.image_tag):
                        place = (request.model_version, number, control.name, len(results))
                        results.append({"id": region_id(question_mark(request), *place), **region, **extra})
                        numbers += _numbers(region["value"])
                        if numbers > MOST_NUMBERS:
                            message = f"the results of its masks have more than {MOST_NUMBERS:,} bytes."
                            remedy = "Ask for fewer texts at once, use smaller images, or fewer tags with labels."
                            raise TaskError(request.text_field, message, remedy)
    return {
        "model_version": request.model_version,
        "score": round(float(np.mean(found or [max(scores)])), 4),
        "result": results,
    }


class Drawing:
    """One mask, bool [H, W], as the controls of a label config draw it. Each kind is made once."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        rows = np.flatnonzero(mask.any(axis=1))
        self._is_empty = rows.size == 0
        if not self._is_empty:
            self._top, self._bottom = int(rows[0]), int(rows[-1]) + 1
            columns = np.flatnonzero(mask[self._top : self._bottom].any(axis=0))
            self._left, self._right = int(columns[0]), int(columns[-1]) + 1
        self._values: dict[str, list[dict[str, Any]]] = {}

    def regions(self, control: Control, label: str, *, score: float, image_tag: str) -> Iterator[dict[str, Any]]:
        """Results of one control, without ids; none for an empty mask, several for a polygon in parts.

        label: as results hold it.
        """
        if self._is_empty:
            return
        height, width = self._mask.shape
        if control.kind not in self._values:
            self._values[control.kind] = list(_MAKERS[control.kind](self))
        for value in self._values[control.kind]:
            yield {
                "from_name": control.name,
                "to_name": image_tag,
                "type": control.kind,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": round(score, 4),
                "value": {**value, control.kind: [label]},
            }

    def _brush(self) -> Iterator[dict[str, Any]]:
        yield {"format": "rle", "rle": rle.encode(self._mask)}

    def _bitmask(self) -> Iterator[dict[str, Any]]:
        """A PNG of one bit a pixel whose background is transparent: Label Studio draws every pixel that has alpha."""
        file = io.BytesIO()
        Image.fromarray(self._mask).save(file, "PNG", transparency=0)
        yield {"imageDataURL": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()}

    def _polygons(self) -> Iterator[dict[str, Any]]:
        """Outlines in percent of width and height. Holes are filled, since a polygon has none in Label Studio."""
        height, width = self._mask.shape
        padded = np.pad(self._mask[self._top : self._bottom, self._left : self._right], 1).astype(float)
        # Index (row, column) of the padded part is the centre of a pixel: half a pixel from its edge, one of padding.
        corner = self._top - 0.5, self._left - 0.5
        outlines = [contour + corner for contour in find_contours(padded, 0.5, positive_orientation="low")]
        areas = [_signed_area(outline) for outline in outlines]
        for outline, area in zip(outlines, areas, strict=True):
            if area < SMALLEST_POLYGON * max(areas):  # also the holes, whose area is negative
                continue
            simple = approximate_polygon(outline, max(height, width) * POLYGON_TOLERANCE)[:-1]  # the last is the first
            if len(simple) >= 3:
                points = np.clip(simple[:, ::-1] / (width, height), 0, 1) * 100
                yield {"points": points.round(3).tolist(), "closed": True}

    def _rectangle(self) -> Iterator[dict[str, Any]]:
        """The box around the mask, in percent of width and height."""
        height, width = self._mask.shape
        yield {
            "x": 100 * self._left / width,
            "y": 100 * self._top / height,
            "width": 100 * (self._right - self._left) / width,
            "height": 100 * (self._bottom - self._top) / height,
            "rotation": 0,
        }


_MAKERS = {
    "brushlabels": Drawing._brush,
    "bitmasklabels": Drawing._bitmask,
    "polygonlabels": Drawing._polygons,
    "rectanglelabels": Drawing._rectangle,
}


def _numbers(value: Mapping[str, Any]) -> int:
    """About how much of a prediction a result's value is."""
    return sum(len(part) for part in (value.get("rle"), value.get("imageDataURL"), value.get("points")) if part)


def _signed_area(outline: NDArray[np.float64]) -> float:
    """Shoelace formula over (row, column) points; positive for outlines around the mask, negative around holes."""
    rows, columns = outline[:, 0], outline[:, 1]
    return float(np.dot(columns, np.roll(rows, -1)) - np.dot(rows, np.roll(columns, -1))) / 2

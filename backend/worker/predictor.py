"""Fetch the image, ask the segmenter, make the prediction."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from backend.errors import TaskError
from backend.images.cache import Loader
from backend.label_studio.mask_encoding import Answer, prediction
from backend.label_studio.request import Expression, TaskRequest
from backend.queue.gallery import Gallery
from backend.settings import Settings
from backend.worker.packed_masks import PackedMasks
from backend.worker.thumbnails import thumbnail
from refam.clicks import Box, Clicks
from refam.errors import ClickError, DeviceMemoryError, ExpressionError
from refam.heatmap import Point
from refam.picture import Picture

__all__ = ["Found", "Predictor", "Segmenter"]

logger = logging.getLogger(__name__)

Mask = NDArray[np.bool_]
Result = TypeVar("Result")
MOST_PIXELS = 2**32  # of a task's masks together, an eighth of a byte each
SHOWN_EVERY = 2  # seconds between two masks on the status page, whose thumbnail costs as much as encoding a mask


class Segmentation(Protocol):
    """What a segmenter answers: masks, bool [H, W], of the image's size, a score in [0, 1], and what of the text it did
    not understand."""

    @property
    def masks(self) -> Sequence[Mask]: ...

    @property
    def score(self) -> float: ...

    @property
    def warnings(self) -> Sequence[str]: ...


class Segmenter(Protocol):
    """The part of `refam.RefAM` that jobs need."""

    @property
    def side(self) -> int: ...

    @property
    def computed(self) -> Mapping[str, int]: ...

    def read(self, expressions: Sequence[str]) -> None: ...

    def prepare(self, picture: Picture) -> None: ...

    def segment(self, picture: Picture, expression: str) -> Segmentation: ...

    def segment_names(self, picture: Picture, names: Sequence[str]) -> Iterable[Segmentation]: ...

    def select(self, picture: Picture, clicks: Clicks, expression: str | None = None) -> Segmentation: ...

    def free_memory(self) -> None: ...


@dataclass(frozen=True)
class Found:
    """What a request asked for: the answer to each of its expressions; and the first page's picture."""

    request: TaskRequest
    answers: Sequence[Answer]
    picture: Picture

    @property
    def on_picture(self) -> Iterator[Mask]:
        """The masks, bool [H, W], that are on the first page."""
        for answer in self.answers[: len(self.request.pages[0].expressions)]:
            yield from answer.masks


class Predictor:
    """Turns requests into predictions with one warm segmenter."""

    def __init__(self, segmenter: Segmenter, loader: Loader, gallery: Gallery, settings: Settings) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self._loader = loader
        self._gallery = gallery
        self._counted: Mapping[str, int] = {}
        self._shown = -math.inf

    def newly_computed(self) -> dict[str, int]:
        """What of `RefAM.computed` has been added since the last call."""
        before, self._counted = self._counted, self._segmenter.computed
        return {name: number - before.get(name, 0) for name, number in self._counted.items()}

    def find(self, request: TaskRequest) -> "Found":
        """The masks that a task asks for. Raises TaskError, or TemporaryError where trying again may help."""
        # Queued before the settings were changed: the mask is made, and named, as this worker makes it.
        request = replace(request, model_version=self._settings.model_version)
        answers: list[Answer] = []
        pixels = 0
        for number, page in enumerate(request.pages):
            picture = self._loader.load(page.image, request.image_field, request.task, request.project)
            if number == 0:
                first = picture
            for answer in self._answers(picture, page.expressions, request):
                pixels += picture.size[0] * picture.size[1] * len(answer.masks)
                if pixels > MOST_PIXELS:
                    message = f"its masks have more than {MOST_PIXELS / 1e9:.1f} thousand megapixels together."
                    raise TaskError(request.text_field, message, "Ask for fewer texts at once, or use smaller images.")
                answers.append(answer)
        return Found(request, answers, first)

    def draw(self, found: "Found") -> dict[str, Any]:
        """The prediction of one task, made of its masks, which may be none. Needs no device."""
        made = prediction(found.request, found.answers)
        is_due = time.monotonic() - self._shown >= SHOWN_EVERY
        if made["result"] and self._gallery.size and not found.request.interactive and is_due:
            self._gallery.add(found.request, made["score"], thumbnail(found.picture, found.on_picture))
            self._shown = time.monotonic()
        return made

    def _answers(self, picture: Picture, expressions: Sequence[Expression], request: TaskRequest) -> Iterator[Answer]:
        """What each expression means on the image."""
        texts = [expression.text for expression in expressions if expression.text]
        if request.looks_for_labels:
            with _explained(request):
                yield from self._sparingly(
                    lambda: [self._answer(each, request) for each in self._segmenter.segment_names(picture, texts)]
                )
            return
        if len(expressions) > 1:
            self._segmenter.read(texts)
        for expression in expressions:
            with _explained(request, expression.text if len(expressions) > 1 else ""):
                segmentation = self._sparingly(partial(self._segment, picture, expression, request))
            yield self._answer(segmentation, request)

    def _answer(self, segmentation: Segmentation, request: TaskRequest) -> Answer:
        masks: Sequence[Mask] = []
        if segmentation.score >= _least_score(request, self._settings):
            masks = [mask for mask in segmentation.masks if mask.any()]
        if self._settings.join_regions and len(masks) > 1:
            masks = [np.logical_or.reduce(masks)]
        return Answer(PackedMasks(masks), segmentation.score, segmentation.warnings)

    def _sparingly(self, call: Callable[[], Result]) -> Result:
        """What the call answers. Where memory is short, once more without caches; less than one image at a time there
        is not."""
        try:
            return call()
        except DeviceMemoryError:
            logger.warning("The device's memory is full; its caches are emptied.")
            self._segmenter.free_memory()
            return call()

    def _segment(self, picture: Picture, expression: Expression, request: TaskRequest) -> Segmentation:
        clicks = _in_pixels(request, picture.size)
        if clicks == Clicks():
            return self._segmenter.segment(picture, expression.text)
        try:
            return self._segmenter.select(picture, clicks, expression.text or None)
        except ExpressionError:  # a text without a usable word has no say where there are clicks
            return self._segmenter.select(picture, clicks)


@contextmanager
def _explained(request: TaskRequest, text: str = "") -> Iterator[None]:
    """Raise what the segmenter refuses as a TaskError. text: which of several it is about."""
    try:
        yield
    except DeviceMemoryError:
        raise TaskError(
            "REFAM_DEVICE",
            "its memory does not hold what one image takes.",
            "Set REFAM_RESOLUTION lower or REFAM_SAM smaller, or leave the device to this worker alone.",
        ) from None
    except ExpressionError as error:
        if request.looks_for_labels:
            remedy = "Write what gets that label into its predicted_values; empty, the label is not looked for."
            raise TaskError(request.text_field, str(error), remedy) from None
        message, remedy = str(error), "Change the text."
        if text:
            message, remedy = f"{text!r}: {error}", "Change that text, or take it away."
        raise TaskError(request.text_field, message, remedy, annotator=remedy) from None
    except ClickError as error:
        raise TaskError("click", str(error), "Click again.", annotator="Click again.") from None


def _least_score(request: TaskRequest, settings: Settings) -> float:
    return (settings.min_score if request.min_score is None else request.min_score) or 0.0


def _in_pixels(request: TaskRequest, size: tuple[int, int]) -> Clicks:
    """The request's clicks and rectangle for an image of size (width, height)."""
    width, height = size
    points = tuple(Point(click.x * width, click.y * height, click.positive) for click in request.clicks)
    sides = request.rectangle
    if sides is None:
        return Clicks(points)
    return Clicks(points, Box(sides.left * width, sides.top * height, sides.right * width, sides.bottom * height))

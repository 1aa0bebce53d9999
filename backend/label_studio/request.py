"""What a task asks for: the message from the web process to the worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from backend.label_studio.storages import is_read_for_a_task

__all__ = ["Click", "Control", "Expression", "Label", "Page", "Rectangle", "TaskRequest"]

ADDED = {"min_score": None, "looks_for_labels": False}
NO_PART_OF_THE_WORK = ("task", "project")
NO_PART_OF_THE_QUESTION = ("studio", "model_version", "min_score", *NO_PART_OF_THE_WORK)


@dataclass(frozen=True)
class Click:
    """A key point: fractions of the image's width and height, in [0, 1]; negative with Alt+click."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class Rectangle:
    """A rectangle's sides as fractions of the image's width and height, in [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Expression:
    """A referring expression, and the name of the label that its mask gets. Without a text, clicks decide alone."""

    text: str
    label: str


@dataclass(frozen=True)
class Page:
    """An image, and what to look for on it.

    image: what the task's data holds: a URL, a path on Label Studio, or a data URI.
    item_index: its place in the Image tag's list, from 0; None where the tag shows a single image.
    """

    image: str
    expressions: tuple[Expression, ...]
    item_index: int | None = None


@dataclass(frozen=True)
class Label:
    """A label: the name that is shown, and what results hold instead, which is its alias, if it has one."""

    name: str
    answer: str


@dataclass(frozen=True)
class Control:
    """A tag of the label config that takes results: its name, its kind (one of RESULT_TAGS) and its labels."""

    name: str
    kind: str
    labels: tuple[Label, ...]

    def answer(self, label: str) -> str | None:
        """What results of this tag hold for a label; None if it does not have it."""
        return next((each.answer for each in self.labels if each.name == label), None)


@dataclass(frozen=True)
class TaskRequest:
    """All that a job needs to know of a task. Equal requests of one model version have equal job ids.

    studio: identity of the Label Studio that it is for: see backend.label_studio.identity.
    image_field, text_field: of the task's data, or whatever else says what to look for; for messages.
    image_tag: name of the Image tag.
    controls: those that take results of the request's labels, with these labels alone.
    task, project: ids in Label Studio, which the prediction is posted to.
    clicks, rectangle: what the annotator pointed at; they belong to the one expression.
    interactive: an annotator waits for it; it is a suggestion, and not the task's prediction.
    min_score: instead of the worker's REFAM_BACKEND_MIN_SCORE.
    looks_for_labels: the task has no text, and its expressions are what its labels are called: all that bears one of
        these names is meant.
    """

    studio: str
    pages: tuple[Page, ...]
    image_field: str
    image_tag: str
    text_field: str
    controls: tuple[Control, ...]
    model_version: str
    task: str
    project: str
    clicks: tuple[Click, ...] = ()
    rectangle: Rectangle | None = None
    interactive: bool = False
    min_score: float | None = None
    looks_for_labels: bool = False

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """What to look for, on all pages."""
        return tuple(expression for page in self.pages for expression in page.expressions)

    def job_id(self) -> str:
        """The Label Studio's identity, and the digest of all that decides the result: also the task, where Label Studio
        decides for each whether it may read the image."""
        return self._job_id

    @cached_property
    def _job_id(self) -> str:
        own = any(is_read_for_a_task(page.image) for page in self.pages)
        return f"{self.studio}-{self._digest(() if own else NO_PART_OF_THE_WORK)[:40]}"

    def question(self) -> str:
        """Digest of what is asked, whoever answers it: two predictions answer the same if it is equal."""
        return self._digest(NO_PART_OF_THE_QUESTION)

    def _digest(self, without: tuple[str, ...]) -> str:
        content = {name: value for name, value in self.as_json().items() if name not in without}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; `from_json` reads it. What later releases added is left out where it says nothing,
        so that questions keep their digests."""
        return {name: value for name, value in asdict(self).items() if name not in ADDED or value != ADDED[name]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote."""
        pages = tuple(
            Page(page["image"], tuple(Expression(**each) for each in page["expressions"]), page["item_index"])
            for page in content["pages"]
        )
        controls = tuple(
            Control(each["name"], each["kind"], tuple(Label(**label) for label in each["labels"]))
            for each in content["controls"]
        )
        clicks = tuple(Click(**click) for click in content["clicks"])
        rectangle = Rectangle(**content["rectangle"]) if content["rectangle"] else None
        read = {"pages": pages, "controls": controls, "clicks": clicks, "rectangle": rectangle}
        return cls(**{**content, **read})

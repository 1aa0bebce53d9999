"""What a task asks for: the message from the web process to the worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

__all__ = ["Click", "Control", "Expression", "Rectangle", "TaskRequest"]


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
    """A referring expression, and the label that its mask gets. Without a text, clicks decide alone."""

    text: str
    label: str


@dataclass(frozen=True)
class Control:
    """A tag of the label config that takes results: its name, its kind (one of RESULT_TAGS) and its labels."""

    name: str
    kind: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class TaskRequest:
    """All that a job needs to know of a task. Equal requests of one model version have equal job ids.

    image: what the task's data holds: a URL, a path on Label Studio, or a data URI.
    image_tag: name of the Image tag.
    task, project: ids in Label Studio, which the prediction is posted to; they do not decide what it is.
    clicks, rectangle: what the annotator pointed at; they belong to the one expression.
    interactive: an annotator waits for it; it is a suggestion, and not the task's prediction.
    """

    image: str
    image_field: str
    image_tag: str
    text_field: str
    expressions: tuple[Expression, ...]
    controls: tuple[Control, ...]
    model_version: str
    task: str
    project: str
    clicks: tuple[Click, ...] = ()
    rectangle: Rectangle | None = None
    interactive: bool = False

    def job_id(self) -> str:
        """Hex digest of all that decides the result."""
        return self._job_id

    @cached_property
    def _job_id(self) -> str:
        work = {name: value for name, value in asdict(self).items() if name not in ("task", "project")}
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:40]

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote."""
        expressions = tuple(Expression(**expression) for expression in content["expressions"])
        controls = tuple(Control(c["name"], c["kind"], tuple(c["labels"])) for c in content["controls"])
        clicks = tuple(Click(**click) for click in content["clicks"])
        rectangle = Rectangle(**content["rectangle"]) if content["rectangle"] else None
        read = {"expressions": expressions, "controls": controls, "clicks": clicks, "rectangle": rectangle}
        return cls(**{**content, **read})

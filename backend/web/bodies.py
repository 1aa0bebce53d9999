"""Bodies of the requests that Label Studio sends, as far as they are used."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, field
from msgspec.structs import asdict
from pydantic import BaseModel

from backend.errors import TaskError
from backend.label_studio.interaction import is_prompt
from backend.label_studio.numbers import LARGEST_NUMBER, is_number

__all__ = [
    "ErrorBody",
    "HintBody",
    "PredictBody",
    "ProjectBody",
    "RequestError",
    "SetupBody",
    "TaskBody",
    "TasksCreatedBody",
    "WebhookBody",
    "described",
    "parse",
]

MOST_TASKS = 100_000  # of a request
MOST_BRACKETS, MOST_ENTRIES = 50_000, 500_000  # of a part of a body that is used
MAX_HINTED = 10_000  # tasks; Label Studio tells of 5,000 at most
PLACE = re.compile(r" - at `\$(?P<path>.*)`$")
MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`")


def null() -> Raw:
    """What a part holds that is absent."""
    return Raw(b"null")


Number = Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)]
Identifier = Number | Annotated[str, Meta(pattern=r"^[\w.:-]{0,100}$(?!\n)")] | None
REMEDY = "Send what Label Studio sends."
Body = TypeVar("Body", bound=Struct)


class RequestError(Exception):
    """A request that cannot be served: the status and what is said about it."""

    def __init__(self, status: int, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = TaskError(field, message, remedy)


class ResultBody(Struct):
    """A result that an annotator has drawn or typed, as far as it is used. value: a brush's may have millions of
    numbers."""

    value: Raw = field(default_factory=null)
    type: Any = None
    from_name: Any = None
    is_positive: Any = None
    item_index: Any = None
    original_width: Any = None
    original_height: Any = None

    def built(self) -> dict[str, Any]:
        """It as a dict, without a value that is no prompt, or is too large to be one."""
        is_read = is_prompt(self.type) and not _expands(bytes(self.value), Any)
        return {**asdict(self), "value": build(self.value, "result.value") if is_read else None}


class DrawnBody(Struct):
    """A draft, or what the annotator drew and typed last."""

    result: list[ResultBody] | None = None
    id: Any = None
    updated_at: Any = None

    def built(self) -> dict[str, Any]:
        """It as a dict."""
        return {**asdict(self), "result": [result.built() for result in self.result or []]}


class TaskBody(Struct):
    """A task, as far as it is used. data: read by `fields_of`."""

    data: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
    id: Identifier = None
    project: Identifier = None
    drafts: Raw = field(default_factory=null)

    def built(self, fields: Sequence[str], place: str) -> dict[str, Any]:
        """It as a dict, with these fields of its data. place: its own in the body, such as "tasks.0". Raises
        RequestError."""
        drafts = build(self.drafts, f"{place}.drafts", list[DrawnBody] | None) or []
        data = fields_of(self.data, tuple(fields), f"{place}.data")
        return {"data": data, "id": self.id, "project": self.project, "drafts": [draft.built() for draft in drafts]}


class ParamsBody(Struct):
    """`params` of /predict."""

    context: Raw = field(default_factory=null)

    def drawn(self) -> dict[str, Any] | None:
        """What the annotator drew and typed, as a dict; None if nobody did. Raises RequestError."""
        context = build(self.context, "params.context", DrawnBody | None)
        return context.built() if context else None


class PredictBody(Struct):
    """Body of /predict."""

    tasks: list[TaskBody]
    label_config: str
    params: ParamsBody = field(default_factory=ParamsBody)


class SetupBody(Struct):
    """Body of /setup."""

    label_config: str = field(name="schema")
    project: str = ""  # its number, a dot, and when it was made
    hostname: str = ""

    @property
    def project_number(self) -> str:
        """The project's number; empty if it is not said."""
        number = self.project.partition(".")[0]
        return number if is_number(number) else ""


class ConfiguredProjectBody(Struct):
    """A project, as far as it is used where its tasks are believed."""

    label_config: str


class WebhookBody(Struct):
    """Body of /webhook."""

    action: str


class TasksCreatedBody(Struct):
    """Body of /webhook for the action TASKS_CREATED."""

    tasks: list[TaskBody]
    project: ConfiguredProjectBody
    action: str = "TASKS_CREATED"


class NumberBody(Struct):
    """A task or project, of which only the number is believed."""

    id: Number


class HintBody(Struct):
    """Body of /webhook for the action TASKS_CREATED, where the tasks are then read from Label Studio."""

    tasks: Annotated[list[NumberBody], Meta(max_length=MAX_HINTED)]
    project: NumberBody


class ProjectBody(Struct):
    """Body of /webhook for the action PROJECT_UPDATED."""

    project: NumberBody


class ReasonBody(BaseModel):
    """What is wrong, and what to do about it."""

    field: str
    message: str
    remedy: str
    annotator: str = ""


class ErrorBody(BaseModel):
    """Answer to a request that cannot be served."""

    error: ReasonBody


def build(raw: Raw, field: str, kind: Any = Any) -> Any:
    """What a part of a body holds. Raises RequestError if it is malformed, or expands to too
    much."""
    content = bytes(raw)
    if _expands(content, kind):
        remedy = "Let fields of the task's data that hold image, text and labels hold nothing else."
        raise RequestError(413, field, "it has too many entries.", remedy)
    return _decode(content, kind, field)


def _expands(content: bytes, kind: Any) -> bool:
    """Whether what a part of a body holds takes much more memory than the part itself: an empty list has three bytes in
    JSON and sixty in memory."""
    if content[:1] not in (b"[", b"{"):
        return False
    objects, lists, commas = (content.count(mark) for mark in (b"{", b"[", b","))
    return objects > MOST_BRACKETS or (kind is Any and (objects + lists > MOST_BRACKETS or commas > MOST_ENTRIES))


def fields_of(raw: Raw, names: tuple[str, ...], place: str) -> dict[str, Any]:
    """Some fields of a task's data; the others are skipped, neither built nor kept. place: its own in the body. Raises
    RequestError."""
    found = _decode(raw, _fields(names), place)
    return {
        name: build(part, f"{place}.{name}")
        for number, name in enumerate(names)
        if memoryview(part := getattr(found, f"field_{number}")).nbytes
    }


@lru_cache(maxsize=256)
def _fields(names: tuple[str, ...]) -> type[Struct]:
    numbered = {f"field_{number}": name for number, name in enumerate(names)}
    return msgspec.defstruct("Data", [(name, Raw, Raw()) for name in numbered], rename=numbered)


def _decode(content: bytes | Raw, kind: Any, field: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        message, place = _placed(str(error))
        raise RequestError(422, field if place == "body" else f"{field}.{place}", f"{message}.", REMEDY) from None
    except RecursionError:
        raise RequestError(400, "body", "JSON is nested too deeply.", REMEDY) from None


def described(kind: type[Struct]) -> dict[str, Any]:
    """A body in the words of OpenAPI, which cannot be told from a route that reads the raw request."""
    schema = msgspec.json.schema(kind)
    content = {"application/json": {"schema": _inlined(schema, schema.pop("$defs", {}))}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema with its definitions in the places that refer to them."""
    if isinstance(node, list):
        return [_inlined(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: _inlined(entry, definitions) for name, entry in node.items()}


def parse(kind: type[Body], raw: bytes | bytearray) -> Body:
    """Read a body; what is not used is skipped, neither built nor kept, in about 2 ms a megabyte.

    Raises RequestError, naming the field, if it is malformed, or has too many tasks.
    """
    if kind in (PredictBody, TasksCreatedBody) and raw.count(b'"data"') > MOST_TASKS:
        raise RequestError(413, "tasks", f"they are more than {MOST_TASKS}.", "Select fewer tasks.")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, field = _placed(str(error))
        raise RequestError(422, field, f"{message}.", REMEDY) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, "body", f"{error}.", REMEDY) from None
    except RecursionError:
        raise RequestError(400, "body", "JSON is nested too deeply.", REMEDY) from None


def _placed(message: str) -> tuple[str, str]:
    """A message of msgspec's as (what is wrong, field), the field such as "tasks.0.id"."""
    place = PLACE.search(message)
    path = place["path"] if place else ""
    if missing := MISSING.match(message):
        return "Field required", _field(f"{path}.{missing['name']}")
    return message[: place.start()] if place else message, _field(path)


def _field(path: str) -> str:
    return path.replace("[", ".").replace("]", "").strip(".") or "body"

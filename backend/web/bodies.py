"""Bodies of the requests that Label Studio sends, as far as they are used."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field
from pydantic import BaseModel

from backend.errors import TaskError
from backend.label_studio.numbers import LARGEST_NUMBER, is_number

__all__ = [
    "ContextBody",
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

MAX_HINTED = 10_000  # tasks; Label Studio tells of 5,000 at most
PLACE = re.compile(r" - at `\$(?P<path>.*)`$")
MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`")

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


class TaskBody(Struct):
    """A task, as far as it is used."""

    data: dict[str, Any]
    id: Identifier = None
    project: Identifier = None
    drafts: list[dict[str, Any]] | None = None


class ContextBody(Struct):
    """What the annotator drew and typed."""

    result: list[dict[str, Any]] = []


class ParamsBody(Struct):
    """`params` of /predict."""

    context: ContextBody | None = None


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

    Raises RequestError, naming the field, if it is malformed.
    """
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

"""Bodies of the requests that Label Studio sends, as far as they are used."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from backend.errors import TaskError

__all__ = [
    "ContextBody",
    "ErrorBody",
    "HintBody",
    "PredictBody",
    "RequestError",
    "SetupBody",
    "TaskBody",
    "TasksCreatedBody",
    "WebhookBody",
    "described",
    "parse",
]

LARGEST_NUMBER = 2**63 - 1  # of a database's row
NAME = re.compile(r"[\w.:-]{0,100}")
MAX_HINTED = 10_000  # tasks; Label Studio tells of 5,000 at most
Body = TypeVar("Body", bound=BaseModel)


class RequestError(Exception):
    """A request that cannot be served: the status and what is said about it."""

    def __init__(self, status: int, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = TaskError(field, message, remedy)


def _check_identifier(value: int | str | None) -> int | str | None:
    if isinstance(value, int) and not 0 <= value <= LARGEST_NUMBER:
        raise ValueError(f"a number from 0 to {LARGEST_NUMBER} is needed")
    if isinstance(value, str) and not NAME.fullmatch(value):
        raise ValueError("at most 100 letters, digits, dots, colons and dashes are allowed")
    return value


Identifier = Annotated[int | str | None, AfterValidator(_check_identifier)]


class TaskBody(BaseModel):
    """A task, as far as it is used."""

    id: Identifier = None
    project: Identifier = None
    data: dict[str, Any]
    drafts: list[dict[str, Any]] | None = None


class ContextBody(BaseModel):
    """What the annotator drew and typed."""

    result: list[dict[str, Any]] = []


class ParamsBody(BaseModel):
    """`params` of /predict."""

    context: ContextBody | None = None


class PredictBody(BaseModel):
    """Body of /predict."""

    tasks: list[TaskBody]
    label_config: str
    params: ParamsBody = ParamsBody()


class SetupBody(BaseModel):
    """Body of /setup."""

    label_config: str = Field(alias="schema")
    project: str = ""  # its number, a dot, and when it was made

    @property
    def project_number(self) -> str:
        """The project's number; empty if it is not said."""
        number = self.project.partition(".")[0]
        return number if re.fullmatch(r"[0-9]{1,19}", number) else ""


class ProjectBody(BaseModel):
    """A project, as far as it is used."""

    label_config: str


class WebhookBody(BaseModel):
    """Body of /webhook."""

    action: str


class TasksCreatedBody(BaseModel):
    """Body of /webhook for the action TASKS_CREATED."""

    action: str = "TASKS_CREATED"
    tasks: list[TaskBody]
    project: ProjectBody


class NumberBody(BaseModel):
    """A task or project, of which only the number is believed."""

    id: int = Field(ge=0, le=LARGEST_NUMBER)


class HintBody(BaseModel):
    """Body of /webhook for the action TASKS_CREATED, where the tasks are then read from Label Studio."""

    tasks: list[NumberBody] = Field(max_length=MAX_HINTED)
    project: NumberBody


class ReasonBody(BaseModel):
    """What is wrong, and what to do about it."""

    field: str
    message: str
    remedy: str


class ErrorBody(BaseModel):
    """Answer to a request that cannot be served."""

    error: ReasonBody


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """A body in the words of OpenAPI, which cannot be told from a route that reads the raw request."""
    schema = kind.model_json_schema()
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


def parse(kind: type[Body], raw: bytes) -> Body:
    """Read a body. Raises RequestError, naming the field, if it is malformed."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "body"
        status = 400 if problem["type"] == "json_invalid" else 422
        message = problem["msg"].removeprefix("Value error, ")
        raise RequestError(status, field, f"{message}.", "Send what Label Studio sends.") from None

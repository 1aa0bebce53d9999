"""Bodies of the requests that Label Studio sends, as far as they are used."""

from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from backend.errors import TaskError

__all__ = [
    "ContextBody",
    "HintBody",
    "PredictBody",
    "RequestError",
    "SetupBody",
    "TaskBody",
    "TasksCreatedBody",
    "WebhookBody",
    "parse",
]

Body = TypeVar("Body", bound=BaseModel)


class RequestError(Exception):
    """A request that cannot be served: the status and what is said about it."""

    def __init__(self, status: int, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = TaskError(field, message, remedy)


class TaskBody(BaseModel):
    """A task, as far as it is used."""

    id: int | str | None = None
    project: int | str | None = None
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


class ProjectBody(BaseModel):
    """A project, as far as it is used."""

    label_config: str


class WebhookBody(BaseModel):
    """Body of /webhook."""

    action: str


class TasksCreatedBody(BaseModel):
    """Body of /webhook for the action TASKS_CREATED."""

    tasks: list[TaskBody]
    project: ProjectBody


class NumberBody(BaseModel):
    """A task or project, of which only the number is believed."""

    id: int


class HintBody(BaseModel):
    """Body of /webhook for the action TASKS_CREATED, where the tasks are then read from Label Studio."""

    tasks: list[NumberBody]
    project: NumberBody


def parse(kind: type[Body], raw: bytes) -> Body:
    """Read a body. Raises RequestError, naming the field, if it is malformed."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "body"
        status = 400 if problem["type"] == "json_invalid" else 422
        raise RequestError(status, field, f"{problem['msg']}.", "Send what Label Studio sends.") from None

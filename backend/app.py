"""The routes that Label Studio calls, and the status. This process holds neither torch nor a model.

Errors are JSON: {"error": {"field", "message", "remedy"}}. Bad tasks are no error of the request: their entry in
`results` is empty, and `errors`, which Label Studio ignores, says why.
"""

import base64
import json
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from types import FrameType
from typing import Any, TypeVar

import anyio
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError

from backend.errors import LabelConfigError, TaskError
from backend.labels import read_label_config
from backend.model import RefAMBackend, refuse
from backend.queue import JobQueue, connect
from backend.settings import Settings
from backend.status import collect

__all__ = ["create_app", "serve"]

logger = logging.getLogger(__name__)

Body = TypeVar("Body", bound=BaseModel)
SPARE_THREADS = 16  # beside those that wait for a result


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


def create_app(settings: Settings, queue: JobQueue) -> FastAPI:
    """The web application. `queue` is shared by all requests."""
    app = FastAPI(title="RefAM backend for Label Studio", docs_url=None, redoc_url=None)
    threads = anyio.CapacityLimiter(settings.inline_waiters + SPARE_THREADS)
    protected = [Depends(_password_check(settings))]

    async def in_thread(work: Callable[[], Any]) -> Response:
        """Run `work` and make its JSON beside the event loop, so that /health is never kept waiting."""
        content = await anyio.to_thread.run_sync(lambda: json.dumps(work()), limiter=threads)
        return Response(content, media_type="application/json")

    def answer(tasks: list[TaskBody], config: str, context: ContextBody | None, *, wait: bool = True) -> Any:
        entries = [task.model_dump() for task in tasks]
        drawn = context.model_dump() if context else None
        try:
            backend = RefAMBackend(label_config=config, queue=queue, settings=settings)
            return asdict(backend.answer(entries, drawn, wait=wait))
        except LabelConfigError as error:
            return asdict(refuse(entries, drawn, error, queue, settings))

    @app.get("/")
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": RefAMBackend.__name__}

    @app.post("/setup", dependencies=protected)
    async def setup(request: Request) -> Response:
        raw = await _body(request, settings.request_max_bytes)

        def check() -> Any:
            read_label_config(_parse(SetupBody, raw).label_config)
            return {"model_version": settings.model_version}

        return await in_thread(check)

    @app.post("/predict", dependencies=protected)
    async def predict(request: Request) -> Response:
        raw = await _body(request, settings.request_max_bytes)

        def work() -> Any:
            body = _parse(PredictBody, raw)
            return answer(body.tasks, body.label_config, body.params.context)

        return await in_thread(work)

    @app.post("/webhook", dependencies=protected)
    async def webhook(request: Request, background: BackgroundTasks) -> dict[str, str]:
        raw = await _body(request, settings.request_max_bytes)
        if _parse(WebhookBody, raw).action != "TASKS_CREATED":
            return {"status": "ignored"}
        body = await anyio.to_thread.run_sync(_parse, TasksCreatedBody, raw, limiter=threads)
        # Label Studio gives up after a second, in the midst of somebody's import.
        background.add_task(answer, body.tasks, body.project.label_config, None, wait=False)
        return {"status": "queued"}

    @app.get("/versions", dependencies=protected)
    async def versions() -> dict[str, list[str]]:
        return {"versions": [settings.model_version]}

    @app.get("/status", dependencies=protected)
    async def status() -> Response:
        return await in_thread(lambda: collect(queue, settings))

    _add_error_handlers(app)
    return app


class _Server(uvicorn.Server):
    """Ends inline waits when it is told to stop, so that stopping does not take a minute."""

    def __init__(self, config: uvicorn.Config, queue: JobQueue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._queue.closing.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises QueueUnavailableError if there is no Redis."""
    queue = JobQueue(connect(settings), settings)
    config = uvicorn.Config(
        create_app(settings, queue),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises it anew once it has stopped
        _Server(config, queue).run()


def _password_check(settings: Settings) -> Callable[[Request], None]:
    user, password = settings.basic_auth_user, settings.basic_auth_pass
    expected = f"{user}:{password.get_secret_value()}".encode() if user and password else None

    def check(request: Request) -> None:
        if expected is None:
            return
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(given, validate=True) if kind.lower() == "basic" else b""
        except ValueError:
            decoded = b""
        if not secrets.compare_digest(decoded, expected):  # in constant time
            remedy = "In Label Studio, give the model basic authentication with BASIC_AUTH_USER and BASIC_AUTH_PASS."
            raise RequestError(401, "Authorization", "user name or password is missing or wrong.", remedy)

    return check


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            remedy = "Select fewer tasks, or raise REFAM_BACKEND_REQUEST_MAX_BYTES."
            raise RequestError(413, "body", f"the request is larger than {limit} bytes.", remedy)
    return bytes(body)


def _parse(kind: type[Body], raw: bytes) -> Body:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "body"
        status = 400 if problem["type"] == "json_invalid" else 422
        raise RequestError(status, field, f"{problem['msg']}.", "Send what Label Studio sends.") from None


def _add_error_handlers(app: FastAPI) -> None:
    def respond(status: int, reason: TaskError) -> JSONResponse:
        headers = {"WWW-Authenticate": 'Basic realm="RefAM backend"'} if status == 401 else None
        return JSONResponse({"error": reason.as_json()}, status, headers)

    @app.exception_handler(RequestError)
    async def bad_request(_: Request, error: RequestError) -> JSONResponse:
        return respond(error.status, error.reason)

    @app.exception_handler(TaskError)
    async def bad_input(_: Request, error: TaskError) -> JSONResponse:
        return respond(422, error)

    @app.exception_handler(RedisError)
    async def no_queue(_: Request, error: RedisError) -> JSONResponse:
        logger.error("Redis does not answer: %s", type(error).__name__)
        message = f"Redis does not answer ({type(error).__name__})."
        return respond(503, TaskError("REDIS_URL", message, "Start it, or run `refam-backend doctor`."))

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> JSONResponse:
        message = f"the backend failed with {type(error).__name__}."
        return respond(500, TaskError("backend", message, "See its log."))

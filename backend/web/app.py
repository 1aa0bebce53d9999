"""The routes that Label Studio calls, and the status. This process holds neither torch nor a model.

Errors are JSON: {"error": {"field", "message", "remedy"}}. Bad tasks are no error of the request: their entry in
`results` is empty, and `errors`, which Label Studio ignores, says why.
"""

import base64
import json
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import FrameType
from typing import Any

import anyio
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from msgspec.structs import asdict
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect

from backend.delivery.outbox import Outbox
from backend.errors import LabelConfigError, TaskError
from backend.label_studio.label_config import read_label_config
from backend.queue.connection import connect
from backend.queue.job_queue import JobQueue, Priority
from backend.settings import Settings
from backend.web.bodies import (
    ContextBody,
    ErrorBody,
    HintBody,
    PredictBody,
    RequestError,
    SetupBody,
    TaskBody,
    TasksCreatedBody,
    WebhookBody,
    described,
    parse,
)
from backend.web.intake import Intake
from backend.web.ml_backend import RefAMBackend, refuse
from backend.web.status_page import status_routes

__all__ = ["create_app", "serve"]

logger = logging.getLogger(__name__)

TITLE = "RefAM backend for Label Studio"
REFUSALS = (400, 401, 403, 408, 413, 422, 503)
HEADERS = {401: {"WWW-Authenticate": 'Basic realm="RefAM backend"'}, 503: {"Retry-After": "10"}}
HINT_MAX_BYTES = 32 * 2**20  # of a webhook without password
MAX_HINTS = 10_000  # jobs of up to 100 tasks each that may wait
SPARE_THREADS = 16  # beside those that wait for a result


def create_app(settings: Settings, queue: JobQueue) -> FastAPI:
    """The web application. `queue` is shared by all requests."""
    app = FastAPI(
        title=TITLE,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_refuse_other_sites)],
        responses={status: {"model": ErrorBody} for status in REFUSALS},
    )
    threads = anyio.CapacityLimiter(settings.inline_waiters + SPARE_THREADS)
    check_password = _password_check(settings)
    protected = [Depends(check_password)]
    outbox = Outbox(queue, settings)
    intake = Intake(settings)

    async def in_thread(work: Callable[[], Any]) -> Response:
        """Run `work` and make its JSON beside the event loop, so that /health is never kept waiting."""
        content = await anyio.to_thread.run_sync(lambda: json.dumps(work()), limiter=threads)
        return Response(content, media_type="application/json")

    answer = partial(_answer, queue, settings)
    app.include_router(status_routes(queue, settings, check_password))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": RefAMBackend.__name__}

    @app.post("/setup", dependencies=protected, openapi_extra=described(SetupBody))
    async def setup(request: Request, background: BackgroundTasks) -> Response:
        async with intake.body(request) as raw:

            def check() -> Any:
                body = parse(SetupBody, raw)
                read_label_config(body.label_config)
                if body.project_number:
                    background.add_task(_meet, outbox, body.project_number)
                return {"model_version": settings.model_version}

            return await in_thread(check)

    @app.post("/predict", dependencies=protected, openapi_extra=described(PredictBody))
    async def predict(request: Request) -> Response:
        async with intake.body(request) as raw:

            def work() -> Any:
                body = parse(PredictBody, raw)
                return answer(body.tasks, body.label_config, body.params.context)

            return await in_thread(work)

    @app.post("/webhook", openapi_extra=described(TasksCreatedBody))
    async def webhook(request: Request, background: BackgroundTasks) -> dict[str, str]:
        """Label Studio gives up after a second, in the midst of somebody's import, and sends no password."""
        trusted = not settings.writes_back or "Authorization" in request.headers or settings.basic_auth_user is None
        if trusted:
            check_password(request)
        async with AsyncExitStack() as kept:
            raw = await kept.enter_async_context(intake.body(request, None if trusted else HINT_MAX_BYTES))
            if parse(WebhookBody, raw).action != "TASKS_CREATED":
                return {"status": "ignored"}
            if settings.writes_back:
                await anyio.to_thread.run_sync(take_hint, raw, trusted, limiter=threads)
            else:
                body = await anyio.to_thread.run_sync(parse, TasksCreatedBody, raw, limiter=threads)
                work = partial(answer, body.tasks, body.project.label_config, None, wait=False)
                background.add_task(_finish, work, kept.pop_all(), threads)
        return {"status": "queued"}

    def take_hint(raw: bytearray, trusted: bool) -> None:
        """Have tasks read through Label Studio's API: of what is said about them, only their numbers are used."""
        hint = parse(HintBody, raw)
        project = str(hint.project.id)
        if not trusted:
            _check_hint(outbox.knows_project(project), queue.queues[Priority.STUDIO].count)
        outbox.read(project, [task.id for task in hint.tasks])

    @app.get("/versions", dependencies=protected)
    async def versions() -> dict[str, list[str]]:
        return {"versions": [settings.model_version]}

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


def _answer(
    queue: JobQueue,
    settings: Settings,
    tasks: list[TaskBody],
    config: str,
    context: ContextBody | None,
    *,
    wait: bool = True,
) -> Any:
    """What /predict answers."""
    entries = [asdict(task) for task in tasks]
    drawn = asdict(context) if context else None
    try:
        backend = RefAMBackend(label_config=config, queue=queue, settings=settings)
        return vars(backend.answer(entries, drawn, wait=wait))  # dataclasses.asdict would copy all masks
    except LabelConfigError as error:
        return vars(refuse(entries, drawn, error, queue, settings))


async def _finish(work: Callable[[], Any], kept: AsyncExitStack, threads: anyio.CapacityLimiter) -> None:
    """Do what is left of a request that has been answered, then close what was kept for it."""
    async with kept:
        await anyio.to_thread.run_sync(work, limiter=threads)


def _meet(outbox: Outbox, project: str) -> None:
    """Note a project, beside the answer: without Redis, Label Studio shall still show "Connected", and within 3 s."""
    with suppress(RedisError):
        outbox.meet_project(project)


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


def _refuse_other_sites(request: Request) -> None:
    """A web page can have its reader's browser send requests here, which names the page's origin; Label Studio's name
    none."""
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        remedy = "Send it from this server's own pages, or without an Origin header."
        raise RequestError(403, "Origin", "requests from other sites are refused.", remedy)


def _check_hint(known: bool, waiting: int) -> None:
    """Whether a webhook without password is followed: only for projects that have connected, and within bounds."""
    if not known:
        remedy = "Connect the backend to the project in Label Studio, with BASIC_AUTH_USER and BASIC_AUTH_PASS."
        raise RequestError(403, "project", "it has not connected this backend.", remedy)
    if waiting >= MAX_HINTS:
        remedy = "Run `refam-backend prelabel` for the project later."
        raise RequestError(503, "webhook", "too many new tasks wait to be read.", remedy)


def _add_error_handlers(app: FastAPI) -> None:
    def respond(status: int, reason: TaskError) -> JSONResponse:
        return JSONResponse({"error": reason.as_json()}, status, HEADERS.get(status))

    @app.exception_handler(RequestError)
    async def bad_request(_: Request, error: RequestError) -> JSONResponse:
        return respond(error.status, error.reason)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # that nobody reads; a client that leaves is no bug of ours

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

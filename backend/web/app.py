"""The routes that Label Studio calls. This process holds neither torch nor a model.

Errors are JSON: {"error": {"field", "message", "remedy"}}. Bad tasks are no error of the request: their entry in
`results` is empty, and `errors`, which Label Studio ignores, says why.
"""

import json
import logging
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

from backend.delivery.known_projects import KnownProjects
from backend.errors import TaskError
from backend.label_studio.label_config import read_label_config
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings
from backend.web.access import Access
from backend.web.answers import Answering
from backend.web.bodies import (
    ContextBody,
    ErrorBody,
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
from backend.web.ml_backend import RefAMBackend
from backend.web.status_page import status_routes
from backend.web.webhook import Webhook

__all__ = ["create_app", "serve"]

logger = logging.getLogger(__name__)

TITLE = "RefAM backend for Label Studio"
REFUSALS = (400, 401, 403, 408, 413, 422, 503)
HEADERS = {401: {"WWW-Authenticate": 'Basic realm="RefAM backend"'}, 503: {"Retry-After": "10"}}
SPARE_THREADS = 16  # beside those that wait for a result


def create_app(settings: Settings, shared: SharedState, timings: Timings | None = None) -> FastAPI:
    """The web application. `shared` is used by all requests.

    timings: the ordinary ones if absent.
    """
    access, timings = Access(settings), timings or Timings()
    app = FastAPI(
        title=TITLE,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.check_origin)],
        responses={status: {"model": ErrorBody} for status in REFUSALS},
    )
    threads = anyio.CapacityLimiter(settings.inline_waiters + SPARE_THREADS)
    protected = [Depends(access.check_password)]
    projects, hook, intake = (
        KnownProjects(shared.connection),
        Webhook(shared, settings, access),
        Intake(settings, timings),
    )
    answer = partial(_answer, Answering(shared, settings, timings))

    async def in_thread(work: Callable[[], Any]) -> Response:
        """Run `work` and make its JSON beside the event loop, so that /health is never kept waiting."""
        content = await anyio.to_thread.run_sync(lambda: json.dumps(work()), limiter=threads)
        return Response(content, media_type="application/json")

    app.include_router(status_routes(shared, settings, access))

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
                    background.add_task(_remember, projects, body.project_number)
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
        """Label Studio gives up after a second, in the midst of somebody's import."""
        trusted = hook.is_trusted(request)
        async with AsyncExitStack() as kept:
            raw = await kept.enter_async_context(intake.body(request, hook.limit(trusted)))
            if parse(WebhookBody, raw).action != "TASKS_CREATED":
                return {"status": "ignored"}
            if settings.writes_back:
                await anyio.to_thread.run_sync(hook.follow, raw, trusted, limiter=threads)
            else:
                body = await anyio.to_thread.run_sync(parse, TasksCreatedBody, raw, limiter=threads)
                work = partial(answer, body.tasks, body.project.label_config, None, wait=False)
                background.add_task(_finish, work, kept.pop_all(), threads)
        return {"status": "queued"}

    @app.get("/versions", dependencies=protected)
    async def versions() -> dict[str, list[str]]:
        return {"versions": [settings.model_version]}

    _add_error_handlers(app)
    return app


class _Server(uvicorn.Server):
    """Ends inline waits when it is told to stop, so that stopping does not take a minute."""

    def __init__(self, config: uvicorn.Config, shared: SharedState) -> None:
        super().__init__(config)
        self._jobs = shared.jobs

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._jobs.closing.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises QueueUnavailableError if there is no Redis."""
    shared = SharedState.over(connect(settings), settings)
    config = uvicorn.Config(
        create_app(settings, shared),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises it anew once it has stopped
        _Server(config, shared).run()


def _answer(
    answering: Answering, tasks: list[TaskBody], config: str, context: ContextBody | None, *, wait: bool = True
) -> Any:
    """What /predict answers."""
    drawn = asdict(context) if context else None
    answer = answering.answer(config, [asdict(task) for task in tasks], drawn, wait=wait)
    return vars(answer)  # dataclasses.asdict would copy all masks


async def _finish(work: Callable[[], Any], kept: AsyncExitStack, threads: anyio.CapacityLimiter) -> None:
    """Do what is left of a request that has been answered, then close what was kept for it."""
    async with kept:
        await anyio.to_thread.run_sync(work, limiter=threads)


def _remember(projects: KnownProjects, project: str) -> None:
    """Note a project, beside the answer: without Redis, Label Studio shall still show "Connected", and within 3 s."""
    with suppress(RedisError):
        projects.add(project)


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

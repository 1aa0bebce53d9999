"""What a request gets that cannot be served: JSON, {"error": {"field", "message", "remedy"}}, and never a traceback."""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect

from backend.errors import TaskError
from backend.web.bodies import ErrorBody, RequestError

__all__ = ["REFUSALS", "add_error_answers"]

logger = logging.getLogger(__name__)

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 408, 413, 422, 503)
}
HEADERS = {401: {"WWW-Authenticate": 'Basic realm="RefAM backend"'}, 503: {"Retry-After": "10"}}


def add_error_answers(app: FastAPI) -> None:
    """Have the application answer errors so."""

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

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"][1:]) or "request"
        return respond(422, TaskError(field, f"{problem['msg']}.", "See /openapi.json."))

    @app.exception_handler(RedisError)
    async def no_queue(_: Request, error: RedisError) -> JSONResponse:
        logger.error("Redis does not answer: %s", type(error).__name__)
        message = f"Redis does not answer ({type(error).__name__})."
        return respond(503, TaskError("REDIS_URL", message, "Start it, or run `refam-backend doctor`."))

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> JSONResponse:
        message = f"the backend failed with {type(error).__name__}."
        return respond(500, TaskError("backend", message, "See its log."))

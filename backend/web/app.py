"""The web application. This process holds neither torch nor a model."""

import socket
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import Depends, FastAPI

from backend.exclusive import PORT_REMEDY, listen
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings
from backend.web.access import Access
from backend.web.error_answers import REFUSALS, add_error_answers
from backend.web.ml_routes import MLRoutes
from backend.web.status_page import status_routes

__all__ = ["create_app", "serve"]

TITLE = "RefAM backend for Label Studio"


def create_app(shared: SharedState, settings: Settings, timings: Timings | None = None) -> FastAPI:
    """The web application. `shared` is used by all requests.

    timings: the ordinary ones if absent.
    """
    access = Access(settings)
    app = FastAPI(
        title=TITLE,
        openapi_url=None,  # served by us, behind the password
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.check_origin)],
        responses=REFUSALS,
    )
    app.include_router(status_routes(shared, settings, access))
    app.include_router(MLRoutes(shared, settings, access, timings or Timings()).router())
    app.get("/openapi.json", include_in_schema=False, dependencies=[Depends(access.check_password)])(app.openapi)
    add_error_answers(app)
    return app


class _Server(uvicorn.Server):
    """Ends inline waits when it is told to stop, so that stopping does not take a minute."""

    def __init__(self, config: uvicorn.Config, shared: SharedState) -> None:
        super().__init__(config)
        self._jobs = shared.jobs

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._jobs.closing.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings, descriptor: int | None = None) -> None:
    """Serve until told to stop.

    descriptor: of a socket that listens already, as of `refam-backend up`.
    Raises SettingsError where others could reach it without a password, ProgramError if the port is in use, and
    QueueUnavailableError if there is no Redis.
    """
    settings.require_password()
    given = descriptor is not None
    listener = socket.socket(fileno=descriptor) if given else listen(settings.host, settings.port, PORT_REMEDY)
    shared = SharedState.over(connect(settings), settings)
    shared.keyspace.announce()
    config = uvicorn.Config(
        create_app(shared, settings),
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises it anew once it has stopped
        _Server(config, shared).run([listener])

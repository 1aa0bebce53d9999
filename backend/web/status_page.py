"""The status page and what it asks for: /status, /thumbnails, /retry, /cancel; and /metrics. No torch, no model.

The page is one static file. It asks /status again and again, and puts what it gets on the page as text, never as HTML.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from backend.errors import SettingsError
from backend.label_studio.numbers import is_number
from backend.monitoring.control import Control
from backend.monitoring.metrics import metrics
from backend.monitoring.status import collect
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.web.access import Access
from backend.web.bodies import ErrorBody, RequestError

__all__ = ["status_routes"]

PAGE = (Path(__file__).with_name("status_page.html")).read_text()


def status_routes(shared: SharedState, settings: Settings, access: Access) -> APIRouter:
    """The routes. What changes something is a POST with a header that browsers let only our own page send."""
    routes = APIRouter()
    protected = [Depends(access.check_password)]
    ours = [*protected, Depends(access.check_sender)]
    control = Control.over(shared, settings)
    headers = {"Content-Security-Policy": _policy(PAGE), "X-Content-Type-Options": "nosniff", "Vary": "Accept"}

    @routes.get("/", responses=_content("text/html"))
    def front(request: Request) -> Response:
        """The page for browsers; for Label Studio, the same as /health."""
        if "text/html" not in request.headers.get("Accept", ""):
            return JSONResponse({"status": "UP", "model_class": "RefAMBackend"}, headers={"Vary": "Accept"})
        access.check_password(request)
        return HTMLResponse(PAGE, headers=headers)

    @routes.get("/status", dependencies=protected)
    def status() -> dict[str, Any]:
        return collect(shared, settings)

    @routes.get("/metrics", dependencies=protected, response_class=Response, responses=_content("text/plain"))
    def prometheus() -> Response:
        return Response(metrics(shared, settings), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    @routes.get(
        "/thumbnails/{name}",
        dependencies=protected,
        response_class=Response,
        responses=_content("image/jpeg") | {404: {"model": ErrorBody}},
    )
    def thumbnail(name: str) -> Response:
        jpeg = shared.gallery.thumbnail(name)
        if jpeg is None:
            raise RequestError(404, "thumbnail", "it is not kept any more.", "Reload the page.")
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400, immutable"})

    @routes.post("/retry", dependencies=ours, responses={409: {"model": ErrorBody}})
    def retry(project: str | None = None, task: str | None = None, reason: str | None = None) -> dict[str, int]:
        try:
            return {"retried": control.retry(_number("project", project), _number("task", task), reason)}
        except SettingsError as error:
            raise RequestError(409, "LABEL_STUDIO_URL", "it or the token is not set.", str(error)) from None

    @routes.post("/cancel", dependencies=ours)
    def cancel(project: str, task: str | None = None) -> dict[str, int]:
        _number("project", project)
        return {"cancelled": control.cancel(project, _number("task", task))}

    return routes


def _content(kind: str) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: a route's answer is of this media type; its errors stay JSON."""
    return {200: {"content": {kind: {}}}}


def _number(field: str, value: str | None) -> str | None:
    if value is not None and not is_number(value):
        raise RequestError(422, field, "it is no number.", "Give the number that Label Studio shows in its address.")
    return value


def _policy(page: str) -> str:
    """Content security policy: the page's own script and style, pictures and answers of this server, nothing else."""
    script, style = (_digest(re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)) for tag in ("script", "style"))
    sources = {"default-src": "'none'", "script-src": script, "style-src": style, "img-src": "'self' data:"}
    sources |= {"connect-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    return "; ".join(f"{name} {source}" for name, source in sources.items())


def _digest(contents: list[str]) -> str:
    (content,) = contents
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

"""The real Label Studio, with a proxy on each way between it and the backend."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from backend.demo.local_studio import LocalStudio, connect_backend, make_project, studio_running
from backend.demo.programs import free_port
from tests.chaos.studio import Faults, patiently
from tests.e2e.api import Api, api_of
from tests.support.label_studio import DROPPED, Answer, Replier, serve
from tests.support.tasks import CONFIG

__all__ = ["RealStudio", "real_studio"]

PATIENCE = 300  # seconds
FORWARDED = ("Accept", "Authorization", "Content-Type")


class Proxy:
    """A server at an address of its own behind which another one stands.

    faults: what becomes of requests to the API, but for the exchange of tokens.
    answered: paths of the requests that were answered with success.
    """

    def __init__(self, target: str, faults: Faults | None = None) -> None:
        self.requests: list[tuple[str, str]] = []
        self.answered: list[str] = []
        self._faults = faults
        self._client = httpx.Client(base_url=target, timeout=PATIENCE, trust_env=False)
        self._server = serve(_handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def pass_on(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        self.requests.append((method, path))
        route = urlsplit(path).path
        faults = self._faults if route.startswith("/api/") and not route.startswith("/api/token/") else None
        if faults and (failure := faults.before(method, route)):
            return failure
        try:
            response = self._client.request(method, path, headers=headers, content=raw)
        except httpx.HTTPError:
            return DROPPED
        if faults:
            faults.repeat(method, route, lambda: self._client.request(method, path, headers=headers, content=raw))
        if response.is_success:
            self.answered.append(route)
        return (faults and faults.after(method, route)) or (response.status_code, response.content)


def _handler(proxy: Proxy) -> type[Replier]:
    class Handler(Replier):
        def answer(self, raw: bytes) -> Answer:
            headers = {name: self.headers[name] for name in FORWARDED if name in self.headers}
            return proxy.pass_on(self.command, self.path, headers, raw)

    return Handler


class NotAskedError(httpx.HTTPError):
    """Label Studio did not get an answer of the backend, which it does not tell its user."""


class RealStudio:
    """A Label Studio that the backend asks through a proxy with faults, and that asks the backend through proxies that
    see what is answered: its own API does not say so."""

    def __init__(self, studio: LocalStudio, api: Api, proxy: Proxy, stack: ExitStack) -> None:
        self._studio, self._api, self._stack = studio, api, stack
        self._projects: dict[int, Proxy] = {}
        self.url, self.requests = proxy.url, proxy.requests
        self.token = str(studio.api.post("/api/token/", {})["token"])

    def connect(self, web: httpx.Client, version: str) -> None:
        self._backend = str(web.base_url)

    def new_project(self) -> int:
        proxy = Proxy(self._backend)
        self._stack.callback(proxy.stop)
        project = make_project(self._studio, "chaos", CONFIG)
        connect_backend(self._studio, project, proxy.url)
        self._projects[project] = proxy
        return project

    def import_tasks(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        return self._api.import_tasks(project, data)

    def announce(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        """Label Studio announces what is imported, once. If that is lost, its user retrieves predictions."""
        answered = self._projects[project].answered
        before = answered.count("/webhook")
        numbers = self._api.import_tasks(project, data)
        if answered.count("/webhook") == before:
            patiently(lambda: self.ask(project, numbers), httpx.HTTPError)
        return numbers

    def ask(self, project: int, numbers: list[int]) -> None:
        answered = self._projects[project].answered
        before = answered.count("/predict")
        self._api.retrieve(project, numbers)
        if answered.count("/predict") == before and not all(map(self._api.predictions, numbers)):
            raise NotAskedError("no answer")

    def per_task(self) -> Counter[tuple[int, str]]:
        tasks = [task["id"] for project in self._projects for task in self._api.tasks(project)]
        return Counter((task, entry["model_version"]) for task in tasks for entry in self._api.predictions(task))


@contextmanager
def real_studio(faults: Faults) -> Iterator[RealStudio]:
    """Start Label Studio, with its data in a folder that is deleted at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-studio-")))
        studio = stack.enter_context(studio_running(folder, free_port()))
        proxy = Proxy(studio.url, faults)
        stack.callback(proxy.stop)
        yield RealStudio(studio, stack.enter_context(api_of(studio, PATIENCE)), proxy, stack)

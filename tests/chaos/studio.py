"""A Label Studio that fails: a share of its API's answers are errors, late, cut short, or lost once it has obeyed."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import httpx

from tests.support.label_studio import DROPPED, PAT, Answer, LabelStudio, Truncated
from tests.support.tasks import CONFIG

__all__ = ["ChaosStudio", "Faults", "patiently", "stand_in"]

T = TypeVar("T")
ERRORS = (500, 502, 503, 429, 401)


class ChaosStudio(Protocol):
    """What a run needs of a Label Studio: the stand-in here, or the real one.

    url, token: for the backend. requests: those that the backend sent, as (method, path).
    """

    url: str
    token: str
    requests: list[tuple[str, str]]

    def connect(self, web: httpx.Client, version: str) -> None:
        """Know the backend, which has just started, and its model version."""

    def new_project(self) -> int: ...

    def import_tasks(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        """New tasks, of which the backend is not told; returns their numbers."""

    def announce(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        """New tasks, of which the backend is told until it has answered; returns their numbers."""

    def ask(self, project: int, numbers: list[int]) -> None:
        """Retrieve predictions. Raises httpx.HTTPError where the backend does not answer."""

    def per_task(self) -> Counter[tuple[int, str]]:
        """How many predictions are stored for each (task, model version)."""


class Faults:
    """What becomes of requests, `rate` of which go wrong, drawn from a seed.

    patience: seconds after which the backend gives a request up; late answers take longer.
    """

    def __init__(self, rate: float, patience: float, seed: int) -> None:
        self._random = random.Random(f"studio {seed}")  # noqa: S311
        self._rate = rate
        self._late = patience * 1.5
        self._once = threading.local()
        self.errors: Counter[str] = Counter()

    def before(self, method: str, path: str) -> Answer | None:
        """Nothing is carried out; or it is, but only when nobody waits any more."""
        self._once.failed = False
        if self._random.random() > self._rate / 2:
            return None
        kind = self._random.choices(("error", "cut short", "dropped", "slow", "late"), (6, 2, 1, 1, 1))[0]
        self._note(kind)
        if kind == "error":
            return self._random.choice(ERRORS), {"detail": "chaos"}
        if kind == "cut short":
            return 200, Truncated(b'{"created": ')
        if kind == "dropped":
            return DROPPED
        time.sleep(self._late)
        return (504, None) if kind == "slow" else None

    def after(self, method: str, path: str) -> Answer | None:
        """It is carried out, but the answer is lost."""
        if self._once.failed or self._random.random() > self._rate / 2:
            return None
        kind = self._random.choices(("lost", "lost half"), (3, 1))[0]
        self._note(kind)
        return (502, None) if kind == "lost" else (201, Truncated(b'{"created": '))

    def repeat(self, method: str, path: str, carry_out: Callable[[], Any]) -> None:
        """A proxy may repeat a write, at once or late."""
        if method != "POST" or not path.endswith("/import/predictions") or self._random.random() > self._rate:
            return
        if late := self._random.choice((0, 0, 5, 20)):
            self._note("twice, late")
            timer = threading.Timer(late, carry_out)
            timer.daemon = True
            timer.start()
        else:
            self._note("twice")
            carry_out()

    def _note(self, kind: str) -> None:
        self._once.failed = True
        self.errors[kind] += 1


class StandIn(LabelStudio):
    """The stand-in of Label Studio, with faults."""

    token = PAT

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.fault, self.after, self._repeat = faults.before, faults.after, faults.repeat

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        answer = super().answer
        self._repeat(method, path, lambda: answer(method, path, query, body))
        return answer(method, path, query, body)

    def connect(self, web: httpx.Client, version: str) -> None:
        self._web, self.version = web, version

    def new_project(self) -> int:
        project = len(self.configs) + 1
        self.add_project(project, CONFIG)
        return project

    def import_tasks(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        return self.add_tasks(project, data)

    def announce(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        numbers = self.add_tasks(project, data)
        body = self.webhook(project, numbers)
        patiently(lambda: self._web.post("/webhook", json=body).raise_for_status(), httpx.HTTPError)
        return numbers

    def ask(self, project: int, numbers: list[int]) -> None:
        self.retrieve(self._web, project, numbers)


@contextmanager
def stand_in(faults: Faults) -> Iterator[StandIn]:
    """A stand-in, until the end."""
    studio = StandIn(faults)
    try:
        yield studio
    finally:
        studio.stop()


def patiently(ask: Callable[[], T], *failures: type[Exception], seconds: float = 600) -> T:
    """What `ask` answers, asked again after failures."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except failures:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)

"""Faults in any order: the protocol's model in all its states, and the real classes on a real Redis."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from backend.delivery.claims import Target
from backend.delivery.desk import Desk
from backend.errors import TemporaryError
from backend.worker.studio_jobs import LookAgain
from tests.backend.delivery.protocol_model import search
from tests.support.deliveries import deliver, expire_claims

MOST_FAULTS = 6


def test_no_state_of_the_model_loses_a_prediction_and_a_last_look_leaves_one():
    """Two workers, three expiries of a claim at work, three deaths, a request that is carried out twice."""
    states = search(expiries=3, deaths=3, doubles=1)
    over = [state for state in states if state.is_over]
    assert len(states) > 300_000
    assert all(state.stored for state in over), "lost"
    assert all(state.stored for state in states if not state.due), "struck off what is due, and not stored"
    assert any(len(state.stored) > 1 for state in over), "the last look has something to do"


class DiedError(BaseException):
    """A worker was killed."""


class MemoryStudio:
    """Label Studio with one task; `happen` is called before each step, and may raise."""

    url = "http://studio"

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []
        self.underway: list[dict[str, Any]] = []
        self.happen: Callable[[str], str | None] = lambda step: None
        self._number = 0

    def predicted(self, project: str, ids: list[int], versions: str) -> set[int]:
        self.happen("list")
        return set(ids) if self.stored else set()

    def predictions(self, task: str) -> list[dict[str, Any]]:
        self.happen("list")
        return list(self.stored)

    def tasks(self, project: str, ids: list[int]) -> list[dict[str, Any]]:
        return [{"id": number, "total_predictions": len(self.stored)} for number in ids]

    def post_prediction(self, project: str, task: str, prediction: dict[str, Any]) -> None:
        match self.happen("send"):
            case "late":
                self.underway.append(prediction)
                raise TemporaryError("no answer")
            case "twice":
                self.store(prediction)
        self.store(prediction)
        self.happen("answer")

    def delete_prediction(self, number: int) -> None:
        self.happen("delete")
        self.stored = [entry for entry in self.stored if entry["id"] != number]

    def store(self, prediction: dict[str, Any]) -> None:
        self._number += 1
        self.stored.append({**prediction, "id": self._number})


@pytest.fixture
def memory() -> MemoryStudio:
    return MemoryStudio()


@pytest.fixture
def settings(studio_settings):
    return studio_settings


@given(data=st.data())
@effort(max_examples=300, suppress_health_check=list(HealthCheck))
def test_whatever_happens_at_any_step_one_prediction_stays(data, memory, shared, settings, connection):
    connection.flushdb()
    memory.__init__()
    target = Target("7", "1")
    prediction = {"model_version": settings.model_version, "score": 0.5, "result": []}
    faults, due = MOST_FAULTS, True

    def post() -> None:
        """As a job that posts: what is delivered is due no more."""
        nonlocal due
        if due and not deliver(Desk.over(shared, memory, settings), target, prediction):
            due = False

    def happen(step: str) -> str | None:
        """What hypothesis says that happens right before a step: another worker may do the whole of its work."""
        nonlocal faults
        if not faults:
            return None
        kinds = ["nothing", "expire", "die", "other", *(["late", "twice", "sent and died"] if step == "send" else [])]
        kind = data.draw(st.sampled_from(kinds))
        faults -= kind != "nothing"
        match kind:
            case "expire":
                expire_claims(connection)
            case "die":
                raise DiedError
            case "sent and died":
                memory.underway.append(prediction)
                raise DiedError
            case "other":
                tried(post)
            case "late" | "twice":
                return kind
        return None

    def tried(run: Callable[[], None]) -> bool:
        try:
            run()
        except (DiedError, TemporaryError):
            return False
        return True

    memory.happen = happen
    for _ in range(3):  # a worker, and those that take its job over
        tried(post)
    memory.happen = lambda step: None
    expire_claims(connection)
    post()
    assert memory.stored
    assert not due
    for late in memory.underway:
        memory.store(late)
    expire_claims(connection)
    LookAgain(Desk.over(shared, memory, settings)).run()
    assert len(memory.stored) == 1

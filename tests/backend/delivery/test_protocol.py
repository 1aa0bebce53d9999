"""Faults in any order: the protocol's model in all its states, and the real classes on a real Redis."""

import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

import pytest
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from backend.delivery.claims import Target
from backend.delivery.desk import Desk
from backend.errors import TemporaryError
from backend.worker.studio_jobs import LookAgain
from tests.backend.delivery.protocol_model import search
from tests.support.deliveries import deliver, expire_claims

WORKERS = 2  # at a time
PATIENCE = 20  # seconds
TARGET = Target("7", "1")
ENDED = "ended"
ORDERS = ("on", "die", "late", "twice", "sent and died")  # the last three are about a request that stores


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


class Store:
    """What Label Studio holds of the one task, and writes that it has yet to carry out."""

    def __init__(self) -> None:
        self.predictions: list[dict[str, Any]] = []
        self.underway: list[dict[str, Any]] = []
        self._number = 0

    def add(self, prediction: dict[str, Any]) -> None:
        self._number += 1
        self.predictions.append({**prediction, "id": self._number})


class GatedStudio:
    """Label Studio as one worker asks it. gate: called before each step, and says how it goes on; it may raise."""

    url = "http://studio"

    def __init__(self, store: Store, gate: Callable[[str], str] = lambda step: "on") -> None:
        self._store, self._gate = store, gate

    def predicted(self, project: str, ids: list[int], versions: str) -> set[int]:
        self._gate("list")
        return set(ids) if self._store.predictions else set()

    def predictions(self, task: str) -> list[dict[str, Any]]:
        self._gate("list")
        return list(self._store.predictions)

    def tasks(self, project: str, ids: list[int]) -> list[dict[str, Any]]:
        return [{"id": number, "total_predictions": len(self._store.predictions)} for number in ids]

    def post_prediction(self, project: str, task: str, prediction: dict[str, Any]) -> None:
        order = self._gate("send")
        if order in ("late", "sent and died"):
            self._store.underway.append(prediction)
            raise TemporaryError("no answer") if order == "late" else DiedError
        self._store.add(prediction)
        if order == "twice":
            self._store.add(prediction)
        self._gate("answer")

    def delete_prediction(self, number: int) -> None:
        self._gate("delete")
        self._store.predictions = [entry for entry in self._store.predictions if entry["id"] != number]


class Worker:
    """Delivers in a thread that stops before each step until it is told how to go on."""

    def __init__(self, work: Callable[[Callable[[str], str]], None]) -> None:
        self._orders: Queue[str] = Queue()
        self._places: Queue[str] = Queue()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()
        self.place = self._places.get(timeout=PATIENCE)

    def go(self, order: str) -> None:
        """To the next step, or to the end."""
        self._orders.put(order)
        self.place = self._places.get(timeout=PATIENCE)

    def _run(self, work: Callable[[Callable[[str], str]], None]) -> None:
        try:
            work(self._gate)
        except (DiedError, TemporaryError):
            pass
        finally:
            self._places.put(ENDED)

    def _gate(self, step: str) -> str:
        self._places.put(step)
        order = self._orders.get()
        if order == "die":
            raise DiedError
        return order if step == "send" else "on"


class Delivering(RuleBasedStateMachine):
    """Workers that deliver one prediction, as jobs that are taken over, and all that may come between."""

    def __init__(self, connection, shared, settings):
        super().__init__()
        connection.flushdb()
        self._connection = connection
        self._over = lambda studio: Desk.over(shared, studio, settings)
        self._prediction = {"model_version": settings.model_version, "score": 0.5, "result": []}
        self._store, self._workers, self._due = Store(), [], True

    def _deliver(self, gate):
        """As a job that writes: what is delivered is due no more."""
        if not deliver(self._over(GatedStudio(self._store, gate)), TARGET, self._prediction):
            self._due = False

    @precondition(lambda self: self._due and len(self._workers) < WORKERS)
    @rule()
    def begin(self):
        self._workers.append(Worker(self._deliver))
        self._bury()

    @precondition(lambda self: self._workers)
    @rule(which=st.integers(0, WORKERS - 1), order=st.sampled_from(ORDERS))
    def go_on(self, which, order):
        self._workers[which % len(self._workers)].go(order)
        self._bury()

    @rule()
    def let_claims_expire(self):
        expire_claims(self._connection)

    @precondition(lambda self: self._store.underway)
    @rule()
    def carry_out_what_is_late(self):
        self._store.add(self._store.underway.pop())

    def _bury(self):
        self._workers = [worker for worker in self._workers if worker.place != ENDED]

    def teardown(self):
        """Nothing happens any more: the job is done, late requests are carried out, and there is a last look."""
        for worker in self._workers:
            while worker.place != ENDED:
                worker.go("on")
        while self._due:
            expire_claims(self._connection)
            self._deliver(lambda step: "on")
        assert self._store.predictions, "lost"
        for late in self._store.underway:
            self._store.add(late)
        expire_claims(self._connection)
        self._connection.zadd(self._connection.keys("refam:*:claimed")[0], {TARGET.key: 0})
        LookAgain(self._over(GatedStudio(self._store))).run()
        assert len(self._store.predictions) == 1


@pytest.fixture
def settings(studio_settings):
    return studio_settings


def test_whatever_happens_at_any_step_one_prediction_stays(connection, shared, settings):
    run_state_machine_as_test(
        lambda: Delivering(connection, shared, settings),
        settings=effort(max_examples=100, stateful_step_count=30, deadline=None),
    )

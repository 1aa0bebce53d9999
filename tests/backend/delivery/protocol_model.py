"""The delivery of one task's prediction as a small model, all of whose states can be searched.

Two jobs deliver the same prediction, each run by a worker of its own; a worker that dies is followed by another one,
which runs the job anew. Steps are those of backend.delivery.desk: claim, list, send, note, list again, delete surplus,
strike the task off what is due. Faults: a claim expires while its owner is at it, a worker dies between any two steps,
a request is carried out late (its sender has died, or given it up) or twice.
"""

from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

__all__ = ["State", "Step", "Worker", "search"]


class Step(IntEnum):
    """What a worker does next."""

    CLAIM, LIST, SEND, AWAIT, NOTE, RELIST, DELETE, STRIKE, DONE = range(9)


class Worker(NamedTuple):
    """What one worker is about to do, and what it knows. seen: numbers of the predictions that it listed last."""

    step: Step = Step.CLAIM
    seen: tuple[int, ...] = ()


class State(NamedTuple):
    """stored: numbers of the predictions that Label Studio holds, in their order. next: the number of the next one.
    owner: of the claim, or -1; told: another one has told the owner that it may have delivered, too.
    underway: requests that nobody waits for any more, and that will be carried out.
    """

    workers: tuple[Worker, Worker] = (Worker(), Worker())
    stored: tuple[int, ...] = ()
    next: int = 1
    owner: int = -1
    told: bool = False
    due: bool = True
    underway: int = 0
    expiries: int = 0
    deaths: int = 0
    doubles: int = 0

    def store(self, times: int = 1) -> "State":
        """After a request was carried out."""
        new = tuple(range(self.next, self.next + times))
        return self._replace(stored=self.stored + new, next=self.next + times)

    def with_worker(self, number: int, worker: Worker) -> "State":
        """After a step of a worker."""
        workers = tuple(worker if each == number else old for each, old in enumerate(self.workers))
        return self._replace(workers=(workers[0], workers[1]))

    @property
    def is_over(self) -> bool:
        """Whether nothing happens any more."""
        return all(worker.step == Step.DONE for worker in self.workers) and not self.underway


def search(*, expiries: int, deaths: int, doubles: int) -> set[State]:
    """All states that can be reached, with at most so many of each fault."""
    start = State(expiries=expiries, deaths=deaths, doubles=doubles)
    found, left = {start}, deque([start])
    while left:
        for state in _successors(left.popleft()):
            if state not in found:
                found.add(state)
                left.append(state)
    return found


def _successors(state: State) -> Iterator[State]:
    if state.underway:
        yield state.store()._replace(underway=state.underway - 1)
    if state.owner >= 0:
        busy = state.workers[state.owner].step not in (Step.CLAIM, Step.DONE)
        if not busy or state.expiries:
            yield state._replace(owner=-1, told=False, expiries=state.expiries - busy)
    for number, worker in enumerate(state.workers):
        yield from _steps(state, number, worker)
        if state.deaths and worker.step not in (Step.CLAIM, Step.DONE):
            lost = state._replace(deaths=state.deaths - 1, underway=state.underway + (worker.step == Step.AWAIT))
            yield lost.with_worker(number, Worker())


def _steps(state: State, number: int, worker: Worker) -> Iterator[State]:
    """What a worker may do next."""

    def then(step: Step, after: State = state, seen: tuple[int, ...] = worker.seen) -> State:
        return after.with_worker(number, Worker(step, seen))

    match worker.step:
        case Step.CLAIM if not state.due:
            yield then(Step.DONE)
        case Step.CLAIM if state.owner < 0:
            yield then(Step.LIST, state._replace(owner=number, told=False))
        case Step.CLAIM if state.stored:  # claimed by somebody else, and stored already
            yield then(Step.DELETE, seen=state.stored)
        case Step.LIST if state.stored:
            own = state.owner == number
            yield then(Step.DELETE, state._replace(owner=-1, told=False) if own else state, state.stored)
        case Step.LIST:
            yield then(Step.SEND)
        case Step.SEND:
            yield then(Step.AWAIT)
        case Step.AWAIT:
            yield from _answers(state, number)
        case Step.NOTE:
            yield _noted(state, number)
        case Step.RELIST:
            yield then(Step.DELETE, seen=state.stored)
        case Step.DELETE:
            stored = tuple(each for each in state.stored if each not in worker.seen[1:])
            yield then(Step.STRIKE, state._replace(stored=stored))
        case Step.STRIKE:
            yield then(Step.DONE, state._replace(due=False))


def _answers(state: State, number: int) -> Iterator[State]:
    """What becomes of a request: it is carried out, or twice; or no answer comes. Then it may be carried out yet, and
    the job is tried anew."""
    yield state.store().with_worker(number, Worker(Step.NOTE))
    if state.doubles:
        yield state.store(2)._replace(doubles=state.doubles - 1).with_worker(number, Worker(Step.NOTE))
    if state.expiries:
        late = state._replace(underway=state.underway + 1, expiries=state.expiries - 1)
        yield late.with_worker(number, Worker())


def _noted(state: State, number: int) -> State:
    """The claim is prolonged; if it is somebody else's by now, they are told."""
    own = state.owner == number
    alone = own and not state.told
    owner = number if state.owner < 0 else state.owner
    noted = state._replace(owner=owner, told=not own and state.owner >= 0)
    return noted.with_worker(number, Worker(Step.STRIKE if alone else Step.RELIST))

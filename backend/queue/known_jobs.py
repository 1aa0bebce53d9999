"""RQ's job, held to this project's own.

A job in Redis names what to call, and RQ calls it, whatever it is: JSON in place of pickle does not keep anyone who
reaches Redis from running `os.system` in a worker. This does: a name is looked up in a table, and nothing is imported.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.defaults import DEFAULT_RESULT_TTL
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.results import Result
from rq.utils import now, utcformat

from backend.queue.job_names import JobName, name_of

__all__ = ["BatchHandler", "Handler", "KnownJob", "PutOff", "Rest"]


@dataclass(frozen=True)
class Rest:
    """What is left of a job once the device is free. `run` is called once, perhaps in another thread.

    run: returns the job's answer, and adds to the pipeline what is to be noted in the same step as the job's end.
    """

    run: Callable[[Pipeline], Any]


@dataclass(frozen=True)
class PutOff:
    """What a job answers that is to be run in so many seconds, which counts as no try of it."""

    seconds: float


class Handler(Protocol):
    """What a worker does for the jobs of one name."""

    def run(self, *args: Any) -> Any:
        """Do a job, or the part of it that needs the device. Returns its answer, its Rest, or PutOff; arguments and
        answer are what JSON can hold."""

    def on_failure(self, job: Job, kind: type[BaseException], error: BaseException) -> None:
        """Called after each exception of `run`, and for a job whose worker died."""


@runtime_checkable
class BatchHandler(Handler, Protocol):
    """One that does several jobs at a time for less than one after another."""

    def run_all(self, arguments: Sequence[Sequence[Any]]) -> Sequence[BaseException | None]:
        """Do jobs, which have no answer, and return what each raises."""


class KnownJob(Job):
    """A job that runs nothing but what `handlers` has for its name, and calls nobody's webhook. No other depends on it,
    and it is not repeated."""

    handlers: ClassVar[Mapping[JobName, Handler]] = {}  # processes that only queue jobs have none

    @classmethod
    def handled_by(cls, handlers: Mapping[JobName, Handler]) -> "type[KnownJob]":
        """This class with handlers. RQ is given a class, and makes the jobs itself."""
        return type(cls.__name__, (cls,), {"handlers": handlers})

    @property
    def func(self) -> Callable[..., Any]:
        """What to run. Raises ValueError if the job is none of ours."""
        handler = self._handler
        if handler is None or self.instance:
            raise ValueError("the job asks for a function that is not this backend's")
        return handler.run

    @property
    def failure_callback(self) -> Callable[..., None] | None:
        """What to call when it fails, whatever is stored; nothing if the job is none of ours."""
        return self._tell_handler if self._handler else None

    @property
    def success_callback(self) -> None:
        """None: this backend's jobs have no such callback."""

    @property
    def stopped_callback(self) -> None:
        """None: this backend's jobs have no such callback."""

    @property
    def batch_handler(self) -> BatchHandler | None:
        """What does it together with others of its name, if anything."""
        return self._handler if isinstance(self._handler, BatchHandler) else None

    def is_held_by(self, worker: str, connection: Redis) -> bool:
        """Whether a worker, by name, is still the one that runs it.

        connection: may be a pipeline that watches the job's key, and carries this out at once.
        """
        status, name = cast(list[bytes], connection.hmget(self.key, ["status", "worker_name"]))
        return (status, name) == (JobStatus.STARTED.value.encode(), worker.encode())

    def note_success(self, answer: Any, worker: str, execution: Execution, pipe: Pipeline) -> None:
        """Note its answer, and that it has ended; one with a `result_ttl` of 0 is forgotten. RQ's own way reads the
        job's dependents and registries before, and stores all of it anew."""
        self._status = JobStatus.FINISHED
        if self.result_ttl == 0:
            pipe.delete(self.key, self.execution_registry.key, Result.get_key(self.id))  # type: ignore[no-untyped-call]
            return
        ttl = self.get_result_ttl(DEFAULT_RESULT_TTL)
        pipe.hset(self.key, mapping={"status": self._status, "ended_at": utcformat(now())})
        pipe.expire(self.key, ttl)
        Result.create(
            self, Result.Type.SUCCESSFUL, ttl, answer, worker_name=worker, pipeline=pipe, execution_id=execution.id
        )
        self.finished_job_registry.add(self, ttl, pipe)

    @property
    def seconds_put_off(self) -> float:
        """Since it was put off for the first time."""
        since = self.meta.get("put_off")
        return time.time() - since if since else 0

    def note_put_off(self, seconds: float, pipe: Pipeline) -> None:
        """Note that it is to be run again in so many seconds."""
        self._status = JobStatus.SCHEDULED
        self.meta.setdefault("put_off", time.time())
        pipe.hset(self.key, mapping={"status": self._status, "meta": self.serializer.dumps(self.meta)})
        waiting = Queue(self.origin, connection=self.connection).scheduled_job_registry
        waiting.schedule(self, now() + timedelta(seconds=seconds), pipeline=pipe)

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: this backend's jobs have no webhooks."""

    def _tell_handler(
        self,
        job: Job,
        connection: Redis,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        """What RQ calls, with all that it gives."""
        if self._handler:
            self._handler.on_failure(job, kind, error)

    @property
    def _handler(self) -> Handler | None:
        name = name_of(self.func_name)
        return self.handlers.get(name) if name else None

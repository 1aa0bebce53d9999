"""RQ's worker, bent to a process that does not fork, and whose device waits for nothing but its next image.

Three threads do jobs. The main one predicts. While it is at the next image, a second one does the rest of the last
prediction, which needs no device, and a third one talks to Label Studio: see backend.worker.clerk.
"""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, cast

from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty
from rq.utils import now
from rq.worker import SimpleWorker, WorkerStatus
from rq.worker_registration import clean_worker_registry

from backend.json_bytes import JSONBytes
from backend.queue.connection import connect
from backend.queue.job_names import JobName
from backend.queue.keyspace import Keyspace
from backend.queue.known_jobs import Handler, KnownJob, PutOff, Rest
from backend.queue.priorities import Priority
from backend.queue.takeover import TakingQueue
from backend.settings import Settings
from backend.timings import Timings
from backend.worker.clerk import Clerk
from backend.worker.heartbeat import Heartbeat
from refam.errors import DeviceBrokenError

__all__ = ["RefAMWorker"]

logger = logging.getLogger(__name__)

TOGETHER = 50  # jobs that are done together, if they can be
POLL = 0.02  # seconds between two looks for more
GATHER = 0.2  # seconds in which they are gathered, while more are to come
# Jobs that wait for the clerk; with more, the main thread helps: masks shall not pile up in Redis.
BEHIND = {Priority.WRITE: 4 * TOGETHER, Priority.STUDIO: 20, Priority.HINT: 20}


class TimeLimit(UnixSignalDeathPenalty):
    """RQ's, where a signal reaches the job. Jobs of other threads have the heartbeat's limit alone."""

    def setup_death_penalty(self) -> None:
        """Begin."""
        if threading.current_thread() is threading.main_thread():
            super().setup_death_penalty()  # type: ignore[no-untyped-call]

    def cancel_death_penalty(self) -> None:
        """End."""
        if threading.current_thread() is threading.main_thread():
            super().cancel_death_penalty()  # type: ignore[no-untyped-call]


class RefAMWorker(SimpleWorker):
    """RQ's worker that does not fork, since a forked child of a process that has run torch hangs.

    What RQ does in children and at intervals of minutes, backend.worker.heartbeat does in a thread.
    """

    death_penalty_class = TimeLimit

    def __init__(
        self,
        keyspace: Keyspace,
        handlers: Mapping[JobName, Handler],
        settings: Settings,
        timings: Timings,
        upkeep: Callable[[], None] = lambda: None,
    ) -> None:
        """upkeep: what is to be done at each heartbeat, in a thread of its own, with a connection of its own."""
        job_class = KnownJob.handled_by(handlers)
        self._keyspace = keyspace
        self._ended = threading.Event()
        super().__init__(
            [keyspace.queue(priority) for priority in Priority],
            name=f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}",
            connection=keyspace.connection,
            job_class=job_class,
            queue_class=TakingQueue.taking(keyspace.key("taken"), timings.life, self._ended),
            serializer=JSONBytes,
            worker_ttl=timings.life,
        )
        self._settings = settings
        self._timings = timings
        self._device_is_broken = False
        own = replace(keyspace, connection=connect(settings))
        self._heartbeat = Heartbeat(self, job_class, own, timings, upkeep)
        self._clerk: Clerk | None = None
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finisher")
        self._rest: Callable[[], None] | None = None
        self._finishing: Future[None] | None = None

    # --- a job's way through this worker ---

    def run(self, *, burst: bool) -> bool:
        """Do jobs until told to stop; with `burst`, until the queues are empty, and all in the main thread. Returns
        whether it was meant to stop, and nothing is broken."""
        if not burst:
            aside = [self._line(priority) for priority in BEHIND]
            perform = partial(self._perform_with_others, gather=GATHER)
            self._clerk = Clerk(self, perform, [copy(queue) for queue in aside], self._ended)
            for queue, behind in zip(aside, BEHIND.values(), strict=True):
                queue.left = behind
        self.work(burst=burst, logging_level=self._settings.log_level)
        if self._device_is_broken:
            logger.error("The device is broken; a new process is needed.")
            return False
        if self._clerk and self._clerk.failed:
            return False
        return burst or self._shutdown_requested_date is not None

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """The next job and its queue. The last one's rest is done first only where none waits, since the two threads
        would fight for the interpreter while the device idles. It may queue more: no burst ends before."""
        found = super().dequeue_job_and_maintain_ttl(None)
        if found is None:
            self._begin_rest()
            if timeout is None:
                self._await_finished()
            found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        return found

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a job in the main thread, while the last one's rest is done."""
        if cast(KnownJob, job).batch_handler:
            self._begin_rest()
            self._perform_with_others(job, queue)
        else:
            execution = self.prepare_execution(job)
            self._begin_rest()
            self.perform_job(job, queue, execution)

    def prepare_execution(self, job: Job) -> Execution:
        """From here on the job is noted as running, no longer as taken."""
        with self.connection.pipeline() as pipe:
            execution = Execution.create(job, self._timings.life, pipe, worker_name=self.name)
            self.executions[execution.id] = execution
            self.set_state(WorkerStatus.BUSY, pipe)
            job.prepare_for_execution(self.name, pipe)
            pipe.persist(job.key)
            pipe.zrem(self._keyspace.key("taken"), job.id)
            pipe.execute()
        return execution

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run a job to its end, or put its rest off. Returns whether it has not failed so far."""
        try:
            seconds = job.timeout or Queue.DEFAULT_TIMEOUT
            with self.death_penalty_class(seconds, JobTimeoutException, job_id=job.id):  # type: ignore[no-untyped-call]
                answer = job.perform()
        except BaseException:  # noqa: BLE001  # a job that is cut short by a signal is tried again, too
            self._finalize_failure(job, queue, execution, sys.exc_info())
            return False
        if isinstance(answer, PutOff):
            self._put_off(cast(KnownJob, job), execution, answer.seconds)
        elif isinstance(answer, Rest):
            self._await_finished()
            self._rest = partial(self._finish, job, queue, execution, answer)
        else:
            self._finish(job, queue, execution, Rest(lambda pipe: answer))
        return True

    def _perform_with_others(self, job: Job, queue: Queue, gather: float = 0) -> None:
        """Run a job to its end, with others that wait in its queue if its handler does several at a time. gather:
        seconds that more are waited for while images wait, whose masks are to be written soon."""
        handler = cast(KnownJob, job).batch_handler
        if handler is None:
            self.perform_job(job, queue, self.prepare_execution(job))
            return
        jobs = list(self._gathered(job, queue, gather))
        executions = [self.prepare_execution(each) for each in jobs]
        try:
            errors = handler.run_all([each.args for each in jobs])
        except BaseException as failure:  # noqa: BLE001  # as in perform_job
            errors = [failure] * len(jobs)
        for each, execution, error in zip(jobs, executions, errors, strict=True):
            if error is None:
                self._finish(each, queue, execution, Rest(lambda pipe: None))
            else:
                self._finalize_failure(each, queue, execution, (type(error), error, error.__traceback__))

    def _gathered(self, job: Job, queue: Queue, seconds: float) -> Iterator[Job]:
        """The job and further ones of its queue, TOGETHER at most."""
        yield job
        deadline = time.monotonic() + seconds
        for _ in range(TOGETHER - 1):
            while (found := self._next(queue)) is None:
                if time.monotonic() > deadline or not self._line(Priority.BATCH).count:
                    return
                self._ended.wait(POLL)
            yield found

    def _next(self, queue: Queue) -> Job | None:
        """A queue's next job that is taken at once, if one waits."""
        with suppress(StopRequested):
            found = self.queue_class.dequeue_any([queue], None, self.connection, self.job_class, self.serializer)
            return found[0] if found else None
        return None

    def _line(self, priority: Priority) -> TakingQueue:
        name = self._keyspace.queue(priority)
        return next(cast(TakingQueue, queue) for queue in self.queues if queue.name == name)

    def _finish(self, job: Job, queue: Queue, execution: Execution, rest: Rest) -> None:
        """Do a job's rest, and note in one step its answer and all that follows from it, unless somebody has taken the
        job over meanwhile, since this process was held up: then it is theirs alone to end."""
        try:
            with self._ending(cast(KnownJob, job), execution) as pipe:
                cast(KnownJob, job).note_success(rest.run(pipe), self.name, execution, pipe)
                self.increment_successful_job_count(pipe)
        except WatchError:
            self._drop(job, execution)
        except BaseException:  # noqa: BLE001  # as in perform_job
            self._finalize_failure(job, queue, execution, sys.exc_info())
        else:
            self.log.info("%s: done in %.2f s (%s)", queue.name, (now() - execution.created_at).total_seconds(), job.id)

    def _put_off(self, job: KnownJob, execution: Execution, seconds: float) -> None:
        """Have a job run later, unless somebody has taken it over."""
        try:
            with self._ending(job, execution) as pipe:
                job.note_put_off(seconds, pipe)
        except WatchError:
            self._drop(job, execution)
        else:
            self.log.info("put off for %.0f s (%s)", seconds, job.id)

    def _finalize_failure(self, job: Job, queue: Queue, execution: Execution, exc_info: Any) -> None:
        """RQ's, unless somebody has taken the job over."""
        if cast(KnownJob, job).is_held_by(self.name, self.connection):
            super()._finalize_failure(job, queue, execution, exc_info)
        else:
            self._drop(job, execution)

    @contextmanager
    def _ending(self, job: KnownJob, execution: Execution) -> Iterator[Pipeline]:
        """A pipeline whose commands end a job's execution in one step. Raises WatchError if this worker does not hold
        the job any more."""
        with self.connection.pipeline() as pipe:
            pipe.watch(job.key)  # type: ignore[no-untyped-call]
            if not job.is_held_by(self.name, pipe):
                raise WatchError
            pipe.multi()
            yield pipe
            self.cleanup_execution(job, pipe, execution)
            pipe.execute()

    def _drop(self, job: Job, execution: Execution) -> None:
        self.executions.pop(execution.id, None)
        logger.warning("Job %s was taken over while this worker was held up; its answer is dropped.", job.id)

    def _begin_rest(self) -> None:
        """Have the rest that was put off done by the other thread."""
        rest, self._rest = self._rest, None
        if rest:
            self._finishing = self._finisher.submit(rest)

    def _await_finished(self) -> None:
        """Until the rest that was begun is done. Raises what it raised beside a job's own failure."""
        finishing, self._finishing = self._finishing, None
        if finishing:
            finishing.result()

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """A worker whose device is broken ends once the job's next try is noted."""
        super().handle_exception(job, *exc_info)
        if isinstance(exc_info[1], DeviceBrokenError):
            self._device_is_broken = True
            self._ended.set()

    # --- what Redis holds of this worker ---

    def serialize(self) -> dict[str, Any]:
        """What Redis holds of this worker; `Fleet.workers` reads it."""
        refam = self._settings.refam
        own = {
            "name": self.name,
            "studio": self._keyspace.studio,
            "label_studio": self._keyspace.address,
            "state": WorkerStatus.BUSY if self.executions else WorkerStatus.IDLE,
            "model_version": self._settings.model_version,
            "model": refam.model,
            "device": refam.device,
        }
        return {**super().serialize(), **own}

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """The state goes to Redis along with something else: with a job, or with the next heartbeat."""
        self._state = state
        if pipeline is not None:
            super().set_state(state, pipeline)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """A worker without heartbeat is forgotten after the same time. RQ's loop wants one at each step, alone: those
        are the thread's affair."""
        if pipeline is not None:
            super().heartbeat(self._timings.life, pipeline)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """A job is abandoned when the heartbeat stops, however long it may run."""
        return self._timings.life

    def clean_registries(self) -> None:
        """Forget what has expired. RQ's own would also take over jobs, and lose some: see backend.queue.takeover."""
        for queue in self.queues:
            queue.finished_job_registry.cleanup()
            queue.failed_job_registry.cleanup()
            clean_worker_registry(queue)
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def subscribe(self) -> None:
        """RQ's remote commands are of no use to a worker that does not fork."""

    def check_for_suspension(self, burst: bool) -> None:
        """Nor does anyone suspend it: that would be asked for before each job."""

    # --- its life ---

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Register, and live."""
        super().bootstrap(*args, **kwargs)
        self._heartbeat.start()
        if self._clerk:
            self._clerk.start()

    def _shutdown(self) -> None:
        """The first signal: what is at work is done to its end. RQ's own raises an exception wherever it is."""
        self._ended.set()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """The second signal: what is at work is left to others. RQ's own lets the first second's pass."""
        try:
            super().request_force_stop(signum, frame)
        except SystemExit:
            self._clerk = self._rest = self._finishing = None
            raise

    def teardown(self) -> None:
        """Stop living before the death is registered."""
        self._ended.set()
        try:
            if self._clerk:
                self._clerk.join()
            self._begin_rest()
            self._await_finished()
        finally:
            self._heartbeat.stop()
            super().teardown()  # type: ignore[no-untyped-call]

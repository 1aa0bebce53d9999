"""The thread beside a worker's jobs: it says that the worker lives, and ends it where it hangs.

The heartbeat is what others judge the worker by. The watchdog is faulthandler's, a thread that needs no interpreter
lock: unless it is fed, it writes the stacks to the log and ends the process. So a job that hangs with the lock held
ends its worker, and so does one that outstays its timeout, because it is fed no more. Others have taken over by then.
"""

import faulthandler
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from redis.exceptions import RedisError
from rq.executions import Execution
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import BaseWorker
from rq.worker_registration import register

from backend.queue.keyspace import Keyspace
from backend.queue.known_jobs import KnownJob
from backend.queue.line import Line
from backend.queue.takeover import Sweeper
from backend.timings import Timings

__all__ = ["Heartbeat"]

logger = logging.getLogger(__name__)

STDERR = 2


class Heartbeat:
    """A worker's heartbeat, watchdog and sweeper.

    keyspace: over a connection that is not the worker's own, which waits for a Redis that is gone; this one must not.
    upkeep: what else is to be done now and then.
    """

    def __init__(
        self,
        worker: BaseWorker,
        job_class: type[KnownJob],
        keyspace: Keyspace,
        timings: Timings,
        upkeep: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._upkeep = upkeep
        self._connection = keyspace.connection
        self._timings = timings
        lines = cast(list[Line], worker.queues)
        self._sweeper = Sweeper(keyspace.connection, lines, keyspace.key("taken"), job_class)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and leave the worker unwatched."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._connection.close()

    def _run(self) -> None:
        overdue = False
        while not overdue:
            faulthandler.dump_traceback_later(self._timings.life, exit=True, file=STDERR)
            try:
                executions = list(self._worker.executions.values())
                self._beat(executions)
                self._sweeper.sweep()
                self._upkeep()
                overdue = any(map(self._give_up_if_overdue, executions))
            except RedisError as error:
                logger.warning("No heartbeat: %s: %s", type(error).__name__, error)
            if self._stopped.wait(self._timings.heartbeat):
                return

    def _beat(self, executions: list[Execution]) -> None:
        with self._connection.pipeline() as pipe:
            register(self._worker, pipe)  # anew each time: while Redis is gone, the entry expires
            entry: dict[Any, Any] = self._worker.serialize()
            pipe.hset(self._worker.key, mapping=entry)
            self._worker.heartbeat(pipeline=pipe)
            for execution in executions:
                execution.heartbeat(execution.job.started_job_registry, self._timings.life, pipe)
            pipe.execute()

    def _give_up_if_overdue(self, execution: Execution) -> bool:
        """Whether a job has outstayed its timeout, which it only can where no signal reaches it."""
        job = execution.job
        if now() - execution.created_at < timedelta(seconds=(job.timeout or 0) + self._timings.overdue):
            return False
        logger.error("Job %s hangs; this worker ends.", job.id)
        self._sweeper.give_up(job, JobTimeoutException())
        return True

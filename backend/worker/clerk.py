"""The thread beside the device that talks to Label Studio, so that no image waits for an answer from there."""

import logging
import threading
from collections.abc import Callable, Sequence

from rq import Queue
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.worker import BaseWorker

__all__ = ["Clerk"]

logger = logging.getLogger(__name__)

LOOK = 60  # seconds that it waits for a job at a time


class Clerk:
    """Has a worker do the jobs of some queues, one after another, in a thread of their own. The first two take turns:
    what is read feeds the device, and what is written makes room.

    perform: how it does one.
    queues: at least two, the more urgent one first.
    ended: once it is set, no further job is begun. What goes wrong beside a job, such as a Redis that is gone for good,
        sets it, and `failed`.
    """

    def __init__(
        self,
        worker: BaseWorker,
        perform: Callable[[Job, Queue], None],
        queues: Sequence[Queue],
        ended: threading.Event,
    ) -> None:
        self._worker = worker
        self._perform = perform
        self._queues = list(queues)
        self._ended = ended
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)
        self.failed = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Until the job at hand is done."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._work_once()
        except StopRequested:
            pass
        except Exception:
            logger.exception("The thread that talks to Label Studio failed; this worker ends.")
            self.failed = True
            self._ended.set()

    def _work_once(self) -> None:
        worker = self._worker
        try:
            found = worker.queue_class.dequeue_any(
                self._queues, LOOK, worker.connection, job_class=worker.job_class, serializer=worker.serializer
            )
        except DequeueTimeout:
            return
        if found:
            job, queue = found
            worker.log.info("%s: %s (%s)", queue.name, job.description, job.id)
            self._perform(job, queue)
            if queue is self._queues[0]:
                self._queues[:2] = self._queues[1::-1]

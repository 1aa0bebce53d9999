"""The warm worker: loads the model once, then runs job after job in its own process, without forking."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from backend.errors import TaskError
from backend.image_cache import ImageCache
from backend.images import ImageLoader
from backend.jobs import Predictor, Segmenter, serving
from backend.known_jobs import KnownJob
from backend.prefetch import Prefetcher
from backend.queue import JobQueue
from backend.settings import Settings
from backend.studio import Studio
from backend.studio_jobs import Desk, serving_studio
from refam.config import RefAMConfig
from refam.errors import RefAMError

__all__ = ["MODEL_MISSING", "RefAMWorker", "load_refam", "work"]

logger = logging.getLogger(__name__)

PULSE = 2  # seconds between heartbeats
LIFE = 30  # seconds after its last heartbeat that a worker counts as dead and its job as abandoned
MODEL_MISSING = 78  # exit code, EX_CONFIG: nothing but a change of settings or files will help


def load_refam(config: RefAMConfig) -> Segmenter:
    """Load RefAM, and torch with it. Raises refam.errors.RefAMError."""
    from refam.pipeline import RefAM  # noqa: PLC0415  # torch takes seconds to import; bad settings should show first

    return RefAM.from_config(config)


def work(
    connection: Redis, settings: Settings, load: Callable[[RefAMConfig], Segmenter] = load_refam, *, burst: bool = False
) -> int:
    """Load the model and work until told to stop. Returns the process's exit code.

    load: makes the segmenter.
    burst: stop when the queues are empty.
    """
    queue = JobQueue(connection, settings)
    device = settings.refam.device
    try:
        segmenter = load(settings.refam)
    except RefAMError as error:
        queue.report_problem(f"{socket.gethostname()}/{device}", _problem(error))
        logger.error("The model cannot be loaded: %s", error)
        return MODEL_MISSING
    queue.solve_problem(f"{socket.gethostname()}/{device}")
    studio = Studio(settings)
    kept = ImageCache(ImageLoader(settings, studio), settings.image_cache_bytes)
    images = Prefetcher(kept, queue.upcoming, settings.prefetch)
    predictor = Predictor(segmenter, images, queue, settings)
    try:
        with serving(predictor), serving_studio(Desk.open(queue, studio, settings)):
            RefAMWorker(queue, settings).work(burst=burst, logging_level=settings.log_level)
    except RedisError as error:
        logger.error("Redis is gone (%s).", type(error).__name__)
        return 1
    finally:
        images.close()
    return 0


def _problem(error: RefAMError) -> TaskError:
    """The error with its setting apart, which RefAM's messages begin with."""
    setting, _, message = str(error).partition(": ")
    known = setting.startswith("REFAM_") and setting.isupper()
    remedy = "The worker is started again by `refam-backend up`; once it finds its model, queued tasks go on."
    return TaskError(setting if known else "REFAM_MODEL", message if known else str(error), remedy)


class RefAMWorker(SimpleWorker):
    """RQ's worker that does not fork, with a heartbeat while a job runs, and with the scheduler in a thread.

    A forked child of a process that has run torch hangs, so neither jobs nor the scheduler that brings back retries
    may fork.
    """

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        super().__init__(
            list(queue.queues.values()),
            name=f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}",
            connection=queue.connection,
            job_class=KnownJob,
            serializer=JSONSerializer,
            worker_ttl=LIFE,
            maintenance_interval=LIFE // 2,
            job_monitoring_interval=PULSE,
        )
        self._settings = settings
        self._stopped = threading.Event()

    def serialize(self) -> dict[str, Any]:
        """What Redis holds of this worker; `JobQueue.workers` reads it."""
        refam = self._settings.refam
        own = {
            "name": self.name,
            "model_version": self._settings.model_version,
            "model": refam.model,
            "device": refam.device,
        }
        return {**super().serialize(), **own}

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """A job is abandoned when the heartbeat stops, however long it may run."""
        return LIFE

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Work until told to stop, with a pulse beside it."""
        pulse = threading.Thread(target=self._beat, name="pulse", daemon=True)
        pulse.start()
        try:
            return bool(super().work(*args, **kwargs))
        finally:
            self._stopped.set()
            pulse.join()

    def _beat(self) -> None:
        scheduler = RQScheduler(
            self.queues, self.connection, interval=PULSE, logging_level=logging.WARNING, serializer=JSONSerializer
        )
        while not self._stopped.wait(PULSE):
            try:
                for execution in list(self.executions.values()):
                    self.maintain_heartbeats(execution.job, execution)
                scheduler.acquire_locks()  # type: ignore[no-untyped-call]
                scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
            except RedisError as error:
                logger.warning("No heartbeat: %s: %s", type(error).__name__, error)
        with suppress(RedisError):  # they expire by themselves
            scheduler.release_locks()  # type: ignore[no-untyped-call]

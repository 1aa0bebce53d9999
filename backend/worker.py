"""The warm worker: loads the model once, then runs job after job in its own process, without forking."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import SimpleWorker
from rq.worker_registration import clean_worker_registry

from backend import sweep
from backend.errors import TaskError
from backend.image_cache import ImageCache
from backend.images import ImageLoader
from backend.jobs import Predictor, Segmenter, serving
from backend.known_jobs import KnownJob
from backend.prefetch import Prefetcher
from backend.pulse import Pulse
from backend.queue import JobQueue
from backend.redis_connection import connect
from backend.settings import Settings
from backend.studio import Studio
from backend.studio_jobs import Desk, serving_studio
from refam.config import RefAMConfig
from refam.errors import DeviceBrokenError, RefAMError

__all__ = ["DEVICE_BROKEN", "MODEL_MISSING", "RefAMWorker", "load_refam", "work"]

logger = logging.getLogger(__name__)

DEVICE_BROKEN = 75  # exit code, EX_TEMPFAIL: a new process may find the device well
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
            worker = RefAMWorker(queue, settings)
            worker.work(burst=burst, logging_level=settings.log_level)
    except RedisError as error:
        logger.error("Redis is gone (%s).", type(error).__name__)
        return 1
    finally:
        images.close()
    if worker.device_is_broken:
        logger.error("The device is broken; a new process is needed.")
        return DEVICE_BROKEN
    return 0 if burst or worker.was_told_to_stop else 1


def _problem(error: RefAMError) -> TaskError:
    """The error with its setting apart, which RefAM's messages begin with."""
    setting, _, message = str(error).partition(": ")
    known = setting.startswith("REFAM_") and setting.isupper()
    remedy = "The worker is started again by `refam-backend up`; once it finds its model, queued tasks go on."
    return TaskError(setting if known else "REFAM_MODEL", message if known else str(error), remedy)


class RefAMWorker(SimpleWorker):
    """RQ's worker that does not fork, since a forked child of a process that has run torch hangs.

    What RQ does in children and at intervals of minutes, backend.pulse does in a thread.
    """

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        super().__init__(
            list(queue.queues.values()),
            name=f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}",
            connection=queue.connection,
            job_class=KnownJob,
            queue_class=sweep.TakingQueue,
            serializer=JSONSerializer,
            worker_ttl=sweep.LIFE,
        )
        self._settings = settings
        self.device_is_broken = False
        self._pulse = Pulse(self, connect(settings))

    @property
    def was_told_to_stop(self) -> bool:
        """Whether it stopped because of a signal."""
        return self._shutdown_requested_date is not None

    def serialize(self) -> dict[str, Any]:
        """What Redis holds of this worker; `JobQueue.workers` reads it."""
        refam = self._settings.refam
        own = {
            "name": self.name,
            "state": self.get_state(),
            "model_version": self._settings.model_version,
            "model": refam.model,
            "device": refam.device,
        }
        return {**super().serialize(), **own}

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """A job is abandoned when the heartbeat stops, however long it may run."""
        return sweep.LIFE

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """A worker whose device is broken ends once the job's next try is noted."""
        super().handle_exception(job, *exc_info)
        if isinstance(exc_info[1], DeviceBrokenError):
            self.device_is_broken = self._stop_requested = True

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """A worker without heartbeat is forgotten after the same time."""
        super().heartbeat(sweep.LIFE, pipeline)

    def prepare_execution(self, job: Job) -> Any:
        """From here on the job is noted as running, no longer as taken."""
        execution = super().prepare_execution(job)
        self.connection.zrem(sweep.TAKEN, job.id)
        return execution

    def clean_registries(self) -> None:
        """Forget what has expired. RQ's own would also take over jobs, and lose some: see backend.sweep."""
        for queue in self.queues:
            queue.finished_job_registry.cleanup()
            queue.failed_job_registry.cleanup()
            clean_worker_registry(queue)
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def subscribe(self) -> None:
        """RQ's remote commands are of no use to a worker that does not fork."""

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Register, and live."""
        super().bootstrap(*args, **kwargs)
        self._pulse.start()

    def teardown(self) -> None:
        """Stop living before the death is registered."""
        self._pulse.stop()
        super().teardown()  # type: ignore[no-untyped-call]

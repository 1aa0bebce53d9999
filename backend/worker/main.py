"""The warm worker: loads the model once, then runs job after job in its own process, without forking."""

import logging
import socket
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from backend.delivery.desk import Desk
from backend.errors import TaskError
from backend.images.cache import ImageCache
from backend.images.loader import ImageLoader
from backend.images.prefetch import Prefetcher
from backend.label_studio.client import Studio
from backend.queue.job_queue import JobQueue
from backend.settings import Settings
from backend.worker.predict import Predictor, Segmenter, serving
from backend.worker.rq_worker import RefAMWorker
from backend.worker.studio_jobs import serving_studio
from refam.config import RefAMConfig
from refam.errors import RefAMError

__all__ = ["DEVICE_BROKEN", "MODEL_MISSING", "load_refam", "work"]

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
    kept = ImageCache(ImageLoader(settings, studio, interrupts=(JobTimeoutException,)), settings.image_cache_bytes)
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

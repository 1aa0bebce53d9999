"""The warm worker: loads the model once, then runs job after job in its own process, without forking."""

import logging
import socket
from collections.abc import Callable
from contextlib import closing

from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from backend.delivery.desk import Desk
from backend.errors import TaskError
from backend.images.cache import ImageCache
from backend.images.loader import ImageLoader
from backend.images.prefetch import Prefetcher
from backend.label_studio.client import Studio
from backend.queue.connection import connect
from backend.queue.job_names import JobName
from backend.queue.known_jobs import Handler
from backend.queue.release_0_1 import OldTasks
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings
from backend.worker.adoption import AdoptTasks
from backend.worker.post_predictions import PostPredictions
from backend.worker.predict import Predict
from backend.worker.predictor import Predictor, Segmenter
from backend.worker.rq_worker import RefAMWorker
from backend.worker.studio_jobs import FetchTasks, LookAgain, LookThrough
from backend.worker.upkeep import Upkeep
from refam.config import RefAMConfig
from refam.errors import RefAMError

__all__ = ["bind", "load_refam", "work"]

logger = logging.getLogger(__name__)


def load_refam(config: RefAMConfig) -> Segmenter:
    """Load RefAM, and torch with it. Raises refam.errors.RefAMError."""
    from refam.pipeline import RefAM  # noqa: PLC0415  # torch takes seconds to import; bad settings should show first

    return RefAM.from_config(config)


def work(
    connection: Redis,
    settings: Settings,
    load: Callable[[RefAMConfig], Segmenter] = load_refam,
    *,
    timings: Timings | None = None,
    burst: bool = False,
) -> int:
    """Load the model and work until told to stop. Returns the process's exit code.

    load: makes the segmenter.
    timings: the ordinary ones if absent.
    burst: stop when the queues are empty.
    """
    shared, timings = SharedState.over(connection, settings), timings or Timings()
    device = f"{socket.gethostname()}/{settings.refam.device}"
    try:
        segmenter = load(settings.refam)
    except RefAMError as error:
        shared.fleet.report_problem(device, _problem(error))
        logger.error("The model cannot be loaded: %s", error)
        return 1
    shared.fleet.forget_problem(device)
    shared.keyspace.announce()
    studio = Studio(settings, timeout=timings.request)
    loader = ImageLoader(settings, studio, interrupts=(JobTimeoutException,), side=segmenter.side, hosts=shared.hosts)
    kept = ImageCache(loader, settings.image_cache_bytes)
    images = Prefetcher(kept, shared.jobs.upcoming, settings.prefetch, segmenter.prepare)
    predictor = Predictor(segmenter, images, shared.gallery, settings)
    desk = Desk.over(shared, studio, settings, timings)
    if OldTasks(connection).count() and settings.writes_back:
        desk.schedule.schedule_adoption()
    handlers = bind(predictor, desk)
    try:
        with closing(connect(settings)) as own:  # the heartbeat's thread must not wait where the others may
            upkeep = Upkeep(SharedState.over(own, settings))
            well = RefAMWorker(shared.keyspace, handlers, settings, timings, upkeep.run).run(burst=burst)
    except RedisError as error:
        logger.error("Redis is gone (%s).", type(error).__name__)
        return 1
    finally:
        images.close()
    return 0 if well else 1


def bind(predictor: Predictor, desk: Desk) -> dict[JobName, Handler]:
    """What this process does for the jobs of each name."""
    return {
        JobName.PREDICT: Predict(predictor, desk.shared, desk.settings),
        JobName.FETCH_TASKS: FetchTasks(desk),
        JobName.POST_PREDICTION: PostPredictions(desk),
        JobName.LOOK_THROUGH: LookThrough(desk),
        JobName.LOOK_AGAIN: LookAgain(desk),
        JobName.ADOPT_TASKS: AdoptTasks(desk),
    }


def _problem(error: RefAMError) -> TaskError:
    """The error with its setting apart, which RefAM's messages begin with."""
    setting, _, message = str(error).partition(": ")
    known = setting.startswith("REFAM_") and setting.isupper()
    remedy = "The worker is started again by `refam-backend up`; once it finds its model, queued tasks go on."
    return TaskError(setting if known else "REFAM_MODEL", message if known else str(error), remedy)

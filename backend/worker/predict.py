"""What a job does: fetch the image, ask the segmenter, make the prediction. Runs in the worker."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from redis import Redis
from rq import get_current_job
from rq.exceptions import AbandonedJobError
from rq.job import Job
from rq.timeouts import JobTimeoutException

from backend.delivery.outbox import Outbox
from backend.errors import TaskError, TemporaryError
from backend.images.cache import Loader
from backend.label_studio.mask_encoding import prediction
from backend.label_studio.request import Expression, TaskRequest
from backend.queue.gallery import Gallery
from backend.queue.job_queue import JobQueue, Outcome
from backend.settings import Settings
from backend.worker.thumbnails import thumbnail
from refam.clicks import Box, Clicks
from refam.errors import ClickError, DeviceBrokenError, DeviceMemoryError, ExpressionError
from refam.heatmap import Point

__all__ = ["Predictor", "Segmenter", "on_failure", "run", "serving"]

logger = logging.getLogger(__name__)


TOO_LARGE = TaskError(
    "REFAM_DEVICE",
    "its memory does not hold what one image takes.",
    "Set REFAM_RESOLUTION lower or REFAM_SAM smaller, or leave the device to this worker alone.",
)


class Segmentation(Protocol):
    """What a segmenter answers: the mask, bool [H, W], of the image's size, and a score in [0, 1]."""

    @property
    def mask(self) -> NDArray[np.bool_]: ...

    @property
    def score(self) -> float: ...


class Segmenter(Protocol):
    """The part of `refam.RefAM` that jobs need."""

    @property
    def computed(self) -> Mapping[str, int]: ...

    def segment(self, image: Image.Image, expression: str) -> Segmentation: ...

    def select(self, image: Image.Image, clicks: Clicks, expression: str | None = None) -> Segmentation: ...

    def free_memory(self) -> None: ...


class Predictor:
    """Turns requests into predictions with one warm segmenter."""

    def __init__(self, segmenter: Segmenter, loader: Loader, queue: JobQueue, settings: Settings) -> None:
        self.queue = queue
        self.settings = settings
        self._segmenter = segmenter
        self._loader = loader
        self._gallery = Gallery(queue.connection, settings)
        self._counted: Mapping[str, int] = {}

    def newly_computed(self) -> dict[str, int]:
        """What of `RefAM.computed` has been added since the last call."""
        before, self._counted = self._counted, self._segmenter.computed
        return {name: number - before.get(name, 0) for name, number in self._counted.items()}

    def predict(self, request: TaskRequest) -> dict[str, Any]:
        """The prediction of one task. Raises TaskError, or TemporaryError where trying again may help."""
        if request.model_version != self.settings.model_version:
            raise TaskError(
                "model_version",
                f"the task was queued for {request.model_version}, but the worker runs {self.settings.model_version}.",
                "Start web process and workers with the same REFAM_* settings.",
            )
        image = self._loader.load(request.image, request.image_field)
        masks = []
        for expression in request.expressions:
            try:
                segmentation = self._segment_sparingly(image, expression, request)
            except DeviceMemoryError:
                raise TOO_LARGE from None
            except ExpressionError as error:
                raise TaskError(request.text_field, str(error), "Change the text.") from None
            except ClickError as error:
                raise TaskError("click", str(error), "Click again.") from None
            masks.append((segmentation.mask, segmentation.score))
        if not any(mask.any() for mask, _ in masks):
            raise TaskError(request.text_field, "nothing in the image answers the text.", "Describe it otherwise.")
        made = prediction(request, masks)
        if self._gallery.size and not request.interactive:
            self._gallery.add(request, made["score"], thumbnail(image, [mask for mask, _ in masks]))
        return made

    def _segment_sparingly(self, image: Image.Image, expression: Expression, request: TaskRequest) -> Segmentation:
        """As _segment. Where memory is short, once more without caches; less than one image at a time there is not."""
        try:
            return self._segment(image, expression, request)
        except DeviceMemoryError:
            logger.warning("The device's memory is full; its caches are emptied.")
            self._segmenter.free_memory()
            return self._segment(image, expression, request)

    def _segment(self, image: Image.Image, expression: Expression, request: TaskRequest) -> Segmentation:
        clicks = _in_pixels(request, image.size)
        if clicks == Clicks():
            return self._segmenter.segment(image, expression.text)
        try:
            return self._segmenter.select(image, clicks, expression.text or None)
        except ExpressionError:  # a text without a usable word has no say where there are clicks
            return self._segmenter.select(image, clicks)


def _in_pixels(request: TaskRequest, size: tuple[int, int]) -> Clicks:
    """The request's clicks and rectangle for an image of size (width, height)."""
    width, height = size
    points = tuple(Point(click.x * width, click.y * height, click.positive) for click in request.clicks)
    sides = request.rectangle
    if sides is None:
        return Clicks(points)
    return Clicks(points, Box(sides.left * width, sides.top * height, sides.right * width, sides.bottom * height))


_predictor: ContextVar[Predictor] = ContextVar("predictor")


@contextmanager
def serving(predictor: Predictor) -> Iterator[None]:
    """While this lasts, jobs of this process are run by `predictor`."""
    token = _predictor.set(predictor)
    try:
        yield
    finally:
        _predictor.reset(token)


def run(content: dict[str, Any]) -> dict[str, Any]:
    """The job. Returns an Outcome as a dict; bad input is an outcome, too, and is not tried again."""
    predictor, request = _predictor.get(), TaskRequest.from_json(content)
    try:
        outcome = Outcome(prediction=predictor.predict(request))
        predictor.queue.count(done=1, **predictor.newly_computed())
        if not request.interactive:
            predictor.queue.settle([(request.project, request.task, outcome)])
    except TaskError as error:
        job = get_current_job()
        if job:
            job.result_ttl = predictor.settings.failure_ttl
        outcome = _fail(predictor.queue, request, error)
    _write_back(predictor, request)
    return outcome.as_json()


def on_failure(
    job: Job,
    connection: Redis,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    """Called by RQ after each exception of a job, and for jobs whose worker died. Records the last one."""
    if kind is JobTimeoutException:
        job.retries_left = 0  # it would only take as long again
    if job.should_retry:
        return
    predictor, request = _predictor.get(), TaskRequest.from_json(job.args[0])
    job.meta["failure"] = _fail(predictor.queue, request, _reason(kind, error, predictor.settings)).failure
    job.save_meta()  # type: ignore[no-untyped-call]
    _write_back(predictor, request)


def _write_back(predictor: Predictor, request: TaskRequest) -> None:
    """Have the outcome brought to every task that it is due for. Tasks may still be added until the job has ended."""
    if predictor.settings.writes_back and not request.interactive:
        Outbox(predictor.queue, predictor.settings).write(request.job_id())


def _fail(queue: JobQueue, request: TaskRequest, error: TaskError) -> Outcome:
    logger.warning("Task %s of project %s failed: %s", request.task, request.project, error)
    outcome = Outcome(failure=error.as_json())
    queue.count(failed=1)
    if not request.interactive:  # the annotator sees the reason; the task itself has not failed
        queue.settle([(request.project, request.task, outcome)])
    return outcome


def _reason(kind: type[BaseException], error: BaseException, settings: Settings) -> TaskError:
    if kind is JobTimeoutException:
        remedy = "Use a faster device, or raise REFAM_BACKEND_JOB_TIMEOUT."
        return TaskError("job", f"it took longer than {settings.job_timeout} s.", remedy)
    if kind is AbandonedJobError:
        return TaskError("job", "its worker died again and again.", "See the worker's log; it may lack memory.")
    if isinstance(error, DeviceBrokenError):
        message = f"the device failed each of the {len(settings.retry_delays) + 1} times that it was tried."
        return TaskError("REFAM_DEVICE", message, "See the worker's log, and `nvidia-smi`.")
    if isinstance(error, TemporaryError):
        return TaskError("image", f"{error} It was tried {len(settings.retry_delays) + 1} times.", "Try again later.")
    return TaskError("job", f"the worker failed with {kind.__name__}.", "See the worker's log.")

"""The next images are fetched, decoded and resized while the device works, so that it waits for none of that."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from backend.errors import BackendError
from backend.images.cache import Loader
from backend.label_studio.request import TaskRequest
from refam.picture import Picture

__all__ = ["Prefetcher"]

logger = logging.getLogger(__name__)


class Prefetcher:
    """A loader that, each time it is asked, has threads load what will be asked for next.

    loader: keeps what it loads, and may be shared by threads. See backend.images.cache.ImageCache.
    upcoming: the requests that are next in line, at most so many. They are looked at and not taken: another worker may
        be faster, and its image was fetched in vain here.
    depth: how many images ahead; 0 switches it off.
    prepare: what else can be done for an image before its turn comes, by any thread.
    """

    def __init__(
        self,
        loader: Loader,
        upcoming: Callable[[int], Sequence[TaskRequest]],
        depth: int,
        prepare: Callable[[Picture], None],
    ) -> None:
        self._loader = loader
        self._prepare = prepare
        self._upcoming = upcoming
        self._depth = depth
        self._threads = ThreadPoolExecutor(depth + 1, thread_name_prefix="prefetch") if depth else None
        self._underway: set[str] = set()
        self._lock = threading.Lock()

    def load(self, reference: str, field: str, task: str, project: str = "") -> Picture:
        """As the other loader's."""
        picture = self._loader.load(reference, field, task, project)
        if self._threads and self._begin("queue"):
            self._threads.submit(self._look_ahead, self._threads)
        return picture

    def close(self) -> None:
        """Begin nothing more."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _look_ahead(self, threads: ThreadPoolExecutor) -> None:
        try:
            for request in self._upcoming(self._depth):
                for page in request.pages:
                    if self._begin(page.image):
                        threads.submit(self._fetch, page.image, request)
        except Exception as error:  # noqa: BLE001  # whatever it is, the job itself meets it and reports it
            logger.debug("No look ahead: %s", type(error).__name__)
        finally:
            self._end("queue")

    def _fetch(self, image: str, request: TaskRequest) -> None:
        try:
            self._prepare(self._loader.load(image, request.image_field, request.task, request.project))
        except BackendError:  # the job itself reports it
            pass
        finally:
            self._end(image)

    def _begin(self, what: str) -> bool:
        """Whether nobody has begun it yet."""
        with self._lock:
            if what in self._underway:
                return False
            self._underway.add(what)
            return True

    def _end(self, what: str) -> None:
        with self._lock:
            self._underway.discard(what)

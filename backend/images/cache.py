"""Decoded images that a worker keeps, so that a click on an image fetches nothing."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from PIL.Image import Image

__all__ = ["ImageCache", "Loader"]

LIFETIME = 600  # seconds; what lies behind an address may change


class Loader(Protocol):
    """Loads the image that a task points to. See backend.images.loader.ImageLoader."""

    def load(self, reference: str, field: str) -> Image: ...


class ImageCache:
    """A loader that keeps what another one loaded, in this process's memory and nowhere else. Threads may share it.

    max_bytes: of all kept images' pixels; the one that was not asked for longest goes first.
    clock: seconds.
    """

    def __init__(self, loader: Loader, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._loader = loader
        self._max_bytes = max_bytes
        self._clock = clock
        self._images: OrderedDict[bytes, tuple[float, Image]] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[bytes, threading.Lock] = {}

    def load(self, reference: str, field: str) -> Image:
        """As the other loader's; the image must not be changed.

        What another thread is loading is waited for. If that fails, it is tried here, too: each task has an error of
        its own.
        """
        key = hashlib.sha256(reference.encode()).digest()
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        try:
            with turn:
                image = self._kept(key)
                if image is None:
                    loaded_at, image = self._clock(), self._loader.load(reference, field)
                    self._keep(key, loaded_at, image)
                return image
        finally:
            with self._lock:
                self._loading.pop(key, None)

    def _kept(self, key: bytes) -> Image | None:
        with self._lock:
            loaded_at, image = self._images.pop(key, (0.0, None))
            if image is None or self._clock() - loaded_at > LIFETIME:
                return None
            self._images[key] = loaded_at, image
            return image

    def _keep(self, key: bytes, loaded_at: float, image: Image) -> None:
        with self._lock:
            self._images[key] = loaded_at, image
            while sum(_bytes(kept) for _, kept in self._images.values()) > self._max_bytes:
                self._images.popitem(last=False)


def _bytes(image: Image) -> int:
    return image.width * image.height * len(image.getbands())

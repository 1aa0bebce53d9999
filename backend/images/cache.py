"""Decoded images that a worker keeps, so that a click on an image fetches nothing."""

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from cachetools import TTLCache, cachedmethod

from backend.label_studio.storages import is_read_for_a_task
from refam.picture import Picture

__all__ = ["ImageCache", "Loader"]

PIXEL = 4  # bytes that Pillow keeps of a pixel in colours, whatever their number
LIFETIME = 600  # seconds; what lies behind an address may change


class Loader(Protocol):
    """Loads the image that a task points to. See backend.images.loader.ImageLoader."""

    def load(self, reference: str, field: str, task: str, project: str = "") -> Picture: ...


def _bytes(picture: Picture) -> int:
    pixels = picture.pixels
    return pixels.width * pixels.height * (1 if pixels.mode == "L" else PIXEL)


def _key(_: "ImageCache", reference: str, field: str, task: str, project: str = "") -> bytes:
    """Label Studio decides for each task anew what it may read, and everybody else gives all tasks the same."""
    whose = f"{task} " if is_read_for_a_task(reference) else ""
    return hashlib.sha256(f"{whose}{reference}".encode()).digest()  # a data URI may be as large as its image


class ImageCache:
    """A loader that keeps what another one loaded, in this process's memory and nowhere else. Threads may share it.

    max_bytes: of all kept images' pixels; the one that was not asked for longest goes first.
    clock: seconds.
    """

    def __init__(self, loader: Loader, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._loader = loader
        self._images: TTLCache[bytes, Picture] = TTLCache(max_bytes, LIFETIME, clock, _bytes)
        self._loaded = threading.Condition()

    @cachedmethod(lambda self: self._images, key=_key, condition=lambda self: self._loaded)
    def load(self, reference: str, field: str, task: str, project: str = "") -> Picture:
        """As the other loader's; the image must not be changed.

        What another thread is loading is waited for. If that fails, it is tried here, too: each task has an error of
        its own.
        """
        return self._loader.load(reference, field, task, project)

"""Pixels as a device takes them, made ready by other threads than the one that computes."""

import threading
from collections.abc import Callable, Hashable

import cachetools
import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["PreparedPixels", "tensor_of"]

KEPT = 8  # images; those that another worker was faster with are never asked for


class PreparedPixels:
    """The pixels of the last images that were prepared, by name. Threads may share it."""

    def __init__(self) -> None:
        self._pixels: cachetools.LRUCache[Hashable, Tensor] = cachetools.LRUCache(KEPT)
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._pixels

    def put(self, key: Hashable, pixels: Tensor) -> None:
        """Keep an image's pixels until they are asked for."""
        with self._lock:
            self._pixels[key] = pixels

    def take(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """An image's pixels, which are not kept any longer; made now if they are not there."""
        with self._lock:
            found = self._pixels.pop(key, None)
        return make() if found is None else found


def tensor_of(image: Image.Image, device: torch.device) -> Tensor:
    """An RGB image as uint8 [1, 3, H, W] in main memory, of which a GPU copies without that anybody waits."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return pixels.pin_memory() if device.type == "cuda" else pixels

"""A mask on its image, as a small picture. Runs in the worker."""

import io
import math
from collections.abc import Iterable
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refam.picture import Picture
from refam.tint import tinted

__all__ = ["thumbnail"]

SIDE = 160  # pixels; the file stays below backend.queue.gallery.THUMBNAIL_BYTES whatever it shows
QUALITY = 75
TINT = (0, 191, 255)
OPACITY = 0.55
DIMMED = 0.6  # brightness outside the mask


def thumbnail(picture: Picture, masks: Iterable[NDArray[np.bool_]]) -> bytes:
    """JPEG of SIDE x SIDE pixels at most.

    masks: bool [H, W] of the picture's size, at least one; what any of them covers is tinted.
    """
    factor = max(1, math.ceil(max(picture.size) / SIDE))
    mask = Image.fromarray(reduce(np.logical_or, masks)).convert("L").reduce(factor)
    small = np.asarray(picture.resized(mask.size, Image.Resampling.BOX), np.float32)  # [h, w, 3]
    share = np.asarray(mask, np.float32) / np.float32(255)  # [h, w]
    painted = tinted(small, share, TINT, OPACITY, DIMMED)
    file = io.BytesIO()
    Image.fromarray(painted.astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()

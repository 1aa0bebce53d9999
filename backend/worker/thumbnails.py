"""A mask on its image, as a small picture. Runs in the worker."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["thumbnail"]

SIDE = 160  # pixels; with a byte each, the file stays below backend.queue.gallery.THUMBNAIL_BYTES whatever it shows
COLOURS = 64
TINT = (0, 191, 255)
OPACITY = 0.55
DIMMED = 0.6  # brightness outside the mask


def thumbnail(image: Image.Image, masks: Sequence[NDArray[np.bool_]]) -> bytes:
    """PNG of SIDE x SIDE pixels at most.

    image: RGB.
    masks: bool [H, W] of the image's size; what any of them covers is tinted.
    """
    scale = min(1.0, SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    picture = np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)  # [h, w, 3]
    mask = Image.fromarray(np.logical_or.reduce(masks).astype(np.uint8) * 255)
    share = np.asarray(mask.resize(size, Image.Resampling.BOX), np.float32)[..., None] / 255  # [h, w, 1]
    tinted = (1 - OPACITY) * picture + OPACITY * np.array(TINT, np.float32)
    painted = share * tinted + (1 - share) * DIMMED * picture
    file = io.BytesIO()
    Image.fromarray(painted.astype(np.uint8)).quantize(COLOURS).save(file, "PNG")
    return file.getvalue()

"""Label Studio results, of predictions or annotations -> masks. The way back from mask_encoding.py.

Masks are bool arrays [H, W] of the size that the browser shows.
"""

import base64
import binascii
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image
from skimage.draw import polygon2mask

from backend.label_studio.geometry import rectangle_corners

__all__ = ["MaskError", "is_mask", "masks_by_label"]

Mask = NDArray[np.bool_]
OPAQUE = 128  # least alpha that counts; a mask that was edited has soft edges
HEADER = 4  # bytes of an RLE that tell its number of values


class MaskError(ValueError):
    """A result that is no mask of an allowed size."""


def is_mask(result: Mapping[str, Any]) -> bool:
    """Whether a result is a region with a mask and labels: brush, bitmask, polygon or rectangle."""
    kind = result.get("type")
    return kind in _DECODERS and bool(result.get("value", {}).get(kind))


def masks_by_label(results: Iterable[Mapping[str, Any]], max_pixels: int) -> dict[str, Mask]:
    """For each label, what its regions cover together, bool [H, W]. Other results are left out.

    Raises MaskError if a region cannot be read, has more than max_pixels, or another size than the first one.
    """
    masks: dict[str, Mask] = {}
    first: tuple[int, int] | None = None
    for result in filter(is_mask, results):
        try:
            shape = int(result["original_height"]), int(result["original_width"])
            first = first or shape
            if shape != first or not 0 < shape[0] * shape[1] <= max_pixels:
                raise MaskError(f"a region of {shape[1]} x {shape[0]} pixels")
            value = result["value"]
            mask = _DECODERS[result["type"]](value, shape)
        except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
            raise (
                error if isinstance(error, MaskError) else MaskError(f"a region that cannot be read: {error}")
            ) from None
        for label in value[result["type"]]:
            masks[label] = masks[label] | mask if label in masks else mask
    return masks


def _brush(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    rle = value["rle"]
    if int.from_bytes(bytes(rle[:HEADER]), "big") != 4 * math.prod(shape):
        raise MaskError("an RLE of another size")
    alpha: NDArray[np.uint8] = brush.decode_rle(rle).reshape(*shape, 4)[..., 3]
    return alpha >= OPAQUE


def _bitmask(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    try:
        content = base64.b64decode(value["imageDataURL"].partition(",")[2], validate=True)
    except binascii.Error:
        raise MaskError("a bitmask whose base64 is broken") from None
    image = Image.open(io.BytesIO(content), formats=["PNG"])
    if (image.height, image.width) != shape:
        raise MaskError("a bitmask of another size")
    return np.asarray(image.convert("RGBA"))[..., 3] >= OPAQUE


def _polygon(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    """Points are percent (x, y); a pixel belongs to it if its centre does."""
    points = np.array(value["points"], float)[:, ::-1] / 100 * shape
    inside: Mask = polygon2mask(shape, points - 0.5)
    return inside


def _rectangle(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    """In percent, turned clockwise about its upper left corner."""
    height, width = shape
    return _polygon({"points": rectangle_corners(value, value.get("rotation") or 0, width / height)}, shape)


_DECODERS = {
    "brushlabels": _brush,
    "bitmasklabels": _bitmask,
    "polygonlabels": _polygon,
    "rectanglelabels": _rectangle,
}

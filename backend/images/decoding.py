"""An image file's bytes -> RGB pixels, within limits that hold before anything is decoded."""

import hashlib
import io
import threading
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from backend.images.orientation import SIDEWAYS, Box, orientation, upright
from backend.images.structure import MOST_PARTS, has_too_many_parts
from backend.settings import PILLOW_MAX_PIXELS
from refam.picture import Picture

__all__ = ["ImageError", "decode"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
JPEGS = ("JPEG", "MPO")  # Pillow's name for a photograph with previews behind it, which browsers do not show
DRAFT_GAP = 2  # what a JPEG is decoded at is a mean over whole blocks, so fewer pixels do than Picture leaves
MAX_SCANS = 100  # progressive JPEGs have about ten; each takes as long as the whole image, and may be a few bytes
START_OF_SCAN = b"\xff\xda"
TEXT_LIMITS = ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY")  # of Pillow, which names them where a PNG goes beyond
TOO_MUCH_TEXT = (
    "the PNG file holds a text or colour profile of more than 1 MiB, or texts of more than 64 MiB.",
    "Save it anew without its metadata.",
)
UNSUPPORTED = {  # what files of other formats begin with; from the fifth byte on where it says ftyp
    b"ftypheic": "HEIC",
    b"ftypheix": "HEIC",
    b"ftypmif1": "HEIC",
    b"ftypmsf1": "HEIC",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "SVG or another XML file",
    b"8BPS": "Photoshop",
}
DICOM = (128, b"DICM")
BYTE = 255
HIGH_BYTE = 257  # 65,535 / 255: how browsers show 16 bits
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation

_one_at_a_time = threading.Lock()  # the filters of warnings are the whole process's; and images are large


class ImageError(Exception):
    """An image that cannot be used: what is wrong, and the remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def decode(
    content: bytes, max_pixels: int, interrupts: tuple[type[Exception], ...] = (), *, side: int | None = None
) -> Picture:
    """The image in a file, RGB, upright as the browser shows it, transparency on white, named by the file's bytes.

    More than 8 bits: of 16 the high byte counts, as in browsers; whole numbers of 32 bits and floats, which only TIFF
    holds and no browser shows, are stretched from the least to the largest finite value. TIFF is turned as it says.
    interrupts: what a signal may raise in the midst of it, which says nothing about the file.
    side: pixels that are taken of the image on each axis; no more than these need are kept. All if absent.
    Raises ImageError for what is no still image in one of FORMATS, or has more pixels than `max_pixels`.
    """
    if has_too_many_parts(content):
        message = f"the file is made of more than {MOST_PARTS} parts."
        raise ImageError(message, "Save it anew with an image editor.")
    try:
        # Pillow's warning about many pixels is no news: they are counted below.
        with (
            _one_at_a_time,
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=FORMATS) as image,
        ):
            _check(image, content, max_pixels)
            width, height = image.size
            box = (0.0, 0.0, float(width), float(height))
            if side is not None and image.format in JPEGS:
                box = _at_a_scale(image, side) or box
            image.load()  # only then a PNG's last chunks are known
            turn = orientation(image)
            pixels, box = upright(_rgb(image), box, turn)
            size = (height, width) if turn in SIDEWAYS else (width, height)
            picture = Picture(pixels, size, box, hashlib.sha256(content).digest())
            return picture if side is None else picture.reduced(side)
    except Image.DecompressionBombError:
        raise _too_many_pixels("too many", max_pixels) from None
    except (ImageError, MemoryError):
        raise
    except interrupts:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads to
        if any(limit in str(error) for limit in TEXT_LIMITS):
            raise ImageError(*TOO_MUCH_TEXT) from None
        raise _unreadable(content) from error


def _at_a_scale(image: Image.Image, side: int) -> Box | None:
    """Have a JPEG decoded at the smallest scale that leaves DRAFT_GAP times `side` pixels on each axis.

    Returns the part of what will be decoded that the image covers; None if it is decoded as it is."""
    assert isinstance(image, JpegImageFile)  # noqa: S101
    drafted = image.draft(None, (DRAFT_GAP * side, DRAFT_GAP * side))
    return drafted and drafted[1]


def _check(image: Image.Image, content: bytes, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise _too_many_pixels(str(pixels), max_pixels)
    if image.format not in JPEGS and getattr(image, "is_animated", False):
        raise ImageError("the image is animated or has several pages.", "Use a still image.")
    if image.format in JPEGS and content.count(START_OF_SCAN) > MAX_SCANS:
        raise ImageError(f"the JPEG file has more than {MAX_SCANS} scans.", "Save it anew, as a baseline JPEG.")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP:
        return _shallow(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _shallow(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits -> grey of 8 bits. Pillow itself would cut off what is above 255."""
    values: NDArray[np.generic] = np.asarray(image)  # [H, W]
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        shown = ((values.astype(np.uint32) + HIGH_BYTE // 2) // HIGH_BYTE).astype(np.uint8)
    else:
        shown = _stretched(values.astype(np.float64)).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO:
        shown = BYTE - shown
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        shown[values == transparent] = BYTE
    return Image.fromarray(shown)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values [H, W] in [0, 255]; what is no number is black."""
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("none of the image's values is a finite number.", "Save it as a PNG or JPEG.")
    least, largest = values[finite].min(), values[finite].max()
    scale = BYTE / (largest - least) if largest > least else 0
    return np.where(finite, (np.where(finite, values, least) - least) * scale, 0).round()


def _unreadable(content: bytes) -> ImageError:
    """What is said of a file that no decoder of ours reads."""
    start = content[4:12] if content[4:8] == b"ftyp" else content.lstrip()[:12]
    kind = next((name for magic, name in UNSUPPORTED.items() if start.startswith(magic)), None)
    if content[DICOM[0] : DICOM[0] + len(DICOM[1])] == DICOM[1]:
        kind = "DICOM"
    if kind:
        return ImageError(f"the file is {kind}, which is not supported.", "Save it as a JPEG or PNG.")
    return ImageError(
        f"the file is no readable image ({len(content)} bytes).",
        f"Use a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.",
    )


def _too_many_pixels(count: str, limit: int) -> ImageError:
    more = ", or raise REFAM_BACKEND_IMAGE_MAX_PIXELS" if limit < PILLOW_MAX_PIXELS else " or cut it into tiles"
    return ImageError(f"the image has {count} pixels; at most {limit} are allowed.", f"Shrink it{more}.")

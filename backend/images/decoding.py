"""An image file's bytes -> RGB pixels, within limits that hold before anything is decoded."""

import io
import threading
import warnings

from PIL import Image, ImageOps

__all__ = ["ImageError", "decode"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
JPEGS = ("JPEG", "MPO")  # Pillow's name for a photograph with previews behind it, which browsers do not show
MAX_SCANS = 100  # progressive JPEGs have about ten; each takes as long as the whole image, and may be a few bytes
START_OF_SCAN = b"\xff\xda"
TEXT_LIMITS = ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY")  # of Pillow, which names them where a PNG goes beyond
TOO_MUCH_TEXT = (
    "the PNG file holds a text or colour profile of more than 1 MiB, or texts of more than 64 MiB.",
    "Save it anew without its metadata.",
)

_one_at_a_time = threading.Lock()  # the filters of warnings are the whole process's; and images are large


class ImageError(Exception):
    """An image that cannot be used: what is wrong, and the remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def decode(content: bytes, max_pixels: int, interrupts: tuple[type[Exception], ...] = ()) -> Image.Image:
    """The image in a file, RGB, upright as the browser shows it, transparency on white.

    interrupts: what a signal may raise in the midst of it, which says nothing about the file.
    Raises ImageError for what is no still image in one of FORMATS, or has more pixels than `max_pixels`.
    """
    try:
        # Pillow's warning about many pixels is no news: they are counted below.
        with (
            _one_at_a_time,
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=FORMATS) as image,
        ):
            _check(image, content, max_pixels)
            return _upright(image)
    except Image.DecompressionBombError:
        raise _too_many_pixels("too many", max_pixels) from None
    except (ImageError, MemoryError):
        raise
    except interrupts:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads to
        if any(limit in str(error) for limit in TEXT_LIMITS):
            raise ImageError(*TOO_MUCH_TEXT) from None
        raise ImageError(
            f"the file is no readable image ({len(content)} bytes).",
            f"Use a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.",
        ) from error


def _check(image: Image.Image, content: bytes, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise _too_many_pixels(str(pixels), max_pixels)
    if image.format not in JPEGS and getattr(image, "is_animated", False):
        raise ImageError("the image is animated or has several pages.", "Use a still image.")
    if image.format in JPEGS and content.count(START_OF_SCAN) > MAX_SCANS:
        raise ImageError(f"the JPEG file has more than {MAX_SCANS} scans.", "Save it anew, as a baseline JPEG.")


def _upright(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return upright.convert("RGB")


def _too_many_pixels(count: str, limit: int) -> ImageError:
    return ImageError(
        f"the image has {count} pixels; at most {limit} are allowed.",
        "Shrink it, or raise REFAM_BACKEND_IMAGE_MAX_PIXELS.",
    )

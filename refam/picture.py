"""An image as the models take it: named once, and no larger than they need it."""

import hashlib
from dataclasses import dataclass
from typing import Self

from PIL import Image

__all__ = ["ELONGATED", "Picture"]

GAP = (
    3  # pixels that are left for each that a model takes, on each axis; with so many, Pillow says, two steps do as one
)
ELONGATED = 2.0  # times as long as wide, from which on the square that a transformer takes loses too much
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """An image, of which the pixels that models take are held.

    Attributes:
        pixels: RGB, perhaps reduced, each axis by a factor of its own.
        size: (width, height) of the whole image. Masks have it, and points are in its pixels.
        box: (left, upper, right, lower), the part of `pixels` that the image covers; where it was reduced, a pixel at
            the border may reach beyond it.
        key: names the image; what was computed from it is kept under this name.
    """

    pixels: Image.Image
    size: tuple[int, int]
    box: Box
    key: bytes

    @classmethod
    def of(cls, image: Image.Image, side: int) -> Self:
        """A decoded image for models that take up to `side` pixels on each axis, named by what they take of it."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        whole = cls(rgb, rgb.size, (0, 0, *rgb.size), b"").reduced(side)
        digest = hashlib.sha256(f"{whole.size} {whole.pixels.size}".encode())
        digest.update(whole.pixels.tobytes())
        return cls(whole.pixels, whole.size, whole.box, digest.digest())

    def reduced(self, side: int) -> Self:
        """The picture with no fewer than GAP times `side` pixels on each axis, unless it has fewer already; an
        elongated one is reduced by the same factor on both."""
        left, upper, right, lower = self.box
        across, down = (max(1, int(length / (GAP * side))) for length in (right - left, lower - upper))
        if max(self.size) > ELONGATED * min(self.size):  # it is read in squares
            across = down = min(across, down)
        if (across, down) == (1, 1):
            return self
        box = (left / across, upper / down, right / across, lower / down)
        return type(self)(self.pixels.reduce((across, down)), self.size, box, self.key)

    def resized(self, size: tuple[int, int], filtering: Image.Resampling) -> Image.Image:
        """The whole image at a size (width, height), RGB."""
        return self.pixels.resize(size, filtering, box=self.box)

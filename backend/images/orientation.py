"""Which way up an image is shown, as Chromium decides it: masks are drawn on what the browser shows.

It turns by EXIF in JPEG, in PNG's eXIf chunk and in AVIF. It does not turn by EXIF in WebP, by XMP alone in any format,
or by what ImageMagick writes into a PNG as "Raw profile type exif"; Pillow's exif_transpose follows all of these.
Damaged EXIF hinders it nowhere. TIFF, which it does not show, is turned by the file's own tag.
"""

from PIL import ExifTags, Image

__all__ = ["orientation", "upright"]

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BY_EXIF = ("JPEG", "MPO", "PNG", "AVIF")


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """An image turned as an orientation says, which is one of EXIF's, 1 to 8."""
    method = TURNED.get(orientation)
    return image if method is None else image.transpose(method)


def orientation(image: Image.Image) -> int:
    """How an image that has been loaded is to be turned; 1 if it is not."""
    if image.format == "TIFF":
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    content = image.info.get("exif")
    if image.format not in BY_EXIF or not isinstance(content, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(content)
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  # whatever damaged EXIF leads to, the image itself is sound
        return 1

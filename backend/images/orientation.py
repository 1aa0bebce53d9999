"""Which way up an image is shown, as Chromium decides it: masks are drawn on what the browser shows.

It turns by EXIF in JPEG, in PNG's eXIf chunk and in AVIF. It does not turn by EXIF in WebP, by XMP alone in any format,
or by what ImageMagick writes into a PNG as "Raw profile type exif"; Pillow's exif_transpose follows all of these.
Damaged EXIF hinders it nowhere. TIFF, which it does not show, is turned by the file's own tag.
"""

from PIL import ExifTags, Image

__all__ = ["SIDEWAYS", "Box", "orientation", "upright"]

Box = tuple[float, float, float, float]

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Each of these is mirrored first, and then its rows become columns
MIRRORED_ACROSS = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
)
MIRRORED_DOWN = (
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
)
TRANSPOSED = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
)
SIDEWAYS = (5, 6, 7, 8)  # where width and height change places
BY_EXIF = ("JPEG", "MPO", "PNG", "AVIF")


def upright(image: Image.Image, box: Box, orientation: int) -> tuple[Image.Image, Box]:
    """An image, and a box in it (left, upper, right, lower), turned as an orientation says, one of EXIF's, 1 to 8."""
    method = TURNED.get(orientation)
    if method is None:
        return image, box
    left, upper, right, lower = box
    if method in MIRRORED_ACROSS:
        left, right = image.width - right, image.width - left
    if method in MIRRORED_DOWN:
        upper, lower = image.height - lower, image.height - upper
    if method in TRANSPOSED:
        left, upper, right, lower = upper, left, lower, right
    return image.transpose(method), (left, upper, right, lower)


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

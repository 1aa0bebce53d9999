"""What Chromium draws of each format, and what the image loader decodes, are one picture: masks are drawn on it.

A canvas tells what Chromium draws. TIFF it does not draw: see backend.images.decoding for the rule.
"""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, Page

from backend.images.decoding import decode
from tests.e2e.running import SCREENSHOTS

WITHIN = 2  # of 255
WIDTH, HEIGHT = 96, 64
ORIENTATION = 0x0112
DRAW = """async (address) => {
  const image = document.createElement("img");
  image.src = address;
  document.body.append(image);
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const drawn = context.getImageData(0, 0, canvas.width, canvas.height);
  return [drawn.height, drawn.width, Array.from(drawn.data)];
}"""


def smooth() -> Image.Image:
    """A picture without edges, which lossy formats keep, and whose corners tell how it is turned."""
    rows, columns = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return Image.fromarray(
        np.stack([40 + 180 * columns, 40 + 180 * rows, 200 - 90 * columns * rows], -1).astype(np.uint8)
    )


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[ORIENTATION] = orientation
    return made.tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep_grey() -> Image.Image:
    columns = np.linspace(0, 65535, WIDTH).astype(np.uint16)
    return Image.fromarray(np.tile(columns, (HEIGHT, 1)))


def deep_colours() -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    values = np.repeat(np.linspace(0, 65535, WIDTH).astype(">u2")[:, None], 3, 1)
    values[:, 1] = values[::-1, 1]
    rows = (b"\x00" + values.tobytes()) * HEIGHT
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0), rows)


def grey_with_a_transparent_value() -> bytes:
    rows = (b"\x00" + np.linspace(0, 65535, WIDTH).astype(">u2").tobytes()) * HEIGHT
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 0, 0, 0, 0), rows, (b"tRNS", struct.pack(">H", 0)))


def png_of(header: bytes, rows: bytes, *more: tuple[bytes, bytes]) -> bytes:
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def raw_profile() -> PngImagePlugin.PngInfo:
    """EXIF as ImageMagick writes it into a PNG."""
    body = b"Exif\x00\x00" + exif(6)
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(body):8}\n{body.hex()}\n", zip=True)
    return info


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def files() -> dict[str, bytes]:
    picture, grey = smooth(), smooth().convert("L")
    translucent = picture.copy()
    translucent.putalpha(grey)
    made = {
        "png": saved(picture, "PNG"),
        "png-grey": saved(grey, "PNG"),
        "png-grey-alpha": saved(translucent.convert("LA"), "PNG"),
        "png-palette": saved(picture.quantize(64), "PNG"),
        "png-transparent": saved(translucent, "PNG"),
        "png-16-bit-grey": saved(deep_grey(), "PNG"),
        "png-16-bit-colours": deep_colours(),
        "png-16-bit-transparent": grey_with_a_transparent_value(),
        "png-bilevel": saved(grey.convert("1"), "PNG"),
        "png-raw-profile": saved(picture, "PNG", pnginfo=raw_profile()),
        "jpeg": saved(picture, "JPEG", quality=95, subsampling=0),
        "jpeg-grey": saved(grey, "JPEG", quality=95),
        "jpeg-cmyk": saved(picture.convert("CMYK"), "JPEG", quality=95, subsampling=0),
        "jpeg-progressive": saved(picture, "JPEG", quality=95, subsampling=0, progressive=True),
        "jpeg-xmp": saved(picture, "JPEG", quality=95, subsampling=0, xmp=XMP),
        "jpeg-damaged-exif": saved(picture, "JPEG", quality=95, subsampling=0, exif=exif(6)[:-6] + b"\xff\xff\xff"),
        "jpeg-no-exif": saved(picture, "JPEG", quality=95, subsampling=0, exif=b"Exif\x00\x00nonsense"),
        "webp": saved(picture, "WEBP", quality=95),
        "webp-lossless": saved(translucent, "WEBP", lossless=True),
        "webp-exif": saved(picture, "WEBP", lossless=True, exif=exif(6)),
        "webp-xmp": saved(picture, "WEBP", lossless=True, xmp=XMP),
        "gif": saved(picture.quantize(64), "GIF"),
        "bmp": saved(picture, "BMP"),
        "avif": saved(picture, "AVIF", quality=95, subsampling="4:4:4"),
        "avif-exif": saved(picture, "AVIF", quality=95, subsampling="4:4:4", exif=exif(6)),
        "needle": saved(picture.resize((2000, 3)), "PNG"),
    }
    for orientation in range(1, 9):
        made[f"jpeg-exif-{orientation}"] = saved(picture, "JPEG", quality=95, subsampling=0, exif=exif(orientation))
        made[f"png-exif-{orientation}"] = saved(picture, "PNG", exif=exif(orientation))
    return made


FILES = files()


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Iterator[Page]:
    """A page with nothing but the pictures; a screenshot of them is taken."""
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "pictures.png", full_page=True)
    page.close()


@pytest.mark.parametrize("name", FILES)
def test_the_loader_decodes_what_chromium_draws(blank, name):
    kind = name.partition("-")[0]
    address = f"data:image/{kind};base64,{base64.b64encode(FILES[name]).decode()}"
    height, width, values = blank.evaluate(DRAW, address)
    drawn: NDArray[np.int_] = np.reshape(values, (height, width, 4))[..., :3]
    decoded = np.asarray(decode(FILES[name], 10**6).pixels).astype(int)
    assert decoded.shape == drawn.shape
    assert np.abs(decoded - drawn).max() <= WITHIN

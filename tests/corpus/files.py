"""The corpus's files, made anew each time: small, and the same bytes on every machine."""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

__all__ = ["FILES"]


def saved(kind: str, *frames: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, kind, **options, **({"save_all": True, "append_images": frames[1:]} if frames[1:] else {}))
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG that claims a size; what it holds are the chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    return saved(kind, Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue"))


def endless_scans() -> bytes:
    start, *scans = saved("JPEG", Image.new("L", (64, 64)), progressive=True).split(b"\xff\xda")
    return b"\xff\xda".join([start, *scans[:-1], *[scans[-1][:-2]] * 5000]) + b"\xff\xd9"


def huge_canvas() -> bytes:
    """A WebP of one pixel on a canvas of 16383 x 16383."""
    pixel = saved("WEBP", Image.new("RGB", (1, 1)), lossless=True)[12:]
    side = struct.pack("<I", 16382)[:3]
    frame = bytes(6) + bytes(10) + pixel
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + side * 2 + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    body += b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def many_strips(strips: int) -> bytes:
    """A TIFF whose pixels claim to lie in so many strips."""
    tags = [(256, 3, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (262, 3, 1, 1), (278, 4, 1, 1)]
    places = [(273, 4, strips, 8), (279, 4, strips, 8)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted([*tags, *places]))
    body = bytes(4 * strips)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", 7) + entries + bytes(4)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/"/><script>alert(1)</script></svg>'
XXE = b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>'
FILES: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "page.html": lambda: b"<!DOCTYPE html><script>alert(1)</script>",
    "drawing.svg": lambda: SVG,
    "entities.svg": lambda: XXE,
    "document.pdf": lambda: b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
    "script.eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
    "pickle.png": lambda: pickle.dumps(print),
    "icon.ico": lambda: saved("ICO", Image.new("RGB", (16, 16))),
    "truncated.png": lambda: saved("PNG", Image.effect_noise((32, 32), 50))[:200],
    "hollow.png": lambda: png(4, 4),
    "wide.png": lambda: png(8000, 8000),
    "bomb.png": lambda: png(60_000, 60_000),
    "text_bomb.png": lambda: png(4, 4, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 1))),
    "endless_scans.jpg": endless_scans,
    "huge_canvas.webp": huge_canvas,
    "strips.tiff": lambda: many_strips(110_000),
    "animated.gif": lambda: animated("GIF"),
    "animated.png": lambda: animated("PNG"),
    "animated.webp": lambda: animated("WEBP"),
    "pages.tiff": lambda: animated("TIFF"),
    "large.png": lambda: bytes(1_100_000),
}

"""How many parts an image file has, counted before a decoder makes an object of each."""

import struct
from collections.abc import Iterator

__all__ = ["MOST_PARTS", "has_too_many_parts"]

MOST_PARTS = 100_000  # large files of real cameras and editors have some thousand
START_OF_SCAN = 0xDA
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
TIFFS = {b"II*\0": "<", b"MM\0*": ">"}
BIG_TIFFS = {b"II+\0": "<", b"MM\0+": ">"}
BYTES = {1, 2, 6, 7}  # TIFF's types of values that are one byte each


def has_too_many_parts(content: bytes) -> bool:
    """Whether a JPEG has more than MOST_PARTS segments before its pixels, a PNG more chunks, or a tag of a TIFF's first
    directory more values, such as places of strips. Files that are cut off are for the decoder to refuse."""
    try:
        if content.startswith(JPEG):
            return _are_many(_segments(content))
        if content.startswith(PNG):
            return _are_many(_chunks(content))
        return any(count > MOST_PARTS for count in _counts(content))
    except (struct.error, IndexError):
        return False


def _are_many(parts: Iterator[int]) -> bool:
    return next((True for number, _ in enumerate(parts, 1) if number > MOST_PARTS), False)


def _segments(content: bytes) -> Iterator[int]:
    place = 2
    while content[place] == 0xFF and content[place + 1] != START_OF_SCAN:
        yield place
        if content[place + 1] == 0xFF:  # a fill byte
            place += 1
        else:
            (length,) = struct.unpack_from(">H", content, place + 2)
            place += 2 + max(length, 2)


def _chunks(content: bytes) -> Iterator[int]:
    place = len(PNG)
    while place + 8 <= len(content):
        yield place
        (length,) = struct.unpack_from(">I", content, place)
        place += 12 + length


def _counts(content: bytes) -> Iterator[int]:
    """How many values each tag of a TIFF's first directory has, those that are bytes left out, and how many tags."""
    start = content[:4]
    if start in TIFFS:
        order, place, number, entry = TIFFS[start], "I", "H", "HHI4x"
        (first,) = struct.unpack_from(order + place, content, 4)
    elif start in BIG_TIFFS:
        order, place, number, entry = BIG_TIFFS[start], "Q", "Q", "HHQ8x"
        (first,) = struct.unpack_from(order + place, content, 8)
    else:
        return
    (tags,) = struct.unpack_from(order + number, content, first)
    yield tags
    at = first + struct.calcsize(order + number)
    for tag in range(tags):
        _, kind, count = struct.unpack_from(order + entry, content, at + tag * struct.calcsize(order + entry))
        if kind not in BYTES:
            yield count

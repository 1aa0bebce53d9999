"""Masks in Label Studio's run-length format for brushes: thi.ng's rle-pack of the flattened RGBA image.

Bits: a header of 32 + 5 + 4 x 4 (number of bytes, bits in a byte - 1, bits in each kind of run length - 1), then for
each run 1, the kind of its length (2 bits), length - 1, and the byte that is repeated. Label Studio reads only alpha.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode"]

CHANNELS = 4
WORD_BITS = 8
LENGTH_BITS = np.array([3, 4, 8, 16], np.uint32)
LONGEST = 2**16  # bytes in one run
KIND_AND_FLAG_BITS = 3


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of a mask, bool [H, W], each in 0..255; equal to those that label-studio-sdk's `mask2rle` makes.

    Twenty times as fast, and the faster the smaller the box is that holds something.
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], _changes(mask)])
    runs = np.diff(starts, append=flat.size) * CHANNELS
    kinds = np.searchsorted(2 ** LENGTH_BITS[:-1].astype(np.int64), runs).astype(np.uint32)
    parts = (runs - 1) // LONGEST + 1
    lengths, kinds = _split(runs, parts), np.repeat(kinds, parts)
    values = np.repeat(np.where(flat[starts], np.uint32(255), np.uint32(0)), parts)
    widths = LENGTH_BITS[kinds]
    codes = ((4 + kinds) << widths | lengths - 1) << WORD_BITS | values
    bits = np.concatenate([_header(flat.size * CHANNELS), _bits(codes, KIND_AND_FLAG_BITS + widths + WORD_BITS)])
    packed: list[int] = np.packbits(bits).tolist()
    return packed if bits.size % 8 else [*packed, 0]  # as label-studio-sdk ends it


def _changes(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The pixels of a mask, counted row by row, that differ from the one before."""
    width = mask.shape[1]
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return rows
    top, bottom = rows[0], rows[-1] + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = columns[0], columns[-1] + 1
    changes: NDArray[np.intp]
    if left == 0 or right == width:  # the first pixel of a row may differ from the last of the row before
        first, last = max(top * width - 1, 0), bottom * width + 1
        part = mask.ravel()[first:last]
        changes = np.flatnonzero(part[1:] != part[:-1]) + 1 + first
    else:
        box = mask[top:bottom, left - 1 : right + 1]
        row, column = np.divmod(np.flatnonzero(box[:, 1:] != box[:, :-1]), box.shape[1] - 1)
        changes = (top + row) * width + left + column
    return changes


def _split(runs: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Lengths of runs that are split into `parts`: of LONGEST each, with the rest at the end."""
    lengths = np.full(parts.sum(), LONGEST, np.uint32)
    lengths[np.cumsum(parts) - 1] = runs - (parts - 1) * LONGEST
    return lengths


def _header(size: int) -> NDArray[np.uint8]:
    fields = [f"{size:032b}", f"{WORD_BITS - 1:05b}", *(f"{bits - 1:04b}" for bits in LENGTH_BITS)]
    return np.array([int(bit) for bit in "".join(fields)], np.uint8)


def _bits(codes: NDArray[np.uint32], widths: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The lower `widths` bits of `codes` [R], one after the other, highest first."""
    aligned = (codes << (32 - widths)).astype(">u4")
    bits = np.unpackbits(aligned.view(np.uint8).reshape(-1, 4), axis=1)  # [R, 32]
    return bits[np.arange(32) < widths[:, None]]

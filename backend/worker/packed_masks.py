"""Masks that wait to be drawn, in little memory."""

import math
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedMasks"]

Mask = NDArray[np.bool_]


class PackedMasks(Sequence[Mask]):
    """Masks, bool [H, W], a bit for each pixel; each is unpacked when it is asked for."""

    def __init__(self, masks: Iterable[Mask]) -> None:
        self._packed = [(np.packbits(mask), mask.shape) for mask in masks]

    def __len__(self) -> int:
        return len(self._packed)

    @overload
    def __getitem__(self, number: int) -> Mask: ...

    @overload
    def __getitem__(self, number: slice) -> list[Mask]: ...

    def __getitem__(self, number: int | slice) -> Mask | list[Mask]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        bits, shape = self._packed[number]
        return np.unpackbits(bits, count=math.prod(shape)).view(np.bool_).reshape(shape)

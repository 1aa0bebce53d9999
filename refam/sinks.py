"""Global attention sinks: tokens that draw much attention, and the same everywhere."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_sinks", "shares", "variations"]


def shares(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each token's part of the text softmax, averaged over patches: [N], for maps [N, h, w]. Sums to 1."""
    means: NDArray[np.float64] = maps.mean(axis=(1, 2), dtype=np.float64)
    return means


def variations(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each map's spatial coefficient of variation, standard deviation / mean: [N], for maps [N, h, w]."""
    deviations: NDArray[np.float64] = maps.std(axis=(1, 2), dtype=np.float64)
    ratios: NDArray[np.float64] = deviations / np.maximum(shares(maps), np.finfo(np.float64).tiny)
    return ratios


def find_sinks(maps: NDArray[np.float32], share: float, variation: float) -> NDArray[np.bool_]:
    """Which of N tokens are global attention sinks: [N], for maps [N, h, w].

    A sink's share is at least `share` / N, and its coefficient of variation at most `variation`.
    """
    return (shares(maps) >= share / len(maps)) & (variations(maps) <= variation)

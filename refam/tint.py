"""A mask shown on its picture."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["tinted"]


def tinted(
    picture: NDArray[np.float32],
    share: NDArray[np.float32] | NDArray[np.bool_],
    colour: tuple[int, int, int],
    opacity: float,
    outside: float = 1.0,
) -> NDArray[np.float32]:
    """picture: [H, W, 3] in 0..255. share: [H, W] in [0, 1], how much of each pixel the mask covers.

    colour: 0..255, laid over the mask with that opacity. outside: brightness of the rest, in [0, 1].
    Returns [H, W, 3] in 0..255.
    """
    covered = np.asarray(share, np.float32)[..., None]
    inside = (1 - opacity) * picture + opacity * np.array(colour, np.float32)
    mixed: NDArray[np.float32] = (covered * inside + (1 - covered) * outside * picture).astype(np.float32)
    return mixed

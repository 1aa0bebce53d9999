"""What the method answers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from refam.confidence import Signals, confidence
from refam.heatmap import Point
from refam.sam import Candidate
from refam.text import Text, Token

__all__ = ["Grounding", "Mask", "Segmentation", "Selection"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grounding:
    """Where an expression points to in an image.

    Attributes:
        tokens: the N text tokens with their roles: which are sinks, and which are kept.
        maps: [N, h, w] float32, each token's attention over the patches; they sum to 1 in every patch.
        heatmap: [h, w] float32, the kept maps combined.
        focus: [h, w] float32 in [0, 1], the heatmap stretched and biased towards the positions and the relations that
            the expression names.
        points: peaks of the focus in image pixels; the first is the highest.
        text: what the transformer read, and what it says.
    """

    tokens: list[Token]
    maps: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    focus: NDArray[np.float32]
    points: list[Point]
    text: Text


@dataclass(frozen=True)
class Segmentation:
    """The masks of what an expression refers to.

    Attributes:
        grounding: what led to them; None where the transformer did not run, since a noun told all.
        text: what was read.
        masks: each [H, W] bool, at the image's size: one for each thing that is meant, or none.
        size: (width, height) of the image.
        signals: what tells whether they are right.
        warnings: what of the expression was not understood.
    """

    grounding: Grounding | None
    text: Text
    masks: list[Mask]
    size: tuple[int, int]
    signals: Signals
    warnings: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """In [0, 1], how sure it is that this is what is meant: see `refam.confidence`."""
        return confidence(self.signals) if self.masks else 0.0

    @cached_property
    def mask(self) -> Mask:
        """[H, W] bool: all masks as one."""
        mask = np.zeros(self.size[::-1], dtype=bool)
        for each in self.masks:
            mask |= each
        return mask


@dataclass(frozen=True)
class Selection:
    """The mask of what clicks select.

    Attributes:
        focus: [h, w] float32, the text's focus as far as the clicks mean it; None where the clicks decide alone.
        mask: [H, W] bool, at the image's size.
        score: in [0, 1]: the IoU that SAM predicts, times the mask's correlation with the focus, if there is one.
        candidates: SAM's masks it was chosen from; empty where the heatmap was thresholded, since there is no SAM or it
            found nothing.
        warnings: what of the expression was not understood.
    """

    focus: NDArray[np.float32] | None
    mask: Mask
    score: float
    candidates: list[Candidate]
    warnings: tuple[str, ...] = ()

    @property
    def masks(self) -> list[Mask]:
        """The mask, as a Segmentation has them."""
        return [self.mask]

"""What differs between the generations of Segment Anything."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Features", "Prompts", "SamModel", "in_numbers_that_hold"]

logger = logging.getLogger(__name__)

Features = tuple[Tensor, ...]  # of one image, as the model's decoder takes them


class Prompts(NamedTuple):
    """B prompts on one image, in pixels of the model's square input.

    Attributes:
        points: [B, n, 2] (x, y) float32, and labels [B, n], 1 where the target is and 0 where it is not; or None.
        box: [1, 4] (left, top, right, bottom) float32, of a single prompt; or None.
        mask: [1, 1, l, l] float32, the decoder's own logits of an answer that the prompt refines; or None.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    box: Tensor | None = None
    mask: Tensor | None = None


class SamModel(Protocol):
    """A model with its weights, on its device.

    Attributes:
        side: of its square input, in pixels.
        half: whether its image encoder computes in 16 bits; on a GPU, the small rest then multiplies in TF32.
        answers_clearly: whether it was trained to give one mask where a prompt leaves no doubt, as its authors advise.
    """

    side: int
    half: bool
    answers_clearly: bool

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) that an image of a size has in the square, from its left upper corner on."""
        ...

    def embed(self, pixels: Tensor) -> Features:
        """Features of an image of that size, uint8 [1, 3, h, w] in main memory."""
        ...

    def decode(self, features: Features, prompts: Prompts, *, several: bool) -> tuple[Tensor, Tensor]:
        """Logits [B, M, l, l] float32 over the square, and the IoUs [B, M] that it predicts. several: M masks for each
        prompt, which may mean a thing or a part of it, or one."""
        ...


def in_numbers_that_hold(encoder: Any, encode: Callable[[], Features]) -> Features:
    """What `encode` gives; if the encoder computes in fp16, and the image goes beyond that, it is put to bf16 first."""
    features = encode()
    if next(encoder.parameters()).dtype is torch.float16 and not all(part.isfinite().all() for part in features):
        logger.warning("REFAM_PRECISION: SAM's numbers go beyond fp16; from now on it computes in bf16.")
        encoder.to(torch.bfloat16)
        return encode()
    return features

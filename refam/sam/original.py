"""Segment Anything as it was first published, and this project's small one of the same classes."""

from typing import Any

import torch
from torch import Tensor

from refam.compilation import compile_blocks
from refam.sam.attention import table_positions
from refam.sam.model import Features, Prompts, in_numbers_that_hold

__all__ = ["OriginalSam"]


class OriginalSam:
    """See refam.sam.model.SamModel. An image keeps its proportions; the rest of the square is padding.

    model: a segment_anything.modeling.Sam.
    half: whether its image encoder computes in fp16, or in bf16 once an image goes beyond what fp16 holds.
    compiled: whether the image encoder's blocks are compiled. Raises ConfigError where that cannot be.
    """

    def __init__(self, model: Any, *, answers_clearly: bool = True, half: bool = False, compiled: bool = False) -> None:
        self.inner = model
        self.answers_clearly = answers_clearly
        self.side = int(model.image_encoder.img_size)
        table_positions(model.image_encoder)
        self.half = half
        if compiled:
            compile_blocks(model.image_encoder.blocks)
        if half:
            model.image_encoder.to(torch.float16)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.inner.device
        return device

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """As segment-anything's own, but at least 1, which a needle's would not be."""
        scale = self.side / max(size)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def embed(self, pixels: Tensor) -> Features:
        """Features [1, C, grid, grid], fp32."""
        square, encoder = self.inner.preprocess(pixels.to(self.device, non_blocking=True)), self.inner.image_encoder
        return in_numbers_that_hold(encoder, lambda: (encoder(square.to(next(encoder.parameters()).dtype)).float(),))

    def decode(self, features: Features, prompts: Prompts, *, several: bool) -> tuple[Tensor, Tensor]:
        """Masks and predicted IoUs."""
        model = self.inner
        sparse, dense = model.prompt_encoder(
            points=None if prompts.points is None else (prompts.points, prompts.labels),
            boxes=prompts.box,
            masks=prompts.mask,
        )
        logits, ious = model.mask_decoder(
            image_embeddings=features[0],
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
        )
        return logits, ious

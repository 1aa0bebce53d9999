"""SAM 2 and SAM 3's tracker, by transformers' models, which have the same parts.

Their processors need torchvision; what they do to an image and a prompt are the few lines here.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    Sam2Config,
    Sam2Model,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)

from refam.compilation import compile_blocks
from refam.sam.model import Features, Prompts, in_numbers_that_hold

__all__ = ["KINDS", "SAM3", "Kind", "LaterSam", "computing_in_its_numbers"]


class Kind(NamedTuple):
    """A generation, and how its pixels are normed: as fractions of 255, minus the mean, over the deviation."""

    model: Any
    config: Any
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


SAM2 = Kind(Sam2Model, Sam2Config, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # ImageNet's
SAM3 = Kind(Sam3TrackerModel, Sam3TrackerConfig, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# By what a config.json calls itself; the published ones are of the models for videos, of which these are parts
KINDS = {
    "sam2": SAM2,
    "sam2_video": SAM2,
    "sam3_tracker": SAM3,
    "sam3_tracker_video": SAM3,
    "sam3_video": SAM3,
}


class LaterSam:
    """See refam.sam.model.SamModel. An image is squashed to the square.

    half: whether its vision encoder computes in fp16, or in bf16 once an image goes beyond what fp16 holds.
    compiled: whether the vision encoder's blocks are compiled. Raises ConfigError where that cannot be.
    """

    answers_clearly = True

    def __init__(self, model: Any, kind: Kind, *, half: bool = False, compiled: bool = False) -> None:
        self.inner = model
        self.side = int(model.prompt_encoder.input_image_size)
        mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (kind.mean, kind.deviation))
        self._mean, self._deviation = mean.to(model.device), deviation.to(model.device)
        self.half = half
        encoder = model.vision_encoder
        if compiled:
            compile_blocks(_blocks_of(encoder.backbone))
        computing_in_its_numbers(encoder, half=half)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.inner.device
        return device

    def resized(self, _size: tuple[int, int]) -> tuple[int, int]:
        """The whole square."""
        return self.side, self.side

    def embed(self, pixels: Tensor) -> Features:
        """Features at three resolutions, the finest first, fp32."""
        fractions = pixels.to(self.device, non_blocking=True).float() / 255
        normed = (fractions - self._mean) / self._deviation
        return in_numbers_that_hold(self.inner.vision_encoder, lambda: tuple(self.inner.get_image_embeddings(normed)))

    def decode(self, features: Features, prompts: Prompts, *, several: bool) -> tuple[Tensor, Tensor]:
        """Masks and predicted IoUs. The model takes B prompts on one image as [1, B, ..]."""
        found = self.inner(
            image_embeddings=list(features),
            input_points=None if prompts.points is None else prompts.points[None],
            input_labels=None if prompts.labels is None else prompts.labels[None],
            input_boxes=None if prompts.box is None else prompts.box[None],
            input_masks=prompts.mask,
            multimask_output=several,
        )
        return found.pred_masks[0].float(), found.iou_scores[0].float()


def computing_in_its_numbers(vision_encoder: Any, *, half: bool) -> None:
    """Have a vision encoder take and give fp32, whatever it computes in: fp16, if half, and later perhaps bf16."""
    if half:
        vision_encoder.to(torch.float16)
    vision_encoder.register_forward_pre_hook(_to_its_numbers)
    vision_encoder.register_forward_hook(_to_fp32)


def _blocks_of(backbone: Any) -> Any:
    return backbone.blocks if hasattr(backbone, "blocks") else backbone.layers


def _to_its_numbers(encoder: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    number = next(encoder.parameters()).dtype
    return tuple(each.to(number) if isinstance(each, Tensor) else each for each in given)


def _to_fp32(_encoder: Any, _given: Any, found: Any) -> None:
    """The decoder, which is small, computes in fp32."""
    for name in ("fpn_hidden_states", "fpn_position_encoding"):
        found[name] = tuple(part.float() for part in found[name])

"""Transformers of FLUX.1's shape with random weights, and the passes through them that are compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest import mock

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.nn import functional

from refam.attention import AttentionMean
from refam.backbones.attention_reading import AttentionReading
from refam.backbones.blocks import blocks_up_to
from refam.backbones.flux1 import axes_of
from refam.backbones.latents import grid, tokens_of
from refam.backbones.registry import load_backbone
from refam.backbones.texts import Conditioning
from refam.backbones.transformer import TransformerBackbone
from refam.config import RefAMConfig
from refam.tiny import FLUX_FOLDER

__all__ = ["FLUX1_DEV", "Shape", "drawn", "passes", "prepare"]

FLUX1_DEV = {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": True}  # the rest are diffusers' defaults
CONFIG = RefAMConfig(model="black-forest-labs/FLUX.1-dev")
Inputs = tuple[Tensor, Conditioning]  # latents as patches, and the text
Pass = Callable[[TransformerBackbone, Inputs], None]


@dataclass(frozen=True)
class Shape:
    """FLUX.1's 19 + 38 blocks of 24 heads, with `head` channels a head, for `side` x `side` image tokens and `text`
    text tokens, or `padded` ones where they are padded, to 512 as in FLUX's own pipeline."""

    head: int
    side: int
    text: int = 19
    padded: int = 512

    @property
    def config(self) -> dict[str, Any]:
        third = self.head // 3 // 2 * 2
        return FLUX1_DEV | {
            "attention_head_dim": self.head,
            "axes_dims_rope": (self.head - 2 * third, third, third),
            "joint_attention_dim": 24 * self.head,
            "pooled_projection_dim": 64,
        }

    def inputs(self, device: str, *, padded: bool = False) -> Inputs:
        """Random latents, T5 embeddings and a pooled vector."""
        generator = torch.Generator().manual_seed(0)
        tokens = self.padded if padded else self.text

        def draw(*size: int) -> Tensor:
            return torch.randn(size, generator=generator).to(device, dtype(device))

        latents = draw(1, 64, self.side, self.side)
        return latents, Conditioning(draw(1, tokens, self.config["joint_attention_dim"]), tokens, draw(1, 64))

    def __str__(self) -> str:
        return f"19 + 38 blocks, 24 heads of {self.head}, {self.side**2:,} image and {self.text} text tokens"


def dtype(device: str) -> torch.dtype:
    """That in which the method runs on a device."""
    return torch.float32 if device == "cpu" else torch.bfloat16


def random_transformer(config: dict[str, Any], device: str) -> Any:
    """A transformer whose weights are drawn where they lie."""
    return drawn(lambda: FluxTransformer2DModel.from_config(config), dtype(device), device)


def drawn(build: Callable[[], Any], number: torch.dtype, device: str) -> Any:
    """A model whose weights are drawn on a device, which a GPU does in seconds."""
    with torch.device("meta"):
        model = build()
    model = model.to(number).to_empty(device=device).eval()
    generator = torch.Generator(device).manual_seed(0)
    for weight in (*model.parameters(), *model.buffers()):
        if weight.is_floating_point():
            weight.data.normal_(0, 0.02, generator=generator)
    return model


def backbone_of(transformer: Any) -> TransformerBackbone:
    """A backbone with the embedded text encoders and VAE, which no pass touches."""
    models = load_backbone(RefAMConfig(device="cpu"), str(FLUX_FOLDER), torch.device("cpu")).models
    return TransformerBackbone(replace(models, transformer=transformer), CONFIG)


class NoMean(AttentionMean):
    """Takes nothing in."""

    def add(self, query: Tensor, key: Tensor) -> None:
        pass


def captured(backbone: TransformerBackbone, inputs: Inputs) -> None:
    """RefAM's pass."""
    backbone.read(*inputs)


def stopped(backbone: TransformerBackbone, inputs: Inputs) -> None:
    """The same pass, reading nothing."""
    latents, text = inputs
    reading = AttentionReading(CONFIG.block_numbers, text.tokens, latents.shape[-1] ** 2, NoMean())
    with reading.of_a_pass():
        backbone.forward(*inputs)


def plain(backbone: TransformerBackbone, inputs: Inputs) -> None:
    """diffusers' own full pass."""
    latents, text = inputs
    side = latents.shape[-1]
    backbone.models.transformer(
        hidden_states=tokens_of(latents),
        encoder_hidden_states=text.embeddings,
        pooled_projections=text.pooled,
        timestep=latents.new_full((1,), 0.5),
        guidance=latents.new_full((1,), 1.0),
        img_ids=axes_of(grid(side, side)).to(latents.device),
        txt_ids=torch.zeros(text.embeddings.shape[1], 3, device=latents.device),
    )


def materialised(backbone: TransformerBackbone, inputs: Inputs) -> None:
    """The usual way of attention tools: a full pass over padded text, every block's attention matrix computed as such,
    and its part from image to text kept for each head and block until the end."""
    text = inputs[1].tokens
    kept: list[Tensor] = []

    def attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        kept.append(weights[:, :, text:, :text].clone())
        return weights @ value

    with mock.patch.object(functional, "scaled_dot_product_attention", attention):
        plain(backbone, inputs)
    torch.stack([maps.mean(dim=(0, 1)) for maps in kept]).mean(dim=0)


PASSES: dict[str, Pass] = {"captured": captured, "stopped": stopped, "plain": plain, "materialised": materialised}


def passes(shape: Shape, device: str = "cpu") -> dict[str, Callable[[], None]]:
    """All passes through one whole transformer, ready to run."""
    backbone = backbone_of(random_transformer(shape.config, device))
    return {name: _ready(name, backbone, shape, device) for name in PASSES}


def prepare(name: str, shape: Shape, device: str = "cpu") -> Callable[[], None]:
    """One pass, ready to run, through a transformer that holds only the blocks that it runs."""
    needed = {} if name in {"plain", "materialised"} else blocks_up_to(CONFIG.block_numbers[-1], FLUX1_DEV)
    return _ready(name, backbone_of(random_transformer(shape.config | needed, device)), shape, device)


def _ready(name: str, backbone: TransformerBackbone, shape: Shape, device: str) -> Callable[[], None]:
    inputs = shape.inputs(device, padded=name == "materialised")
    return torch.inference_mode()(partial(PASSES[name], backbone, inputs))

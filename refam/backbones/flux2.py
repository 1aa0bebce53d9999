"""FLUX.2-klein: fewer, wider steps, a language model for the text, and reference images beside what is drawn."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import Tensor
from transformers import Qwen2Tokenizer

from refam.backbones.family import ImageTokens, TextOptions
from refam.backbones.qwen import QwenReader, read_qwen
from refam.backbones.texts import Conditioning, TextEncoders
from refam.model_files import read_tokenizer

__all__ = ["Flux2"]

REFERENCE = 10  # the first axis of the first reference image's places, by Flux2KleinPipeline


class Flux2:
    """See refam.backbones.family.Family."""

    name = "flux2"
    transformer: Any = Flux2Transformer2DModel
    vae: Any = AutoencoderKLFlux2
    parts: tuple[str, ...] = ("transformer", "vae", "text_encoder", "tokenizer")
    edits = True

    def read_texts(self, folder: Path, options: TextOptions) -> QwenReader:
        """Qwen3, of whose layers the last quarter is not needed."""

        def read_encoder() -> tuple[Any]:
            return (read_qwen(folder, "text_encoder", options.dtype).to(options.device),)

        encoders = TextEncoders(read_encoder, keep=options.keep)
        return QwenReader(encoders, read_tokenizer(Qwen2Tokenizer, folder, "tokenizer"), slots=options.slots)

    def fill_up(self, transformer: Any, sizes: dict[str, Any]) -> None:
        """Nothing of the first blocks depends on the others."""

    def scaled(self, vae: Any, patches: Tensor) -> Tensor:
        """By the mean and variance that its batch norm has met."""
        norm = vae.bn
        mean, variance = (each.view(1, -1, 1, 1).to(patches) for each in (norm.running_mean, norm.running_var))
        deviation: Tensor = torch.sqrt(variance + vae.config.batch_norm_eps)
        scaled: Tensor = (patches - mean) / deviation
        return scaled

    def forward(self, transformer: Any, image: ImageTokens, text: Conditioning, timestep: float) -> Tensor:
        """One pass. Places have four axes: (reference, row, column, place in the text)."""
        values, device = image.values, image.values.device
        first = torch.zeros(len(image.places), 1)
        first[len(first) - image.reference :] = REFERENCE
        length = text.embeddings.shape[1]
        words = torch.cat([torch.zeros(length, 3), torch.arange(length)[:, None]], dim=1)
        velocity: Tensor = transformer(
            hidden_states=values,
            encoder_hidden_states=text.embeddings,
            timestep=values.new_full((1,), timestep),
            guidance=None,
            img_ids=torch.cat([first, image.places, torch.zeros_like(first)], dim=1).to(device),
            txt_ids=words.to(device),
            return_dict=False,
        )[0]
        return velocity

"""FLUX.1 and every model of its architecture."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from refam.backbones.family import ImageTokens, TextOptions
from refam.backbones.t5 import T5Reader
from refam.backbones.texts import Conditioning, TextEncoders
from refam.model_files import read_model, read_tokenizer

__all__ = ["Flux1", "axes_of", "inputs_of", "scaled_by_config"]

GUIDANCE = 1.0
REFERENCE = 1  # the first axis of a reference image's places, by FluxKontextPipeline


class Flux1:
    """See refam.backbones.family.Family. edits: whether it is Kontext."""

    transformer: Any = FluxTransformer2DModel
    vae: Any = AutoencoderKL
    parts: tuple[str, ...] = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

    def __init__(self, *, edits: bool = False) -> None:
        self.edits = edits
        self.name = "kontext" if edits else "flux1"

    def read_texts(self, folder: Path, options: TextOptions) -> T5Reader:
        """T5 for every token, CLIP for the text as a whole."""
        return T5Reader(
            TextEncoders(partial(_read_encoders, folder, options), keep=options.keep),
            read_tokenizer(T5Tokenizer, folder, "tokenizer_2"),
            read_tokenizer(CLIPTokenizer, folder, "tokenizer"),
            slots=options.slots,
        )

    def fill_up(self, transformer: Any, sizes: dict[str, Any]) -> None:
        """Nothing of the first blocks depends on the others."""

    def scaled(self, vae: Any, patches: Tensor) -> Tensor:
        """Shifted and scaled, as its config says."""
        return scaled_by_config(vae, patches)

    def forward(self, transformer: Any, image: ImageTokens, text: Conditioning, timestep: float) -> Tensor:
        """One pass."""
        guidance = image.values.new_full((1,), GUIDANCE) if transformer.config.guidance_embeds else None
        given = inputs_of(image, text, timestep)
        velocity: Tensor = transformer(**given, pooled_projections=text.pooled, guidance=guidance)[0]
        return velocity


def inputs_of(image: ImageTokens, text: Conditioning, timestep: float) -> dict[str, Any]:
    """What a transformer of this shape of sequence is called with."""
    values, device = image.values, image.values.device
    return {
        "hidden_states": values,
        "encoder_hidden_states": text.embeddings,
        "timestep": values.new_full((1,), timestep),
        "img_ids": axes_of(image.places, image.reference).to(device),
        "txt_ids": torch.zeros(text.embeddings.shape[1], 3, device=device),
        "return_dict": False,
    }


def axes_of(places: Tensor, reference: int = 0) -> Tensor:
    """Rotary positions [S, 3] of an image's tokens, of which the last `reference` are of a reference image: (whether
    they are, row, column). places: [S, 2]."""
    first = torch.zeros(len(places), 1)
    first[len(first) - reference :] = REFERENCE
    return torch.cat([first, places], dim=1)


def scaled_by_config(vae: Any, patches: Tensor) -> Tensor:
    """Latents shifted and scaled, as their VAE's config says."""
    return (patches - (vae.config.shift_factor or 0.0)) * float(vae.config.scaling_factor)


def _read_encoders(folder: Path, options: TextOptions) -> tuple[Any, Any]:
    t5 = read_model(T5EncoderModel, folder, "text_encoder_2", options.dtype).to(options.device)
    return t5, read_model(CLIPTextModel, folder, "text_encoder", options.dtype).to(options.device)

"""A diffusion transformer of any family that is supported, with one noised forward pass to read attention from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from refam.attention import AttentionMean
from refam.backbones import Piece
from refam.backbones.attention_reading import AttentionReading, blocks_of, open_attention
from refam.backbones.blocks import blocks_up_to, require_block
from refam.backbones.family import Family, ImageTokens, TextOptions
from refam.backbones.latents import PATCH, grid, patchify, tokens_of
from refam.backbones.quantization import quantizer
from refam.backbones.text_store import TextStore
from refam.backbones.texts import Conditioning, TextReader, Unit
from refam.cache import LRUCache
from refam.compilation import compile_blocks
from refam.config import RefAMConfig
from refam.errors import ConfigError, ModelNotFoundError
from refam.model_files import part_of, read_model
from refam.picture import Picture
from refam.pixels import PreparedPixels, tensor_of
from refam.precision import has_fast_bf16, is_half

__all__ = ["Models", "TransformerBackbone", "load_models"]

OTHER_BLOCKS = r"^(single_)?transformer_blocks\."


@dataclass(frozen=True)
class Models:
    """The parts of a pipeline that the method needs, with weights loaded.

    diffusers sets most attributes of its models dynamically, hence Any.
    """

    family: Family
    transformer: Any
    vae: Any
    texts: TextReader

    def randomised(self, seed: int) -> "Models":
        """The same architecture with an untrained transformer and text encoder: what its attention shows was never
        learned."""
        device, dtype = self.transformer.device, self.transformer.dtype
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            transformer = self.family.transformer.from_config(self.transformer.config)
            return replace(self, transformer=transformer.to(device, dtype).eval(), texts=self.texts.randomised())


def load_models(family: Family, folder: Path, config: RefAMConfig, device: torch.device) -> Models:
    """Load a pipeline's parts from a folder in diffusers' layout, in bf16 or fp32, the transformer's blocks only up to
    the last that is read.

    Where texts are encoded in main memory, that is done in bf16 only by a processor that multiplies it.
    Raises ModelNotFoundError if something is missing, ConfigError if the transformer has fewer blocks or cannot be
    quantised.
    """
    quantize_blocks = quantizer(config.quantize, device)
    last_block = config.block_numbers[-1]
    try:
        sizes = family.transformer.load_config(folder, subfolder="transformer")
        require_block(last_block, sizes["num_layers"] + sizes["num_single_layers"])
        text_device = device if config.text_encoder == "device" else torch.device("cpu")
        dtype = torch.bfloat16 if is_half(config.precision, device) else torch.float32
        text_dtype = dtype if text_device.type != "cpu" or has_fast_bf16() else torch.float32
        slots = None if config.text_padding == "none" else int(config.text_padding)
        # the text encoders first: dropped ones leave their memory to the transformer
        texts = family.read_texts(folder, TextOptions(text_device, text_dtype, config.text_encoder != "drop", slots))
        needed = blocks_up_to(last_block, sizes)
        transformer = read_model(part_of(family.transformer, OTHER_BLOCKS), folder, "transformer", dtype, **needed)
        family.fill_up(transformer, sizes)
        quantize_blocks(blocks_of(transformer))
        vae = read_model(family.vae, folder, "vae", dtype).to(device)
        return Models(family, transformer.to(device), vae, texts)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelNotFoundError(
            f"REFAM_MODEL: the model in {folder} could not be loaded ({error}). Where it was downloaded, download it "
            "again; else set REFAM_MODEL to a whole folder in diffusers' layout, to a hub id, or to 'tiny'."
        ) from error


class TransformerBackbone:
    """Token maps of one noised forward pass. See refam.backbones.Backbone.

    Raises ConfigError for a resolution that the VAE and the patches do not divide, for blocks that are not there, and
    for a reference image where the family knows none.
    """

    def __init__(self, models: Models, config: RefAMConfig) -> None:
        self.models = models
        self.config = config
        self._preset = config.preset
        self._blocks = config.block_numbers
        self._as_reference = config.preset.image_as == "reference"
        self._store = TextStore(Path(config.text_cache_dir)) if config.text_cache_dir else None
        self._texts: LRUCache[dict[str, Tensor]] = LRUCache(config.text_cache)
        self._latents: LRUCache[Tensor] = LRUCache(config.image_cache)
        self._prepared = PreparedPixels()
        pixels = 2 ** (len(models.vae.config.block_out_channels) - 1) * PATCH
        if self._preset.resolution % pixels:
            raise ConfigError(f"REFAM_RESOLUTION is {self._preset.resolution}; set it to a multiple of {pixels}.")
        if self._as_reference and not models.family.edits:
            raise ConfigError("REFAM_IMAGE_AS is 'reference', but this model knows no reference; set it to noised.")
        require_block(self._blocks[-1], len(blocks_of(models.transformer)))
        open_attention(models.transformer)
        if config.compile == "on":
            compile_blocks(blocks_of(models.transformer))

    def with_config(self, config: RefAMConfig) -> Self:
        """The same weights under other settings. Raises ConfigError for a resolution or blocks that do not fit them."""
        return type(self)(self.models, config)

    def randomised(self, seed: int) -> Self:
        """The same architecture, untrained: what its attention shows was never learned."""
        return type(self)(self.models.randomised(seed), self.config)

    @property
    def side(self) -> int:
        """Of the square that an image is squashed to, in pixels."""
        return self._preset.resolution

    def forget(self) -> None:
        """Keep nothing of the images and texts so far."""
        self._texts.clear()
        self._latents.clear()

    def tokenize(self, strings: Sequence[str]) -> list[list[Piece]]:
        """Each string's tokens as the text encoder reads them side by side."""
        return self.models.texts.tokenize(strings)

    @torch.inference_mode()
    def encode(self, texts: Sequence[Sequence[str]]) -> None:
        """Encode in one go what of these texts is not known yet."""
        units = (unit for strings in texts for unit in self.models.texts.units(strings))
        self._texts.get_all(list(units), self._read_units)

    def prepare(self, picture: Picture) -> None:
        """Squash an unknown image beforehand. Any thread may."""
        if picture.key not in self._latents and picture.key not in self._prepared:
            self._prepared.put(picture.key, self._pixels(picture))

    @torch.inference_mode()
    def token_maps(self, picture: Picture, strings: Sequence[str]) -> NDArray[np.float32]:
        """Attention maps [N, h, w] of the N tokens of `strings`, which sum to 1 in every patch."""
        text = self.conditioning(strings)
        latents = self._latents.get(picture.key, lambda: self._encode_image(picture))
        attention = self.read(latents, text)
        maps: NDArray[np.float32] = attention.T.reshape(-1, *latents.shape[-2:]).cpu().numpy()
        return maps

    def conditioning(self, strings: Sequence[str]) -> Conditioning:
        """What the transformer is told of strings that are read side by side."""
        reader = self.models.texts
        return reader.join(self._texts.get_all(reader.units(strings), self._read_units))

    def read(self, latents: Tensor, text: Conditioning) -> Tensor:
        """The mean attention [P, N] of the chosen blocks, fp32. The pass ends with the last of them."""
        patches = latents.shape[-2] * latents.shape[-1]
        reading = AttentionReading(self._blocks, text.tokens, patches, AttentionMean(self._preset.average))
        with reading.of_a_pass():
            self.forward(latents, text)
        return reading.mean.result()

    def forward(self, latents: Tensor, text: Conditioning) -> Tensor:
        """The transformer's velocity [1, S, C] for an image's latents [1, C, h, w]: noised, and with themselves as
        reference behind them, if that is wanted."""
        image, places = tokens_of(self._noised(latents)), grid(*latents.shape[-2:])
        if not self._as_reference:
            tokens = ImageTokens(image, places, reference=0)
        else:
            clean = tokens_of(latents.to(image.dtype))
            tokens = ImageTokens(torch.cat([image, clean], dim=1), torch.cat([places, places]), len(places))
        return self.models.family.forward(self.models.transformer, tokens, text, self._preset.timestep)

    def _read_units(self, units: Sequence[Unit]) -> list[dict[str, Tensor]]:
        """What the text reader gives, from disk where it is there, on the transformer's device."""
        keys = [json.dumps([self.models.texts.fingerprint, *unit]) for unit in units]
        stored = [self._store.get(key) if self._store else None for key in keys]
        unknown = [unit for unit, found in zip(units, stored, strict=True) if found is None]
        encoded = iter(self.models.texts.encode(unknown) if unknown else [])
        transformer, read = self.models.transformer, []
        for key, found in zip(keys, stored, strict=True):
            tensors = found or next(encoded)
            if self._store and found is None:
                self._store.put(key, tensors)
            read.append({name: each.to(transformer.device, transformer.dtype) for name, each in tensors.items()})
        return read

    def _encode_image(self, picture: Picture) -> Tensor:
        """The image's latents x_0 as patches, [1, C, h, w] in fp32: the posterior's mode in the transformer's scale."""
        vae, pixels = self.models.vae, self._prepared.take(picture.key, partial(self._pixels, picture))
        scaled = (pixels.to(vae.device, non_blocking=True).float() / 127.5 - 1).to(vae.dtype)
        return self.models.family.scaled(vae, patchify(vae.encode(scaled).latent_dist.mode().float()))

    def _pixels(self, picture: Picture) -> Tensor:
        """The image squashed to a square, uint8 [1, 3, side, side]."""
        return tensor_of(picture.resized((self.side, self.side), Image.Resampling.LANCZOS), self.models.vae.device)

    def _noised(self, latents: Tensor) -> Tensor:
        """x_t = (1 - t) x_0 + t eps. The noise is drawn on the CPU, so that every device gets the same."""
        t, (batch, channels, height, width) = self._preset.timestep, latents.shape
        cells = batch, channels // PATCH**2, height * PATCH, width * PATCH
        noise = patchify(torch.randn(cells, generator=torch.Generator().manual_seed(self.config.seed)))
        return ((1 - t) * latents + t * noise.to(latents.device)).to(self.models.transformer.dtype)

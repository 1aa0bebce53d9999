"""FLUX.1 and every model of its architecture, on diffusers' own FluxTransformer2DModel."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from refam.attention import AttentionMean
from refam.backbones import Piece
from refam.backbones.flux_attention import AttentionReading, PassCompleteError, blocks_of, open_attention, stopping
from refam.backbones.flux_models import FluxModels, load_flux, randomised, require_block
from refam.backbones.text_store import TextStore
from refam.cache import LRUCache
from refam.compilation import compile_blocks
from refam.config import RefAMConfig
from refam.errors import ConfigError
from refam.picture import Picture
from refam.pixels import PreparedPixels, tensor_of

__all__ = ["FluxBackbone", "pack", "patch_ids"]

GUIDANCE = 1.0
PATCH = 2  # latent cells to a token, on each axis


class FluxBackbone:
    """Token maps of one noised forward pass through FLUX. See refam.backbones.Backbone.

    Raises ConfigError for a resolution that the VAE and the patches do not divide.
    """

    def __init__(self, models: FluxModels, config: RefAMConfig) -> None:
        self.models = models
        self.config = config
        self._preset = config.preset
        self._blocks = config.block_numbers
        self._seed = config.seed
        self._average = config.preset.average
        self._store = TextStore(Path(config.text_cache_dir)) if config.text_cache_dir else None
        self._texts: LRUCache[tuple[Tensor, Tensor]] = LRUCache(config.text_cache)
        self._latents: LRUCache[Tensor] = LRUCache(config.image_cache)
        self._prepared = PreparedPixels()
        pixels = 2 ** (len(models.vae.config.block_out_channels) - 1) * PATCH
        if self._preset.resolution % pixels:
            raise ConfigError(f"REFAM_RESOLUTION is {self._preset.resolution}; set it to a multiple of {pixels}.")
        require_block(self._blocks[-1], len(blocks_of(models.transformer)))
        open_attention(models.transformer)
        if config.compile == "on":
            compile_blocks(blocks_of(models.transformer))

    @classmethod
    def from_config(cls, config: RefAMConfig, source: str, device: torch.device) -> Self:
        """Load the models that the configuration needs from `source`, a folder or a hub id."""
        models = load_flux(
            source,
            config.revision,
            config.block_numbers[-1],
            device,
            text_encoder=config.text_encoder,
            quantize=config.quantize,
            precision=config.precision,
        )
        return cls(models, config)

    def with_config(self, config: RefAMConfig) -> Self:
        """The same weights under other settings. Raises ConfigError for a resolution or blocks that do not fit them."""
        return type(self)(self.models, config)

    def randomised(self, seed: int) -> Self:
        """The same architecture, untrained: what its attention shows was never learned."""
        return type(self)(randomised(self.models, seed), self.config)

    @property
    def side(self) -> int:
        """Of the square that an image is squashed to, in pixels."""
        return self._preset.resolution

    def forget(self) -> None:
        """Keep nothing of the images and texts so far."""
        self._texts.clear()
        self._latents.clear()

    def tokenize(self, text: str) -> list[Piece]:
        """T5's tokens of a string, `</s>` included."""
        tokenizer = self.models.t5_tokenizer
        encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        return [
            Piece(piece, start, end, bool(special), number == tokenizer.unk_token_id)
            for piece, number, (start, end), special in zip(
                tokenizer.convert_ids_to_tokens(encoding["input_ids"]),
                encoding["input_ids"],
                encoding["offset_mapping"],
                encoding["special_tokens_mask"],
                strict=True,
            )
        ]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> None:
        """Encode in one go what of these texts is not known yet."""
        self._texts.get_all(texts, self._read_texts)

    def prepare(self, picture: Picture) -> None:
        """Squash an unknown image beforehand. Any thread may."""
        if picture.key not in self._latents and picture.key not in self._prepared:
            self._prepared.put(picture.key, self._pixels(picture))

    @torch.inference_mode()
    def token_maps(self, picture: Picture, texts: Sequence[str]) -> NDArray[np.float32]:
        """Attention maps [N, h, w] of the N tokens of `texts`, which sum to 1 in every patch."""
        embeddings, pooled = self._text_inputs(texts)
        latents = self._latents.get(picture.key, lambda: self._encode_image(picture))
        attention = self.read(self._noised(latents), embeddings, pooled)
        height, width = (side // PATCH for side in latents.shape[-2:])
        maps: NDArray[np.float32] = attention.T.reshape(-1, height, width).cpu().numpy()
        return maps

    def read(self, latents: Tensor, embeddings: Tensor, pooled: Tensor) -> Tensor:
        """The mean attention [P, N] of the chosen blocks, fp32. The pass ends with the last of them."""
        reading = AttentionReading(self._blocks, embeddings.shape[1], AttentionMean(self._average))
        with suppress(PassCompleteError), stopping(self.models.transformer, reading):
            self.forward(latents, embeddings, pooled, reading)
        return reading.mean.result()

    def forward(self, latents: Tensor, embeddings: Tensor, pooled: Tensor, reading: AttentionReading) -> Tensor:
        """The transformer's velocity for noised latents [1, C, H, W], packed to [1, P, 4 C], while its attention is
        read. embeddings: [1, N, E] of T5, pooled: [1, F] of CLIP."""
        transformer = self.models.transformer
        height, width = (side // PATCH for side in latents.shape[-2:])
        velocity: Tensor = transformer(
            hidden_states=pack(latents),
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            timestep=latents.new_full((1,), self._preset.timestep),
            guidance=latents.new_full((1,), GUIDANCE) if transformer.config.guidance_embeds else None,
            img_ids=patch_ids(height, width).to(latents.device),
            txt_ids=torch.zeros(embeddings.shape[1], 3, device=latents.device),
            joint_attention_kwargs={"reading": reading},
            return_dict=False,
        )[0]
        return velocity

    def _text_inputs(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """T5's embeddings of all texts' tokens, [1, N, E], and CLIP's pooled vector of the first, [1, F], on the
        transformer's device. Each text is encoded once: most are magnets, which follow every expression."""
        encoded = self._texts.get_all(texts, self._read_texts)
        return torch.cat([embeddings for embeddings, _ in encoded])[None], encoded[0][1]

    def _read_texts(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """What `_encode_texts` gives, from disk where it is there, on the transformer's device."""
        keys = [json.dumps([self.models.encoders.fingerprint, text]) for text in texts]
        stored = [self._store.get(key) if self._store else None for key in keys]
        unknown = [text for text, found in zip(texts, stored, strict=True) if found is None]
        encoded = iter(self._encode_texts(unknown) if unknown else [])
        transformer, read = self.models.transformer, []
        for key, found in zip(keys, stored, strict=True):
            parts = found or dict(zip(("embeddings", "pooled"), next(encoded), strict=True))
            if self._store and found is None:
                self._store.put(key, parts)
            embeddings, pooled = (
                parts[name].to(transformer.device, transformer.dtype) for name in ("embeddings", "pooled")
            )
            read.append((embeddings, pooled))
        return read

    def _encode_texts(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text T5's embeddings of its tokens without padding, [n, E], and CLIP's pooled vector, [1, F]."""
        with self.models.encoders.loaded() as (t5, clip):
            batch = self.models.t5_tokenizer(list(texts), padding=True, return_tensors="pt").to(t5.device)
            embeddings = t5(**batch).last_hidden_state  # [texts, longest, E]
            prompts = self.models.clip_tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                max_length=clip.config.max_position_embeddings,
                return_tensors="pt",
            ).to(clip.device)
            pooled = clip(**prompts).pooler_output
            valid = batch["attention_mask"].bool()
            return [(embeddings[i, valid[i]].clone(), pooled[i : i + 1].clone()) for i in range(len(texts))]

    def _encode_image(self, picture: Picture) -> Tensor:
        """The image's latents x_0, [1, C, H, W] in fp32: the posterior's mode, shifted and scaled."""
        vae, pixels = self.models.vae, self._prepared.take(picture.key, lambda: self._pixels(picture))
        scaled = (pixels.to(vae.device, non_blocking=True).float() / 127.5 - 1).to(vae.dtype)
        mode: Tensor = vae.encode(scaled).latent_dist.mode().float()
        return (mode - (vae.config.shift_factor or 0.0)) * float(vae.config.scaling_factor)

    def _pixels(self, picture: Picture) -> Tensor:
        """The image squashed to a square, uint8 [1, 3, side, side]."""
        return tensor_of(picture.resized((self.side, self.side), Image.Resampling.LANCZOS), self.models.vae.device)

    def _noised(self, latents: Tensor) -> Tensor:
        """x_t = (1 - t) x_0 + t eps. The noise is drawn on the CPU, so that every device gets the same."""
        t = self._preset.timestep
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(self._seed))
        return ((1 - t) * latents + t * noise.to(latents.device)).to(self.models.transformer.dtype)


def pack(latents: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H/2 * W/2, C * 4]: each 2 x 2 patch becomes one token."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * PATCH * PATCH)


def patch_ids(height: int, width: int) -> Tensor:
    """Rotary positions [h * w, 3] of the patches: (0, row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()

"""FLUX.1 and every model of its architecture, on diffusers' own FluxTransformer2DModel."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from huggingface_hub import snapshot_download
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from refam.attention import AttentionMean
from refam.backbones import Piece
from refam.cache import LRUCache, image_key
from refam.config import RefAMConfig
from refam.errors import ConfigError, ModelNotFoundError

__all__ = [
    "AttentionReading",
    "FluxBackbone",
    "FluxModels",
    "PassCompleteError",
    "load_flux",
    "pack",
    "patch_ids",
    "randomised",
]

GUIDANCE = 1.0
REMEDY = (
    "Set it to 'tiny', to a folder in diffusers' layout, or to a hub id; a gated one needs its licence accepted and "
    "HF_TOKEN set, and HF_HUB_OFFLINE allows only what is in the cache."
)
PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
VOCABULARIES = ("tokenizer.json", "spiece.model", "vocab.json")
PATCH = 2  # latent cells to a token, on each axis


class PassCompleteError(Exception):
    """Ends a forward pass once its last chosen block has been read. Not a failure."""


@dataclass(frozen=True)
class AttentionReading:
    """What one forward pass reads, handed to the processors as a keyword argument.

    Attributes:
        blocks: numbers of the chosen blocks, ascending; double-stream blocks first, single-stream blocks after them.
        text_tokens: N, the length of the text in the sequence.
        mean: takes in each chosen block's query and key.
        stop: whether the pass ends where the last chosen block has been read.
    """

    blocks: tuple[int, ...]
    text_tokens: int
    mean: AttentionMean
    stop: bool = True


class ReadingProcessor(FluxAttnProcessor):
    """diffusers' own processor of one block, which also shows its image queries and text keys to a reading.

    It keeps nothing between calls, and what it returns is diffusers' own result.
    """

    def __init__(self, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = number

    def __call__(  # noqa: PLR0917 - diffusers' order of arguments
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        reading: AttentionReading | None = None,
    ) -> Any:
        if reading is not None and self.number in reading.blocks:
            reading.mean.add(
                *_query_and_key(attn, hidden_states, encoder_hidden_states, image_rotary_emb, reading.text_tokens)
            )
            if reading.stop and self.number == reading.blocks[-1]:
                raise PassCompleteError
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)


def _query_and_key(
    attn: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None,
    image_rotary_emb: Any,
    text_tokens: int,
) -> tuple[Tensor, Tensor]:
    """Image queries [P, heads, d] and text keys [N, heads, d] as the block uses them: after norm and rotary embedding.

    A double-stream block projects image and text with weights of their own; a single-stream block gets both in one
    sequence, text first.
    """
    if encoder_hidden_states is None:
        text, image = hidden_states[:, :text_tokens], hidden_states[:, text_tokens:]
        key = attn.norm_k(attn.to_k(text).unflatten(-1, (-1, attn.head_dim)))
    else:
        text, image = encoder_hidden_states, hidden_states
        key = attn.norm_added_k(attn.add_k_proj(text).unflatten(-1, (-1, attn.head_dim)))
    query = attn.norm_q(attn.to_q(image).unflatten(-1, (-1, attn.head_dim)))  # [1, P, heads, d]
    if image_rotary_emb is not None:
        key = apply_rotary_emb(key, tuple(part[:text_tokens] for part in image_rotary_emb), sequence_dim=1)
        query = apply_rotary_emb(query, tuple(part[text_tokens:] for part in image_rotary_emb), sequence_dim=1)
    return query[0], key[0]


@dataclass(frozen=True)
class FluxModels:
    """The parts of a FluxPipeline that the method needs, with weights loaded.

    diffusers and transformers set most attributes of their models dynamically, hence Any.
    """

    transformer: Any  # FluxTransformer2DModel
    vae: Any  # AutoencoderKL
    t5: Any  # T5EncoderModel
    t5_tokenizer: Any  # T5Tokenizer
    clip: Any  # CLIPTextModel
    clip_tokenizer: Any  # CLIPTokenizer


def load_flux(source: str, revision: str | None, last_block: int, device: torch.device) -> FluxModels:
    """Load from a diffusers pipeline folder or a hub id, bf16 on a GPU and fp32 on a CPU.

    Of the transformer's blocks only those up to number `last_block` are loaded. huggingface_hub's own HF_TOKEN,
    HF_HOME and HF_HUB_OFFLINE apply.
    Raises ModelNotFoundError if something is missing, ConfigError if the transformer has fewer blocks.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16

    def load(kind: Any, part: str, **options: Any) -> Any:
        return kind.from_pretrained(folder, subfolder=part, **options)

    try:
        folder = _local_folder(source, revision)
        _require_vocabularies(folder)
        sizes = FluxTransformer2DModel.load_config(folder, subfolder="transformer")
        _require_block(last_block, sizes["num_layers"] + sizes["num_single_layers"])
        double = min(sizes["num_layers"], last_block + 1)
        single = last_block + 1 - double
        return FluxModels(
            transformer=load(
                _PartialFluxTransformer, "transformer", num_layers=double, num_single_layers=single, dtype=dtype
            ).to(device),
            vae=load(AutoencoderKL, "vae", dtype=dtype).to(device),
            t5=load(T5EncoderModel, "text_encoder_2", dtype=dtype).to(device),
            t5_tokenizer=load(T5Tokenizer, "tokenizer_2"),
            clip=load(CLIPTextModel, "text_encoder", dtype=dtype).to(device),
            clip_tokenizer=load(CLIPTokenizer, "tokenizer"),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelNotFoundError(
            f"REFAM_MODEL: no FLUX pipeline could be loaded from {source!r} ({error}). {REMEDY}"
        ) from error


def _local_folder(source: str, revision: str | None) -> Path:
    """A local pipeline folder as it is; of a hub id, what the cache holds or what is downloaded now.

    diffusers itself asks the hub about sharded weights even when it is offline, so it only ever gets a folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith(("/", ".", "~")):
        raise FileNotFoundError(f"there is no folder {folder}")
    return Path(snapshot_download(source, revision=revision, allow_patterns=[f"{part}/*" for part in PARTS]))


def _require_vocabularies(folder: Path) -> None:
    """transformers makes a tokenizer that knows no word of a folder without a vocabulary, and says nothing."""
    for part in ("tokenizer", "tokenizer_2"):
        if not any((folder / part / name).is_file() for name in VOCABULARIES):
            raise FileNotFoundError(f"{folder / part} has none of {', '.join(VOCABULARIES)}")


class _PartialFluxTransformer(FluxTransformer2DModel):
    """FluxTransformer2DModel that takes the weights of blocks it was not built with as a matter of course."""

    _keys_to_ignore_on_load_unexpected = (r"^(single_)?transformer_blocks\.",)


def _require_block(number: int, blocks: int) -> None:
    if number >= blocks:
        raise ConfigError(f"REFAM_BLOCKS asks for block {number}; set it to blocks from 0 to {blocks - 1}.")


def randomised(models: FluxModels, seed: int) -> FluxModels:
    """The same architecture with an untrained transformer and T5: what its attention shows was never learned."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel.from_config(models.transformer.config).to(models.transformer.device)
        t5 = T5EncoderModel(models.t5.config).to(models.t5.device)
    return replace(
        models, transformer=transformer.to(models.transformer.dtype).eval(), t5=t5.to(models.t5.dtype).eval()
    )


class FluxBackbone:
    """Token maps of one noised forward pass through FLUX. See refam.backbones.Backbone.

    Raises ConfigError for a resolution that the VAE and the patches do not divide.
    """

    def __init__(self, models: FluxModels, config: RefAMConfig) -> None:
        self.models = models
        self._preset = config.preset
        self._blocks = config.block_numbers
        self._seed = config.seed
        self._average = config.average
        self._texts: LRUCache[tuple[Tensor, Tensor]] = LRUCache(config.text_cache)
        self._latents: LRUCache[Tensor] = LRUCache(config.image_cache)
        pixels = 2 ** (len(models.vae.config.block_out_channels) - 1) * PATCH
        if self._preset.resolution % pixels:
            raise ConfigError(f"REFAM_RESOLUTION is {self._preset.resolution}; set it to a multiple of {pixels}.")
        blocks = [*models.transformer.transformer_blocks, *models.transformer.single_transformer_blocks]
        _require_block(self._blocks[-1], len(blocks))
        for number, block in enumerate(blocks):
            block.attn.set_processor(ReadingProcessor(number))

    @classmethod
    def from_config(cls, config: RefAMConfig, source: str, device: torch.device) -> Self:
        """Load the models that the configuration needs from `source`, a folder or a hub id."""
        return cls(load_flux(source, config.revision, config.block_numbers[-1], device), config)

    def tokenize(self, text: str) -> list[Piece]:
        """T5's tokens of a string, `</s>` included."""
        tokenizer = self.models.t5_tokenizer
        encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        return [
            Piece(piece, start, end, bool(special))
            for piece, (start, end), special in zip(
                tokenizer.convert_ids_to_tokens(encoding["input_ids"]),
                encoding["offset_mapping"],
                encoding["special_tokens_mask"],
                strict=True,
            )
        ]

    @torch.inference_mode()
    def token_maps(self, image: Image.Image, texts: Sequence[str]) -> NDArray[np.float32]:
        """Attention maps [N, h, w] of the N tokens of `texts`, which sum to 1 in every patch."""
        embeddings, pooled = self._texts.get(tuple(texts), lambda: self._encode_texts(texts))
        latents = self._latents.get(image_key(image), lambda: self._encode_image(image))
        mean = AttentionMean(self._average)
        reading = AttentionReading(self._blocks, embeddings.shape[1], mean)
        with suppress(PassCompleteError):
            self.forward(self._noised(latents), embeddings, pooled, reading)
        height, width = (side // PATCH for side in latents.shape[-2:])
        maps: NDArray[np.float32] = mean.result().T.reshape(-1, height, width).cpu().numpy()
        return maps

    def forward(self, latents: Tensor, embeddings: Tensor, pooled: Tensor, reading: AttentionReading) -> Tensor:
        """The transformer's velocity for noised latents [1, C, H, W], packed to [1, P, 4 C]; raises PassCompleteError
        where the reading stops. embeddings: [1, N, E] of T5, pooled: [1, F] of CLIP."""
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

    def _encode_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """T5's embeddings of all texts' tokens without padding, [1, N, E], and CLIP's pooled vector of the first."""
        t5, clip = self.models.t5, self.models.clip
        batch = self.models.t5_tokenizer(list(texts), padding=True, return_tensors="pt").to(t5.device)
        embeddings = t5(**batch).last_hidden_state  # [texts, longest, E]
        valid = embeddings[batch["attention_mask"].bool()]
        prompt = self.models.clip_tokenizer(
            texts[0], truncation=True, max_length=clip.config.max_position_embeddings, return_tensors="pt"
        ).to(clip.device)
        return valid[None], clip(**prompt).pooler_output

    def _encode_image(self, image: Image.Image) -> Tensor:
        """The image's latents x_0, [1, C, H, W] in fp32: the posterior's mode, shifted and scaled."""
        vae, side = self.models.vae, self._preset.resolution
        squashed = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(squashed)).permute(2, 0, 1)[None]  # [1, 3, side, side]
        scaled = (pixels.float() / 127.5 - 1).to(vae.device, vae.dtype)
        mode: Tensor = vae.encode(scaled).latent_dist.mode().float()
        return (mode - (vae.config.shift_factor or 0.0)) * float(vae.config.scaling_factor)

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

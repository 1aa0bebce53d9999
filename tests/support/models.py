"""Pipelines of each family with small random weights, in the hub's layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from refam.backbones import Piece

TEXTS = ("a largest orange goldfish", "_", "with")  # an expression and magnets
PIECES = [
    *("▁", "a", "_", "▁largest", "▁orange", "▁gold", "fish", "▁with", "▁the", "▁pink"),
    *("▁zebra", "▁ball", "▁on", "▁left", "▁of", "▁red", *"sbcdefg"),
]
DOUBLE, SINGLE = 2, 3


def t5_tokenizer() -> T5Tokenizer:
    """A Unigram tokenizer that splits the published example as T5's own does."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    return T5Tokenizer(vocab=[*special, *((piece, -float(len(PIECES))) for piece in PIECES)], extra_ids=0)


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level tokenizer that knows single letters."""
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters]
    return CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)}, merges=[], model_max_length=32
    )


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A byte-level tokenizer that knows some words and the marks of a chat."""
    words = " ".join(piece.strip("▁") for piece in PIECES if len(piece) > 2)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts = [f"{words} user assistant goldfish largest", words.replace(" ", "\n")] * 3
    tokenizer: Qwen2Tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        texts, 400, new_special_tokens=special, show_progress=False
    )
    return tokenizer


def random_pipeline(family: str = "flux1", *, guidance: bool = False) -> Any:
    """A whole pipeline of a family, its transformer of 2 double-stream and 3 single-stream blocks, with random
    weights."""
    torch.manual_seed(0)
    scheduler = FlowMatchEulerDiscreteScheduler()
    if family == "flux2":
        tokenizer = qwen_tokenizer()
        return Flux2KleinPipeline(
            scheduler, klein_vae(), Qwen3ForCausalLM(qwen_config(len(tokenizer))), tokenizer, klein_transformer()
        )
    if family == "chroma":
        return ChromaPipeline(scheduler, vae(), t5_encoder(), t5_tokenizer(), chroma_transformer())
    kind = FluxKontextPipeline if family == "kontext" else FluxPipeline
    return kind(
        scheduler, vae(), clip_encoder(), clip_tokenizer(), t5_encoder(), t5_tokenizer(), flux1_transformer(guidance)
    )


def t5_encoder() -> T5EncoderModel:
    """Of 2 layers."""
    return T5EncoderModel(
        T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, is_encoder_decoder=False)
    )


def clip_encoder() -> CLIPTextModel:
    """Of one layer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=60,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def qwen_config(words: int) -> Qwen3Config:
    """Narrow, but with as many layers as are joined, and more."""
    return Qwen3Config(
        vocab_size=words,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=30,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=512,
    )


VAE_SIZES: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 8],
    "norm_num_groups": 1,
    "latent_channels": 4,
    "layers_per_block": 1,
}


def vae() -> AutoencoderKL:
    """Half as fine as the image, 4 channels."""
    return AutoencoderKL(**VAE_SIZES, scaling_factor=0.7, shift_factor=0.1)


def klein_vae() -> Any:
    """The same, with a batch norm that has met something."""
    model: Any = AutoencoderKLFlux2(**VAE_SIZES)
    model.bn.running_mean.normal_()
    model.bn.running_var.uniform_(0.5, 2)
    return model


SIZES: dict[str, Any] = {
    "in_channels": 16,
    "num_layers": DOUBLE,
    "num_single_layers": SINGLE,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
}


def flux1_transformer(guidance: bool = False) -> FluxTransformer2DModel:
    """FLUX.1's, 2 heads of 12."""
    return FluxTransformer2DModel(**SIZES, pooled_projection_dim=8, guidance_embeds=guidance, axes_dims_rope=(4, 4, 4))


def chroma_transformer() -> ChromaTransformer2DModel:
    """Chroma's, 2 heads of 12."""
    return ChromaTransformer2DModel(
        **SIZES,
        axes_dims_rope=(4, 4, 4),
        approximator_num_channels=16,
        approximator_hidden_dim=20,
        approximator_layers=1,
    )


def klein_transformer() -> Flux2Transformer2DModel:
    """FLUX.2's, 2 heads of 16."""
    sizes = SIZES | {"attention_head_dim": 16, "joint_attention_dim": 24}
    return Flux2Transformer2DModel(**sizes, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False)


def save_pipeline(folder: Path, family: str = "flux1") -> None:
    """Write a random pipeline as on the hub, the transformer sharded with an index."""
    pipeline = random_pipeline(family)
    pipeline.save_pretrained(folder)
    for weights in (folder / "transformer").glob("*.safetensors"):
        weights.unlink()
    pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size="40KB")


def by_word(strings: Sequence[str]) -> list[list[Piece]]:
    """A tokenizer without sub-words."""
    return [_words(string) for string in strings]


def _words(string: str) -> list[Piece]:
    pieces, end = [], 0
    for word in string.split():
        start = string.index(word, end)
        end = start + len(word)
        pieces.append(Piece("▁" + word, start, end, special=False))
    return [*pieces, Piece("</s>", 0, 0, special=True)]

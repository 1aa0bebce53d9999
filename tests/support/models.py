"""A FluxPipeline and a Segment Anything with small random weights, in the hub's layout."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from refam.backbones import Piece
from refam.tiny.sam import build_sam

TEXTS = ("a largest orange goldfish", "_", "with")  # an expression and magnets
PIECES = [
    *("▁", "a", "_", "▁largest", "▁orange", "▁gold", "fish", "▁with", "▁the", "▁pink"),
    *("▁zebra", "▁ball", "▁on", "▁left", "▁of", "▁red", *"sbcdefg"),
]
DOUBLE, SINGLE = 2, 3
SAM_CONFIG = {
    "image_size": 64,
    "patch_size": 8,
    "width": 24,
    "depth": 2,
    "heads": 3,
    "window": 4,
    "decoder_width": 32,
}


def t5_tokenizer() -> T5Tokenizer:
    """A Unigram tokenizer that splits the published example as T5's own does."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    return T5Tokenizer(vocab=[*special, *((piece, -float(len(PIECES))) for piece in PIECES)], extra_ids=0)


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level tokenizer that knows single letters."""
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters]
    return CLIPTokenizer(vocab={piece: number for number, piece in enumerate(vocabulary)}, merges=[])


def random_pipeline(*, guidance: bool = False) -> FluxPipeline:
    """A whole FLUX of 2 double-stream and 3 single-stream blocks, 2 heads of 12, with random weights."""
    torch.manual_seed(0)
    t5 = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, is_encoder_decoder=False)
    clip = CLIPTextConfig(
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
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            block_out_channels=[8, 8],
            norm_num_groups=1,
            latent_channels=4,
            layers_per_block=1,
            scaling_factor=0.7,
            shift_factor=0.1,
        ),
        text_encoder=CLIPTextModel(clip),
        tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=DOUBLE,
            num_single_layers=SINGLE,
            attention_head_dim=12,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=8,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 4, 4),
        ),
    )


def save_sam(folder: Path) -> None:
    """Write a small SAM with random weights."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    (folder / "config.json").write_text(json.dumps(SAM_CONFIG))
    save_file(build_sam(SAM_CONFIG).state_dict(), folder / "model.safetensors")


def by_word(text: str) -> list[Piece]:
    """A tokenizer without sub-words."""
    pieces, end = [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        pieces.append(Piece("▁" + word, start, end, special=False))
    return [*pieces, Piece("</s>", 0, 0, special=True)]

"""A FluxPipeline folder and a Segment Anything folder with small random weights, in the hub's layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from refam.config import RefAMConfig
from refam.pipeline import RefAM
from refam.tiny.sam import build_sam

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


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder as on the hub, the transformer sharded with an index."""
    folder = tmp_path_factory.mktemp("flux")
    pipeline = random_pipeline()
    pipeline.save_pretrained(folder)
    for weights in (folder / "transformer").glob("*.safetensors"):
        weights.unlink()
    pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size="40KB")
    return folder


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAM's folder."""
    folder = tmp_path_factory.mktemp("sam")
    save_sam(folder)
    return folder


@pytest.fixture(scope="session")
def config(flux_folder: Path, sam_folder: Path) -> RefAMConfig:
    """Settings that read every block of the random models."""
    return RefAMConfig(model=str(flux_folder), sam=str(sam_folder), device="cpu", resolution=32, blocks="0-4")


@pytest.fixture(scope="session")
def refam(config: RefAMConfig) -> RefAM:
    """The whole method on random weights."""
    return RefAM.from_config(config)


@pytest.fixture(scope="session")
def image() -> Image.Image:
    """A picture of noise, 60 wide and 40 high."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))

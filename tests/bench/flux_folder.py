"""A FLUX.1 and a Segment Anything with random weights, as they lie on disk, at real sizes or at a reduced width."""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from refam.tiny import FLUX_FOLDER
from refam.torchvision_standins import import_segment_anything
from tests.bench.flux_shape import FLUX1_DEV, drawn

__all__ = ["REAL", "REDUCED", "TOY", "Size", "write_models"]


@dataclass(frozen=True)
class Size:
    """Of all models.

    head: channels of each of the transformer's 24 heads. blocks: its double-stream blocks; there are no others.
    t5, clip: width and layers. vae: channels of its stages. sam: "vit_h", or "tiny", which is the embedded one.
    resolution: of the square that the transformer takes. pixels: (width, height) of the images.
    """

    words: str
    head: int
    blocks: int
    t5: tuple[int, int]
    clip: tuple[int, int]
    vae: tuple[int, ...]
    sam: str
    resolution: int

    @property
    def reads(self) -> str:
        """The blocks whose attention is read: the later half, as of FLUX.1."""
        return f"{(self.blocks + 1) // 2}-{self.blocks - 1}"


REAL = Size(
    "FLUX.1-dev's and SAM vit_h's real sizes", 128, 19, (4096, 24), (768, 12), (128, 256, 512, 512), "vit_h", 1024
)
REDUCED = Size(
    "reduced width: heads of 16, T5 and CLIP of 128, the embedded SAM", 16, 19, (128, 24), (128, 12), (16, 32, 64, 64),
    "tiny", 512,
)  # fmt: skip
TOY = Size("toy size", 6, 2, (32, 1), (32, 1), (8, 8, 8, 8), "tiny", 64)


def write_models(folder: Path, size: Size, device: torch.device) -> tuple[Path, str]:
    """Write what `RefAM.from_config` loads. Returns the pipeline's folder, and what REFAM_SAM has to be.

    device: where the weights are drawn, which a GPU does in seconds.
    """
    flux = folder / "flux"
    for part in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(FLUX_FOLDER / part, flux / part)
    shutil.copy(FLUX_FOLDER / "model_index.json", flux)
    draw = partial(drawn, number=torch.bfloat16, device=str(device))
    _save(draw(lambda: FluxTransformer2DModel.from_config(_transformer(size))), flux / "transformer")
    _save(draw(lambda: T5EncoderModel(_t5(size))), flux / "text_encoder_2")
    _save(draw(lambda: CLIPTextModel(_clip(size))), flux / "text_encoder")
    _save(draw(lambda: AutoencoderKL.from_config(_vae(size))), flux / "vae")
    if size.sam == "tiny":
        return flux, "tiny"
    sam = draw(import_segment_anything().sam_model_registry[size.sam], number=torch.float32)
    torch.save(sam.state_dict(), folder / "sam.pth")
    return flux, str(folder / "sam.pth")


def _save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="10GB")


def _transformer(size: Size) -> dict[str, Any]:
    third = size.head // 3 // 2 * 2
    return FLUX1_DEV | {
        "num_layers": size.blocks,
        "num_single_layers": 0,
        "attention_head_dim": size.head,
        "axes_dims_rope": (size.head - 2 * third, third, third),
        "joint_attention_dim": size.t5[0],
        "pooled_projection_dim": size.clip[0],
    }


def _t5(size: Size) -> T5Config:
    width, layers = size.t5
    return T5Config(
        vocab_size=32128,
        d_model=width,
        d_kv=64 if width >= 4096 else width // 4,
        num_heads=64 if width >= 4096 else 4,
        d_ff=5 * width // 2,
        num_layers=layers,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )


def _clip(size: Size) -> CLIPTextConfig:
    known = json.loads((FLUX_FOLDER / "text_encoder" / "config.json").read_text())
    width, layers = size.clip
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=12 if width >= 768 else 4,
        max_position_embeddings=77,
        **{name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )


def _vae(size: Size) -> dict[str, Any]:
    stages = len(size.vae)
    return {
        "down_block_types": ["DownEncoderBlock2D"] * stages,
        "up_block_types": ["UpDecoderBlock2D"] * stages,
        "block_out_channels": list(size.vae),
        "layers_per_block": 2 if size.vae[-1] >= 512 else 1,
        "norm_num_groups": min(32, size.vae[0]),
        "latent_channels": 16,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }

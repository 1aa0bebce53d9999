"""The configurations that published models come with, by which their sizes are computed; no weights."""

import json
from pathlib import Path
from typing import Any

__all__ = ["write_published"]

VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 16,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
T5 = {
    "model_type": "t5",
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}
CLIP = {
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 49408,
}
QWEN_4B = {
    "model_type": "qwen3",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
}
KLEIN_4B = {
    "_class_name": "Flux2Transformer2DModel",
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
BLOCKS = {"in_channels": 64, "num_layers": 19, "num_single_layers": 38}
PUBLISHED: dict[str, dict[str, Any]] = {
    "FLUX.1": {
        "": "FluxPipeline",
        "transformer": {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True, **BLOCKS},
        "vae": VAE,
        "text_encoder": CLIP,
        "text_encoder_2": T5,
    },
    "Chroma1-HD": {
        "": "ChromaPipeline",
        "transformer": {"_class_name": "ChromaTransformer2DModel", **BLOCKS},
        "vae": VAE,
        "text_encoder": T5,
    },
    "FLUX.2-klein-4B": {
        "": "Flux2KleinPipeline",
        "transformer": KLEIN_4B,
        "vae": {"_class_name": "AutoencoderKLFlux2", "latent_channels": 32},
        "text_encoder": QWEN_4B,
    },
}


def write_published(folder: Path, name: str) -> Path:
    """Write a pipeline's configurations to a folder, which is returned."""
    for part, content in PUBLISHED[name].items():
        if not part:
            (folder / "model_index.json").write_text(json.dumps({"_class_name": content}))
        else:
            (folder / part).mkdir()
            (folder / part / "config.json").write_text(json.dumps(content))
    return folder

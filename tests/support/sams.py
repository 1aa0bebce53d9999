"""Segment Anything of each generation with small random weights, as their authors publish them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer, Sam2VideoConfig, Sam2VideoModel, Sam3VideoConfig, Sam3VideoModel

from refam.tiny.sam import build_sam

__all__ = ["SAVE", "save_sam", "save_sam2", "save_sam3"]

SAM_CONFIG = {
    "image_size": 64,
    "patch_size": 8,
    "width": 24,
    "depth": 2,
    "heads": 3,
    "window": 4,
    "decoder_width": 32,
}
DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
TRACKER: dict[str, Any] = {  # what follows things through a video, of which images need nothing
    "memory_attention_hidden_size": 32,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 32,
    "memory_encoder_hidden_size": 32,
    "memory_encoder_output_channels": 8,
    "mask_downsampler_embed_dim": 32,
    "memory_fuser_embed_dim": 32,
    "memory_fuser_intermediate_dim": 32,
}
SAM2_VISION: dict[str, Any] = {
    "model_type": "sam2_vision_model",
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 4, 4, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    },
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 32,
}
SAM3_VISION: dict[str, Any] = {
    "model_type": "sam3_vision_model",
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "global_attn_indexes": [1],
        "image_size": 56,
        "pretrain_image_size": 28,
        "window_size": 2,
        "patch_size": 14,
    },
    "fpn_hidden_size": 32,
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
}
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32}
DETECTOR: dict[str, Any] = {
    "model_type": "sam3",
    "vision_config": SAM3_VISION,
    "text_config": {
        "model_type": "clip_text_model",
        "vocab_size": 60,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 8,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    },
    "geometry_encoder_config": {**SMALL, "num_layers": 1},
    "detr_encoder_config": {**SMALL, "num_layers": 1},
    "detr_decoder_config": {**SMALL, "num_layers": 2, "num_queries": 10},
    "mask_decoder_config": {"hidden_size": 32, "num_attention_heads": 4},
}


def save_sam(folder: Path) -> None:
    """The first one, of this project's own making."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    (folder / "config.json").write_text(json.dumps(SAM_CONFIG))
    save_file(build_sam(SAM_CONFIG).state_dict(), folder / "model.safetensors")


def save_sam2(folder: Path) -> None:
    """SAM 2.1: the model for videos, of which the one for images is a part."""
    prompts = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    config = Sam2VideoConfig(
        vision_config=SAM2_VISION, prompt_encoder_config=prompts, mask_decoder_config=DECODER, image_size=64, **TRACKER
    )
    _save(folder, config, Sam2VideoModel)


def save_sam3(folder: Path) -> None:
    """SAM 3: the model for videos, of which detector and tracker are parts, and the detector's tokenizer, which knows
    single letters."""
    prompts = {"hidden_size": 32, "image_size": 56, "patch_size": 14, "mask_input_channels": 4}
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": SAM3_VISION,
        "prompt_encoder_config": prompts,
        "mask_decoder_config": DECODER,
        "image_size": 56,
        **TRACKER,
    }
    _save(folder, Sam3VideoConfig(detector_config=DETECTOR, tracker_config=tracker), Sam3VideoModel)
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters]
    CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)}, merges=[], model_max_length=32
    ).save_pretrained(folder)


def _save(folder: Path, config: Any, kind: Any) -> None:
    """With the names of weights that the model itself has, as in the published files."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = kind(config)
    config.save_pretrained(folder)
    weights = {name: weight.contiguous().clone() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


SAVE = {"original": save_sam, "sam2": save_sam2, "sam3": save_sam3}

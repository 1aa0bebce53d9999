"""A small Segment Anything, built from segment-anything's own classes."""

from functools import partial
from typing import Any

from torch import nn

from refam.torchvision_standins import import_segment_anything

SMALL_SAM = {"image_size": 128, "patch_size": 8, "width": 96, "depth": 4, "heads": 3, "window": 8, "decoder_width": 64}
GLOBAL_ATTENTION_EVERY = 2  # blocks; the others attend within windows
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, as in the published SAM


def build_sam(config: dict[str, int]) -> Any:
    """An untrained `segment_anything.modeling.Sam` with the keys of `SMALL_SAM`: image_size and patch_size in pixels,
    window in tokens, three mask candidates as in the published models.
    """
    modeling = import_segment_anything().modeling
    width, grid = config["decoder_width"], config["image_size"] // config["patch_size"]
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=config["image_size"],
            patch_size=config["patch_size"],
            embed_dim=config["width"],
            depth=config["depth"],
            num_heads=config["heads"],
            out_chans=width,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config["window"],
            global_attn_indexes=tuple(range(1, config["depth"], GLOBAL_ATTENTION_EVERY)),
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(config["image_size"], config["image_size"]),
            mask_in_chans=8,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=4 * width, num_heads=4),
            transformer_dim=width,
            iou_head_depth=2,
            iou_head_hidden_dim=width,
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )

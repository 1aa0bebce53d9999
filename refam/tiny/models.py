"""The small architectures, untrained: a FLUX pipeline's parts as diffusers and transformers define them.

These libraries set most attributes of their models dynamically, hence Any.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from refam.synthetic.captions import vocabulary

LATENT_CHANNELS = 4
TEXT_WIDTH, POOLED_WIDTH = 128, 16


def build_vae() -> Any:
    """4 times down, so that a transformer token of 2 x 2 latents covers 8 pixels.

    Residual branches start at zero: with the default start, colours came out wrong after a short training.
    """
    vae: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0,
        scaling_factor=1.0,
    )
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
    return vae


def build_transformer() -> Any:
    """2 double-stream and 4 single-stream blocks of 3 heads x 32. Modulations and output start at zero."""
    transformer: Any = FluxTransformer2DModel(
        patch_size=1,
        in_channels=LATENT_CHANNELS * 4,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=3,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(12, 10, 10),
    )
    modulations = [m.linear for m in transformer.modules() if type(m).__name__.startswith("AdaLayerNorm")]
    for layer in (*modulations, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


def build_t5() -> Any:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(build_t5_tokenizer()),
            d_model=TEXT_WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def build_clip() -> Any:
    """Frozen, with its last norm at zero: the pooled vector is then the same for every text, so that words can act
    through attention alone."""
    tokenizer = build_clip_tokenizer()
    clip: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=POOLED_WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    final_norm = next(m for name, m in clip.named_modules() if name.endswith("final_layer_norm"))
    assert isinstance(final_norm, nn.LayerNorm)  # noqa: S101
    nn.init.zeros_(final_norm.weight)
    nn.init.zeros_(final_norm.bias)
    return clip.requires_grad_(requires_grad=False)


def build_t5_tokenizer() -> Any:
    """A SentencePiece unigram tokenizer: each word of the captions is one piece, any other word falls into letters."""
    letters = [chr(c) for c in (*range(ord("a"), ord("z") + 1), *range(ord("0"), ord("9") + 1))] + list("_,.-'")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    pieces += [(letter, -12.0) for letter in letters]
    pieces += [(f"▁{word}", -3.0) for word in vocabulary() if word not in letters or word == "a"]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def build_clip_tokenizer() -> Any:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=77)


def build_pipeline(vae: Any, t5: Any, transformer: Any) -> Any:
    torch.manual_seed(0)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=build_clip(),
        tokenizer=build_clip_tokenizer(),
        text_encoder_2=t5,
        tokenizer_2=build_t5_tokenizer(),
        transformer=transformer,
    )

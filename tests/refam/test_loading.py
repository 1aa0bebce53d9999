"""What a model's folder must hold, and what of it is loaded: for FLUX.1, and by configuration, of all."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import ChromaTransformer2DModel, Flux2Transformer2DModel, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config

from refam import RefAM
from refam.backbones.attention_reading import blocks_of
from refam.backbones.blocks import blocks_up_to
from refam.backbones.chroma import Chroma
from refam.backbones.flux1 import Flux1
from refam.backbones.flux2 import Flux2
from refam.backbones.qwen import LAYERS, QwenLayers
from refam.backbones.registry import load_backbone
from refam.backbones.texts import Conditioning
from refam.backbones.transformer import Models, TransformerBackbone
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError
from tests.support.models import TEXTS, random_pipeline

CPU = torch.device("cpu")


def test_texts_of_several_expressions_are_encoded_in_one_call_and_magnets_once(config, image):
    refam, calls = RefAM.from_config(config), []
    with refam.backbone.models.texts.encoders.loaded() as (t5, _):
        t5.register_forward_hook(lambda _, given, kept: calls.append(len(kept.last_hidden_state)))
    refam.read(["the goldfish", "the red zebra", "", "the"])
    magnets = len(config.magnets.split())
    assert calls == [2 + magnets]
    assert np.array_equal(
        refam.segment(image, "the red zebra").mask, RefAM.from_config(config).segment(image, "the red zebra").mask
    )
    assert len(calls) == 1
    refam.segment(image, "a ball")
    assert calls[1:] == [1]


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_2"])
def test_pickled_weights_are_not_loaded(tmp_path, config, flux_folder, part):
    shutil.copytree(flux_folder, tmp_path / "flux")
    folder = tmp_path / "flux" / part
    weights = {}
    for file in folder.glob("*.safetensors*"):
        weights |= load_file(file) if file.suffix == ".safetensors" else {}
        file.unlink()
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin"):
        torch.save(weights, folder / name)
    with pytest.raises(ModelNotFoundError, match=rf"/{part} has no weights in the format safetensors.* convert them"):
        load_backbone(replace(config, model=str(tmp_path / "flux")), str(tmp_path / "flux"), CPU)
    save_file(weights, folder / "other.safetensors")  # that no loader looks for
    with pytest.raises(ModelNotFoundError, match=r"no file named \w+\.safetensors"):
        load_backbone(replace(config, model=str(tmp_path / "flux")), str(tmp_path / "flux"), CPU)


def test_guidance_distilled_models_get_a_guidance_of_one(refam, picture):
    transformer = random_pipeline(guidance=True).transformer.eval()
    seen = []
    transformer.time_text_embed.guidance_embedder.register_forward_pre_hook(lambda *_: seen.append(True))
    transformer.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["guidance"]), with_kwargs=True)
    guided = TransformerBackbone(replace(refam.backbone.models, transformer=transformer), refam.config)
    assert np.allclose(guided.token_maps(picture, TEXTS).sum(axis=0), 1, atol=1e-6)
    assert seen[0].tolist() == [1.0]
    assert seen[1]


KLEIN_4B = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
KLEIN_9B = KLEIN_4B | {
    "num_layers": 8,
    "num_single_layers": 24,
    "num_attention_heads": 32,
    "joint_attention_dim": 12288,
}
# What a repository's transformer/config.json says; the rest are diffusers' defaults
REAL = {
    "FLUX.1": (Flux1(), {"guidance_embeds": True}, 19 + 38, 4096),
    "Kontext": (Flux1(edits=True), {"guidance_embeds": True}, 19 + 38, 4096),
    "Chroma1-HD": (Chroma(), {}, 19 + 38, 4096),
    "FLUX.2-klein-4B": (Flux2(), KLEIN_4B, 5 + 20, 7680),
    "FLUX.2-klein-9B": (Flux2(), KLEIN_9B, 8 + 24, 12288),
}
KINDS = {Flux1: FluxTransformer2DModel, Chroma: ChromaTransformer2DModel, Flux2: Flux2Transformer2DModel}


def on_meta(kind, sizes):
    with torch.device("meta"):
        return kind.from_config(sizes)


def gigabytes(model):
    """In bf16."""
    return 2 * sum(weight.numel() for weight in model.parameters()) / 1e9


@pytest.mark.parametrize("name", REAL)
def test_the_real_thing_runs_to_its_last_block_on_the_meta_device(refam, name):
    family, sizes, blocks, width = REAL[name]
    transformer = on_meta(KINDS[type(family)], sizes)
    assert len(blocks_of(transformer)) == blocks
    config = RefAMConfig(model=f"org/{name}", family=family.name)
    backbone = TransformerBackbone(Models(family, transformer, refam.backbone.models.vae, None), config)
    text = Conditioning(torch.empty(1, 24, width, device="meta"), 19, torch.empty(1, 768, device="meta"))
    mean = backbone.read(torch.empty(1, transformer.config.in_channels, 64, 64, device="meta"), text)
    assert mean.shape == (64 * 64, 19)


@pytest.mark.parametrize(
    ("name", "whole", "loaded"),
    [
        ("FLUX.1", 23.8, 13.0),
        ("Chroma1-HD", 17.8, 9.2),
        ("FLUX.2-klein-4B", 7.75, 5.3),
        ("FLUX.2-klein-9B", 18.2, 10.7),
    ],
)
def test_only_a_part_of_the_real_weights_is_held(name, whole, loaded):
    family, sizes, _, _ = REAL[name]
    kind = KINDS[type(family)]
    last_block = RefAMConfig(model=name, family=family.name).block_numbers[-1]
    full = on_meta(kind, sizes)
    needed = blocks_up_to(last_block, full.config)
    assert gigabytes(full) == pytest.approx(whole, abs=0.06)
    assert gigabytes(on_meta(kind, sizes | needed)) == pytest.approx(loaded, abs=0.06)


def test_of_qwens_layers_a_quarter_is_left_out():
    sizes = {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_key_value_heads": 8}
    with torch.device("meta"):
        model = QwenLayers(Qwen3Config(**sizes, head_dim=128, num_hidden_layers=LAYERS[-1]))
    assert gigabytes(model) == pytest.approx(6.2, abs=0.1)

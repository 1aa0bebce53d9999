import gc
import logging
import os
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from torch.nn import functional

from refam import RefAM
from refam.attention import AttentionMean
from refam.backbones import flux_models
from refam.backbones.flux import FluxBackbone, pack
from refam.backbones.flux_attention import AttentionReading, PassCompleteError, ReadingProcessor, stopping
from refam.backbones.flux_models import load_flux, randomised
from refam.config import RefAMConfig
from refam.errors import ConfigError, ModelNotFoundError
from refam.picture import Picture
from tests.support.models import DOUBLE, SINGLE, TEXTS, random_pipeline

CPU = torch.device("cpu")


@pytest.fixture
def backbone(refam):
    return FluxBackbone(refam.backbone.models, refam.config)


@pytest.fixture
def inputs(backbone, picture):
    """Noised latents, T5 embeddings and pooled vector, as a pass takes them."""
    with torch.inference_mode():
        return backbone._noised(backbone._encode_image(picture)), *backbone._text_inputs(TEXTS)


def read(backbone, inputs, blocks, *, stop):
    mean = AttentionMean()
    reading = AttentionReading(blocks, text_tokens=inputs[1].shape[1], mean=mean)
    with torch.inference_mode():
        if stop:
            with pytest.raises(PassCompleteError), stopping(backbone.models.transformer, reading):
                backbone.forward(*inputs, reading)
            return mean.result(), None
        velocity = backbone.forward(*inputs, reading)
        return mean.result(), velocity


def test_maps_sum_to_one_in_every_patch(backbone, picture):
    maps = backbone.token_maps(picture, TEXTS)
    assert maps.dtype == np.float32
    assert maps.shape == (sum(len(backbone.tokenize(text)) for text in TEXTS), 8, 8)
    assert np.allclose(maps.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("blocks", [(0,), (0, 1), (2,), (1, 3), (0, 1, 2, 3, 4)])
def test_the_captured_map_is_the_softmax_over_text_of_the_attention_that_ran(backbone, inputs, blocks, monkeypatch):
    seen = []
    ordinary = functional.scaled_dot_product_attention

    def spy(query, key, value, *args, **kwargs):
        seen.append((query[0].double(), key[0].double()))  # [H, S, D], text first
        return ordinary(query, key, value, *args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    result, _ = read(backbone, inputs, blocks, stop=False)
    text = inputs[1].shape[1]
    assert len(seen) == DOUBLE + SINGLE
    attention = [
        (seen[b][0][:, text:] @ seen[b][1][:, :text].mT / seen[b][0].shape[-1] ** 0.5).softmax(-1).mean(0)
        for b in blocks
    ]
    assert torch.allclose(result.double(), torch.stack(attention).mean(0), atol=1e-6)


@pytest.mark.parametrize("blocks", [(0,), (0, 1), (1, 2), (0, 3)])
def test_the_stopped_pass_equals_the_full_pass_and_ends_there(backbone, inputs, blocks):
    transformer = backbone.models.transformer
    ran = []
    hooks = [
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate([*transformer.transformer_blocks, *transformer.single_transformer_blocks])
    ]
    stopped, _ = read(backbone, inputs, blocks, stop=True)
    assert ran == list(range(blocks[-1] + 1))
    full, _ = read(backbone, inputs, blocks, stop=False)
    assert torch.equal(stopped, full)
    for hook in hooks:
        hook.remove()


def test_reading_leaves_the_output_unchanged(backbone, inputs, flux_folder):
    _, velocity = read(backbone, inputs, (0, 1, 2, 3, 4), stop=False)
    untouched = FluxTransformer2DModel.from_pretrained(flux_folder, subfolder="transformer")
    assert not any(isinstance(processor, ReadingProcessor) for processor in untouched.attn_processors.values())
    latents, embeddings, pooled = inputs
    with torch.inference_mode():
        expected = untouched(
            hidden_states=pack(latents),
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            timestep=torch.tensor([0.5]),
            img_ids=torch.cartesian_prod(torch.zeros(1), torch.arange(8.0), torch.arange(8.0)),
            txt_ids=torch.zeros(embeddings.shape[1], 3),
        ).sample
    assert torch.equal(velocity, expected)


def test_latents_are_packed_as_in_diffusers():
    latents = torch.randn(1, 4, 6, 10)
    assert torch.equal(pack(latents), type(random_pipeline())._pack_latents(latents, 1, 4, 6, 10))


def test_latents_are_shifted_scaled_and_deterministic(backbone, image, picture):
    vae = backbone.models.vae
    with torch.inference_mode():
        first, second = backbone._encode_image(picture), backbone._encode_image(Picture.of(image.convert("RGBA"), 64))
        pixels = torch.from_numpy(np.array(image.resize((32, 32), 1))).permute(2, 0, 1)[None].float() / 127.5 - 1
        expected = (vae.encode(pixels).latent_dist.mode() - 0.1) * 0.7
    assert torch.equal(first, second)
    assert torch.allclose(first, expected)


def test_noise_follows_the_seed_and_the_timestep(refam, backbone):
    latents = torch.ones(1, 4, 16, 16)
    other_seed = FluxBackbone(backbone.models, replace(refam.config, seed=1))
    nearly_clean = FluxBackbone(backbone.models, replace(refam.config, timestep=1e-6))
    assert torch.equal(backbone._noised(latents), backbone._noised(latents))
    assert not torch.equal(backbone._noised(latents), other_seed._noised(latents))
    assert torch.allclose(nearly_clean._noised(latents), latents, atol=1e-4)


def test_texts_are_encoded_apart_and_without_padding(backbone):
    with torch.inference_mode():
        together, pooled = backbone._text_inputs(TEXTS)
        apart = [backbone._encode_texts([text])[0] for text in TEXTS]
    assert together.shape[1] == 7 + 3 + 2
    assert torch.allclose(together, torch.cat([embeddings for embeddings, _ in apart])[None], atol=1e-6)
    assert torch.allclose(pooled, apart[0][1], atol=1e-6)


def test_texts_of_several_expressions_are_encoded_in_one_call_and_magnets_once(config, image):
    refam, calls = RefAM.from_config(config), []
    with refam.backbone.models.encoders.loaded() as (t5, _):
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


def test_caches_are_bounded_and_change_nothing(backbone, refam, image, picture):
    small = FluxBackbone(backbone.models, replace(refam.config, text_cache=1, image_cache=1))
    first = small.token_maps(picture, TEXTS)
    small.token_maps(Picture.of(image.rotate(90), 64), ("red zebra",))
    assert (len(small._texts), len(small._latents)) == (1, 1)
    assert np.array_equal(small.token_maps(picture, TEXTS), first)


@pytest.mark.parametrize(("last_block", "double", "single"), [(0, 1, 0), (1, 2, 0), (2, 2, 1), (4, 2, 3)])
def test_only_the_needed_blocks_are_loaded_without_complaint(flux_folder, last_block, double, single):
    assert len(list((flux_folder / "transformer").glob("*-of-*.safetensors"))) > 3
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = messages.append
    logging.getLogger("diffusers").addHandler(handler)
    models = load_flux(str(flux_folder), None, last_block, CPU)
    logging.getLogger("diffusers").removeHandler(handler)
    assert messages == []
    assert len(models.transformer.transformer_blocks) == double
    assert len(models.transformer.single_transformer_blocks) == single
    whole = FluxTransformer2DModel.from_pretrained(flux_folder, subfolder="transformer").state_dict()
    for name, weight in models.transformer.state_dict().items():
        assert weight.device == CPU
        assert torch.equal(weight, whole[name])


def test_untrained_weights_keep_the_architecture(refam, picture):
    untrained = randomised(refam.backbone.models, seed=1)
    shapes = {name: weight.shape for name, weight in refam.backbone.models.transformer.state_dict().items()}
    assert {name: weight.shape for name, weight in untrained.transformer.state_dict().items()} == shapes
    maps = FluxBackbone(untrained, refam.config).token_maps(picture, TEXTS)
    again = FluxBackbone(randomised(refam.backbone.models, seed=1), refam.config).token_maps(picture, TEXTS)
    assert np.array_equal(maps, again)
    assert not np.array_equal(maps, refam.backbone.token_maps(picture, TEXTS))


def test_partly_loaded_models_give_the_same_maps(flux_folder, refam, picture):
    config = replace(refam.config, blocks="0-2")
    partly = FluxBackbone.from_config(config, str(flux_folder), CPU)
    assert len(partly.models.transformer.single_transformer_blocks) == 1
    wholly = FluxBackbone(refam.backbone.models, config)
    assert np.array_equal(partly.token_maps(picture, TEXTS), wholly.token_maps(picture, TEXTS))


def test_dropped_text_encoders_are_loaded_for_unknown_texts_only(flux_folder, refam, picture, monkeypatch):
    loaded = []  # references to T5, which hold none
    ordinary = flux_models._load_encoders

    def spy(*arguments):
        models = ordinary(*arguments)
        loaded.append(weakref.ref(models[0]))
        return models

    monkeypatch.setattr(flux_models, "_load_encoders", spy)
    backbone = FluxBackbone.from_config(replace(refam.config, text_encoder="drop"), str(flux_folder), CPU)
    assert len(loaded) == 1  # at the start, where a missing part must be noticed
    for count, texts in ((2, TEXTS), (2, TEXTS), (2, TEXTS[:1]), (3, ("red ball",))):
        maps = backbone.token_maps(picture, texts)
        assert np.allclose(maps, refam.backbone.token_maps(picture, texts), atol=1e-6)
        gc.collect()
        assert [reference() for reference in loaded] == [None] * count


def test_a_missing_model_is_named_with_the_remedy(tmp_path, flux_folder):
    with pytest.raises(ModelNotFoundError, match=r"REFAM_MODEL: .*there is no folder .*Set it to 'tiny'"):
        load_flux(str(tmp_path / "nowhere"), None, 0, CPU)
    with pytest.raises(ModelNotFoundError, match="REFAM_MODEL"):
        load_flux(str(tmp_path), None, 0, CPU)
    with pytest.raises(ConfigError, match="REFAM_BLOCKS asks for block 5; set it to blocks from 0 to 4"):
        load_flux(str(flux_folder), None, 5, CPU)


@pytest.mark.parametrize(
    "part",
    [
        "transformer/config.json",
        "transformer/diffusion_pytorch_model-00001-of-*.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder_2/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer_2/tokenizer.json",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_an_incomplete_download_is_noticed(tmp_path, flux_folder, part, damage):
    shutil.copytree(flux_folder, tmp_path / "flux")
    (file,) = (tmp_path / "flux").glob(part)
    content = file.read_bytes()
    file.unlink()
    if damage == "cut off":
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelNotFoundError, match="REFAM_MODEL"):
        load_flux(str(tmp_path / "flux"), None, 4, CPU)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_2"])
def test_pickled_weights_are_not_loaded(tmp_path, flux_folder, part):
    shutil.copytree(flux_folder, tmp_path / "flux")
    folder = tmp_path / "flux" / part
    weights = {}
    for file in folder.glob("*.safetensors*"):
        weights |= load_file(file) if file.suffix == ".safetensors" else {}
        file.unlink()
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin"):
        torch.save(weights, folder / name)
    with pytest.raises(ModelNotFoundError, match=rf"/{part} has no weights in the format safetensors.* convert them"):
        load_flux(str(tmp_path / "flux"), None, 4, CPU)
    save_file(weights, folder / "other.safetensors")  # that no loader looks for
    with pytest.raises(ModelNotFoundError, match=r"no file named \w+\.safetensors"):
        load_flux(str(tmp_path / "flux"), None, 4, CPU)


OFFLINE_PROGRAM = """
import sys, torch
from refam.backbones.flux_models import load_flux
from refam.errors import ModelNotFoundError
from tests.support.models import TEXTS
from tests.support.models import TEXTS
print(len(load_flux("org/random-flux", "main", 1, torch.device("cpu")).transformer.transformer_blocks))
try:
    load_flux("org/elsewhere", None, 1, torch.device("cpu"))
except ModelNotFoundError as error:
    print(error)
"""


@pytest.mark.process
def test_a_hub_id_is_read_from_the_cache_when_offline(tmp_path, flux_folder):
    repository = tmp_path / "hub" / "models--org--random-flux"
    shutil.copytree(flux_folder, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    shown = subprocess.run(
        [sys.executable, "-c", OFFLINE_PROGRAM],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown[0] == "2"
    assert "REFAM_MODEL" in shown[1]
    assert "org/elsewhere" in shown[1]


def test_settings_must_fit_the_model(refam):
    with pytest.raises(ConfigError, match="REFAM_RESOLUTION is 30; set it to a multiple of 4"):
        FluxBackbone(refam.backbone.models, replace(refam.config, resolution=30))
    with pytest.raises(ConfigError, match="REFAM_BLOCKS asks for block 7"):
        FluxBackbone(refam.backbone.models, replace(refam.config, blocks="7"))


def test_guidance_distilled_models_get_a_guidance_of_one(refam, picture):
    transformer = random_pipeline(guidance=True).transformer.eval()
    seen = []
    transformer.time_text_embed.guidance_embedder.register_forward_pre_hook(lambda *_: seen.append(True))
    transformer.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["guidance"]), with_kwargs=True)
    guided = FluxBackbone(replace(refam.backbone.models, transformer=transformer), refam.config)
    assert np.allclose(guided.token_maps(picture, TEXTS).sum(axis=0), 1, atol=1e-6)
    assert seen[0].tolist() == [1.0]
    assert seen[1]


def test_flux1_itself_runs_to_block_18_on_the_meta_device(refam):
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
    assert (len(transformer.transformer_blocks), len(transformer.single_transformer_blocks)) == (19, 38)
    assert sum(weight.numel() for weight in transformer.parameters()) / 1e9 == pytest.approx(11.9, abs=0.05)
    config = RefAMConfig(model="black-forest-labs/FLUX.1-dev")
    backbone = FluxBackbone(replace(refam.backbone.models, transformer=transformer), config)
    mean = AttentionMean()
    reading = AttentionReading(config.block_numbers, text_tokens=19, mean=mean)
    latents = torch.empty(1, 16, 128, 128, device="meta")
    with pytest.raises(PassCompleteError), torch.inference_mode(), stopping(transformer, reading):
        backbone.forward(latents, torch.empty(1, 19, 4096, device="meta"), torch.empty(1, 768, device="meta"), reading)
    assert mean.result().shape == (64 * 64, 19)


def test_leaving_out_the_single_blocks_nearly_halves_flux1():
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(num_single_layers=0, guidance_embeds=True)
    assert 2 * sum(weight.numel() for weight in transformer.parameters()) / 1e9 == pytest.approx(13.0, abs=0.1)

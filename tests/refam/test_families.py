"""What holds for every family of transformers, shown on pipelines in the hub's layout with small random weights."""

import gc
import logging
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from torch.nn import functional

from refam import model_files
from refam.attention import AttentionMean
from refam.backbones.attention_reading import AttentionReading, blocks_of
from refam.backbones.registry import load_backbone
from refam.backbones.transformer import TransformerBackbone
from refam.config import RefAMConfig
from refam.errors import ConfigError, ModelNotFoundError
from refam.picture import Picture
from tests.support.models import DOUBLE, SINGLE, TEXTS

CPU = torch.device("cpu")
FAMILIES = ("flux1", "kontext", "chroma", "flux2")
ALL = tuple(range(DOUBLE + SINGLE))


def config_of(folder, **settings):
    given = {"sam": "none", "device": "cpu", "resolution": 32, "blocks": "0-4", "magnets": "_ with"} | settings
    return RefAMConfig(model=str(folder), **given)


@pytest.fixture(scope="module")
def loaded(folder_of):
    return {name: load_backbone(config_of(folder_of(name)), str(folder_of(name)), CPU) for name in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def folder(folder_of, family):
    return folder_of(family)


@pytest.fixture
def backbone(loaded, family):
    """With caches of its own."""
    return loaded[family].with_config(loaded[family].config)


def chat(messages, **options):
    """What the template that Qwen3 is published with makes of one user's turn; jinja2 is too old here to run it."""
    assert options == {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    (message,) = messages
    return (
        f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.fixture
def pipeline(family, folder):
    """diffusers' own."""
    found = DiffusionPipeline.from_pretrained(folder)
    if family == "flux2":
        found.tokenizer.apply_chat_template = chat
    return found


@pytest.fixture
def inputs(backbone, picture):
    """An image's latents and a text, as a pass takes them."""
    with torch.inference_mode():
        return backbone._encode_image(picture), backbone.conditioning(TEXTS)


def read(backbone, inputs, blocks, *, stops):
    latents, text = inputs
    reading = AttentionReading(blocks, text.tokens, latents.shape[-2] * latents.shape[-1], AttentionMean(), stops)
    velocity = None
    with torch.inference_mode(), reading.of_a_pass():
        velocity = backbone.forward(latents, text)
    return reading.mean.result(), velocity


def test_maps_sum_to_one_in_every_patch(backbone, picture):
    maps = backbone.token_maps(picture, TEXTS)
    assert maps.dtype == np.float32
    assert maps.shape == (sum(map(len, backbone.tokenize(TEXTS))), 8, 8)
    assert np.allclose(maps.sum(axis=0), 1, atol=1e-6)
    assert np.ptp(maps, axis=(1, 2)).max() > 0


@pytest.mark.parametrize("blocks", [(0,), (0, 1), (2,), (1, 3), ALL])
def test_the_captured_map_is_the_softmax_over_text_of_the_attention_that_ran(backbone, inputs, blocks, monkeypatch):
    seen = []
    ordinary = functional.scaled_dot_product_attention

    def spy(query, key, value, *args, **kwargs):
        seen.append((query[0].double(), key[0].double()))  # [H, S, D], text first, image last
        return ordinary(query, key, value, *args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    result, _ = read(backbone, inputs, blocks, stops=False)
    (_, text), patches = inputs, 8 * 8
    seen = [each for each in seen if each[0].shape[1] >= patches]  # not the text encoder's
    assert len(seen) == DOUBLE + SINGLE
    attention = [
        (seen[b][0][:, -patches:] @ seen[b][1][:, : text.tokens].mT / seen[b][0].shape[-1] ** 0.5).softmax(-1).mean(0)
        for b in blocks
    ]
    assert torch.allclose(result.double(), torch.stack(attention).mean(0), atol=1e-6)


@pytest.mark.parametrize("blocks", [(0,), (0, 1), (1, 2), (0, 3)])
def test_the_stopped_pass_equals_the_full_pass_and_ends_there(backbone, inputs, blocks):
    ran = []
    hooks = [
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(blocks_of(backbone.models.transformer))
    ]
    stopped, velocity = read(backbone, inputs, blocks, stops=True)
    assert (ran, velocity) == (list(range(blocks[-1] + 1)), None)
    full, _ = read(backbone, inputs, blocks, stops=False)
    assert torch.equal(stopped, full)
    for hook in hooks:
        hook.remove()


def test_the_pass_is_that_of_diffusers_and_reading_leaves_it_unchanged(family, backbone, inputs, pipeline):
    """What goes into it is put together by the pipeline's own functions."""
    (latents, text), preset = inputs, backbone.config.preset
    height, width = latents.shape[-2:]
    image = backbone._noised(latents).flatten(2).mT
    if family == "flux2":
        image_ids = [pipeline._prepare_latent_ids(latents)[0]]
        reference_ids = pipeline._prepare_image_ids([latents])[0]
        text_ids = pipeline._prepare_text_ids(text.embeddings)[0]
    else:
        image_ids = [pipeline._prepare_latent_image_ids(1, height, width, CPU, torch.float32)]
        reference_ids = image_ids[0] + torch.tensor([1.0, 0, 0])
        text_ids = torch.zeros(text.embeddings.shape[1], 3)
    if preset.image_as == "reference":
        image = torch.cat([image, latents.flatten(2).mT], dim=1)
        image_ids.append(reference_ids)
    more = {"pooled_projections": text.pooled} if text.pooled is not None else {}
    with torch.inference_mode():
        expected = pipeline.transformer(
            hidden_states=image,
            encoder_hidden_states=text.embeddings,
            timestep=torch.tensor([preset.timestep]),
            img_ids=torch.cat(image_ids),
            txt_ids=text_ids,
            return_dict=False,
            **more,
        )[0]
    _, velocity = read(backbone, inputs, ALL, stops=False)
    assert torch.equal(velocity, expected)


def test_latents_are_those_of_the_pipeline_and_deterministic(family, backbone, image, picture, pipeline):
    pixels = torch.from_numpy(np.array(image.resize((32, 32), 1))).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        first, second = backbone._encode_image(picture), backbone._encode_image(Picture.of(image.convert("RGBA"), 64))
        if family == "flux2":
            expected = pipeline._encode_vae_image(pixels, None)
        else:
            latents = (pipeline.vae.encode(pixels).latent_dist.mode() - 0.1) * 0.7
            packed = pipeline._pack_latents(latents, 1, 4, 16, 16)
            expected = packed.mT.reshape(1, 16, 8, 8)
    assert torch.equal(first, second)
    assert torch.allclose(first, expected, atol=1e-6)


def test_texts_are_encoded_as_by_the_pipeline(family, backbone, pipeline):
    """Each string by itself, where the encoder reads in both directions; else all as one."""
    with torch.inference_mode():
        text = backbone.conditioning(TEXTS)
        if family == "flux2":
            expected = [pipeline.encode_prompt(" ".join(TEXTS), max_sequence_length=64)[0][0]]
        elif family == "chroma":
            expected = [pipeline._get_t5_prompt_embeds(string, max_sequence_length=32)[0][0] for string in TEXTS]
        else:
            expected = [pipeline._get_t5_prompt_embeds(TEXTS[0], max_sequence_length=7)[0]]
            assert torch.allclose(text.pooled, pipeline._get_clip_prompt_embeds(TEXTS[0]), atol=1e-6)
    pieces = backbone.tokenize(TEXTS)
    start = 0
    for own, string in zip(expected, [sum(map(len, pieces))] if family == "flux2" else map(len, pieces), strict=False):
        assert torch.allclose(text.embeddings[0, start : start + string], own[:string], atol=1e-6)
        start += string
    assert text.tokens == sum(map(len, pieces))
    if family == "chroma":  # one token of padding behind all, the first string's
        assert torch.allclose(text.embeddings[0, text.tokens :], expected[0][7:8], atol=1e-6)
    else:
        assert text.embeddings.shape[1] == text.tokens


def test_padding_takes_part_in_the_pass_and_in_no_map(family, folder, picture, pipeline):
    config = config_of(folder, text_padding="512")
    if family == "chroma":
        with pytest.raises(ConfigError, match=r"REFAM_TEXT_PADDING is '512', but Chroma masks padding; set it to none"):
            load_backbone(config, str(folder), CPU)
        return
    backbone = load_backbone(config, str(folder), CPU)
    with torch.inference_mode():
        text = backbone.conditioning(TEXTS[:1])
        alone = pipeline.encode_prompt(TEXTS[0], **({} if family == "flux2" else {"prompt_2": None}))[0]
    assert torch.allclose(text.embeddings, alone, atol=1e-6)
    count = sum(map(len, backbone.tokenize(TEXTS)))
    assert backbone.conditioning(TEXTS).embeddings.shape[1] == 512
    maps = backbone.token_maps(picture, TEXTS)
    assert maps.shape == (count, 8, 8)
    assert np.allclose(maps.sum(axis=0), 1, atol=1e-6)
    assert not np.allclose(maps, load_backbone(config_of(folder), str(folder), CPU).token_maps(picture, TEXTS))


def test_noise_follows_the_seed_and_the_timestep(backbone):
    latents = torch.ones(1, 16, 8, 8)
    other_seed = backbone.with_config(replace(backbone.config, seed=1))
    nearly_clean = backbone.with_config(replace(backbone.config, timestep=1e-6))
    pure = backbone.with_config(replace(backbone.config, timestep=1.0))
    assert torch.equal(backbone._noised(latents), backbone._noised(latents))
    assert not torch.equal(backbone._noised(latents), other_seed._noised(latents))
    assert torch.allclose(nearly_clean._noised(latents), latents, atol=1e-4)
    assert torch.equal(pure._noised(latents), pure._noised(2 * latents))


def test_an_image_is_a_reference_only_where_the_family_was_trained_on_one(family, backbone, picture):
    if not backbone.models.family.edits:
        with pytest.raises(ConfigError, match="REFAM_IMAGE_AS is 'reference', but this model knows no reference"):
            backbone.with_config(replace(backbone.config, image_as="reference"))
        return
    as_drawn = backbone.with_config(replace(backbone.config, image_as="noised", timestep=0.5))
    assert not np.allclose(as_drawn.token_maps(picture, TEXTS), backbone.token_maps(picture, TEXTS))


def test_caches_are_bounded_and_change_nothing(backbone, image, picture):
    small = backbone.with_config(replace(backbone.config, text_cache=1, image_cache=1))
    first = small.token_maps(picture, TEXTS)
    small.token_maps(Picture.of(image.rotate(90), 64), ("red zebra",))
    assert (len(small._texts), len(small._latents)) == (1, 1)
    assert np.array_equal(small.token_maps(picture, TEXTS), first)


def test_many_texts_at_once_are_encoded_as_each_alone(backbone, picture):
    apart = backbone.with_config(backbone.config)
    backbone.encode([TEXTS, ("red zebra", "_", "with"), ("a ball",)])
    for strings in (TEXTS, ("red zebra", "_", "with")):
        assert np.allclose(backbone.token_maps(picture, strings), apart.token_maps(picture, strings), atol=1e-6)


@pytest.mark.parametrize(("last_block", "double", "single"), [(0, 1, 0), (1, 2, 0), (2, 2, 1), (4, 2, 3)])
def test_only_the_needed_blocks_are_loaded_without_complaint(backbone, folder, last_block, double, single):
    assert len(list((folder / "transformer").glob("*-of-*.safetensors"))) > 3
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = messages.append
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(handler)
    models = load_backbone(config_of(folder, blocks=str(last_block)), str(folder), CPU).models
    for logger in loggers:
        logger.removeHandler(handler)
    assert messages == []
    assert len(blocks_of(models.transformer)) == double + single
    whole = backbone.models.transformer.state_dict()
    weights = models.transformer.state_dict()
    for name, weight in weights.items():
        assert torch.equal(weight, whole[name])
    if last_block < DOUBLE + SINGLE - 1:
        assert sum(map(torch.numel, weights.values())) < sum(map(torch.numel, whole.values()))


def test_partly_loaded_models_give_the_same_maps(backbone, folder, picture):
    config = replace(backbone.config, blocks="0-2")
    partly = load_backbone(config, str(folder), CPU)
    assert len(blocks_of(partly.models.transformer)) == 3
    assert np.array_equal(partly.token_maps(picture, TEXTS), backbone.with_config(config).token_maps(picture, TEXTS))


def test_untrained_weights_keep_the_architecture(backbone, picture):
    models = backbone.models
    untrained, again = (models.randomised(seed=1) for _ in range(2))
    shapes = {name: weight.shape for name, weight in models.transformer.state_dict().items()}
    assert {name: weight.shape for name, weight in untrained.transformer.state_dict().items()} == shapes
    assert untrained.texts.fingerprint == again.texts.fingerprint != models.texts.fingerprint
    maps = [TransformerBackbone(each, backbone.config).token_maps(picture, TEXTS) for each in (untrained, again)]
    assert np.array_equal(*maps)
    assert not np.array_equal(maps[0], backbone.token_maps(picture, TEXTS))


def test_dropped_text_encoders_are_loaded_for_unknown_texts_only(backbone, folder, picture, monkeypatch):
    loads = []  # references to the encoders, which hold none
    ordinary = model_files.read_model

    def spy(kind, place, part, *arguments, **options):
        model = ordinary(kind, place, part, *arguments, **options)
        if part.startswith("text_encoder"):
            loads.append(weakref.ref(model))
        return model

    for module in ("flux1", "chroma", "qwen"):
        monkeypatch.setattr(f"refam.backbones.{module}.read_model", spy)
    dropping = load_backbone(replace(backbone.config, text_encoder="drop"), str(folder), CPU)
    once = len(loads)  # at the start, where a missing part must be noticed
    for times, strings in ((2, TEXTS), (2, TEXTS), (3, ("red ball",))):
        maps = dropping.token_maps(picture, strings)
        assert np.allclose(maps, backbone.token_maps(picture, strings), atol=1e-6)
        gc.collect()
        assert [reference() for reference in loads] == [None] * once * times


def test_embeddings_come_from_disk_after_a_restart(backbone, picture, tmp_path, monkeypatch):
    config = replace(backbone.config, text_cache_dir=str(tmp_path))
    maps = backbone.with_config(config).token_maps(picture, TEXTS)
    restarted = backbone.with_config(config)
    monkeypatch.setattr(type(restarted.models.texts), "encode", lambda *_: pytest.fail("a text was encoded again"))
    assert np.array_equal(restarted.token_maps(picture, TEXTS), maps)


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_an_incomplete_download_is_noticed(tmp_path, folder, damage):
    files = [
        "transformer/config.json",
        "transformer/diffusion_pytorch_model-00001-of-*.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer_2/tokenizer.json",
    ]
    for file in (path for name in files for path in folder.glob(name)):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        damaged = copy / file.relative_to(folder)
        content = damaged.read_bytes()
        damaged.unlink()
        if damage == "cut off":
            damaged.write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelNotFoundError, match="REFAM_MODEL"):
            load_backbone(config_of(copy), str(copy), CPU)
        shutil.rmtree(copy)


def test_settings_must_fit_the_model(backbone, folder):
    with pytest.raises(ConfigError, match="REFAM_RESOLUTION is 30; set it to a multiple of 4"):
        backbone.with_config(replace(backbone.config, resolution=30))
    with pytest.raises(ConfigError, match="REFAM_BLOCKS asks for block 7"):
        backbone.with_config(replace(backbone.config, blocks="7"))
    with pytest.raises(ConfigError, match="REFAM_BLOCKS asks for block 5; set it to blocks from 0 to 4"):
        load_backbone(config_of(folder, blocks="5"), str(folder), CPU)

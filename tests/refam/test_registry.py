"""Which family a model is of: told by a few kilobytes, before anything large is downloaded."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import refam.cli
import refam.pipeline
from refam.backbones.registry import FAMILIES, Description, family_of, load_backbone
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError
from tests.support.hub import running_hub

CPU = torch.device("cpu")
FLUX = {"_class_name": "FluxTransformer2DModel", "in_channels": 64}
VAE = {"_class_name": "AutoencoderKL", "latent_channels": 16}


@pytest.mark.parametrize("name", ["flux1", "kontext", "chroma", "flux2"])
def test_the_family_is_told_by_the_index_and_kept_in_the_settings(folder_of, name):
    folder = str(folder_of(name))
    backbone = load_backbone(RefAMConfig(model=folder, resolution=32, blocks="0-4", device="cpu"), folder, CPU)
    assert backbone.config.family == backbone.models.family.name == name


@pytest.mark.parametrize(
    ("pipeline", "transformer", "vae", "says"),
    [
        ("FluxFillPipeline", FLUX | {"in_channels": 384}, VAE, "holds a FluxFillPipeline, which is not supported"),
        (
            "FluxPipeline",
            FLUX | {"in_channels": 384},
            VAE,
            "takes 384 channels, and latents of 16: it was made to fill",
        ),
        ("FluxPipeline", FLUX, {}, "has no vae/config.json"),
        ("FluxPipeline", {}, VAE, "has no transformer/config.json"),
        ("FluxPipeline", {"_class_name": "Flux2Transformer2DModel"}, VAE, "transformer is a Flux2Transformer2DModel"),
        ("Flux2KleinPipeline", {"_class_name": "Flux2Transformer2DModel"}, VAE, "vae is a AutoencoderKL, where a"),
        ("StableDiffusion3Pipeline", {"_class_name": "SD3Transformer2DModel"}, VAE, "a StableDiffusion3Pipeline"),
        ("QwenImagePipeline", {"_class_name": "QwenImageTransformer2DModel"}, {}, "a QwenImagePipeline"),
        ("Flux2Pipeline", {"_class_name": "Flux2Transformer2DModel"}, {}, "a Flux2Pipeline"),
        ("ChromaPipeline", FLUX, VAE, "transformer is a FluxTransformer2DModel, where a ChromaTransformer2DModel"),
        ("None", {}, {}, "a None"),
    ],
)
def test_others_are_refused_with_those_that_are_supported(pipeline, transformer, vae, says):
    with pytest.raises(ModelNotFoundError, match=r"supported are FLUX.1 .* Chroma1 and FLUX.2-klein") as error:
        family_of("org/model", Description(pipeline, transformer, vae))
    assert "REFAM_MODEL: 'org/model' " in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("pipeline", "channels"), [("FluxKontextPipeline", 64), ("FluxPipeline", 64), ("FluxImg2ImgPipeline", 64)]
)
def test_flux1_in_all_its_forms(pipeline, channels):
    family = family_of("org/model", Description(pipeline, FLUX | {"in_channels": channels}, VAE))
    assert family.edits == ("Kontext" in pipeline)


REFUSED = """
import torch
from dataclasses import replace
from refam.backbones.registry import load_backbone
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError
for name in {names!r}:
    config = RefAMConfig(model=name, device="cpu", resolution=32, blocks={blocks!r}, revision={revision!r})
    try:
        backbone = load_backbone(config, name, torch.device("cpu"))
        print("loaded", backbone.config.family)
    except ModelNotFoundError as error:
        print(error)
"""


def shown(names, environment, *, blocks="0-4", revision=None):
    """What a process of its own says of each hub id: its hub is where the environment says."""
    code = REFUSED.format(names=names, blocks=blocks, revision=revision)
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()


@pytest.mark.process
def test_a_wrong_model_is_refused_before_the_download(tmp_path, folder_of):
    """The hub's own client, against a stand-in of the hub that counts bytes."""
    fill, language = tmp_path / "fill", tmp_path / "language"
    shutil.copytree(folder_of("flux1"), fill)
    config = json.loads((fill / "transformer" / "config.json").read_text())
    (fill / "transformer" / "config.json").write_text(json.dumps(config | {"in_channels": 96}))
    language.mkdir()
    (language / "config.json").write_text(json.dumps({"architectures": ["Qwen3ForCausalLM"]}))
    (language / "model.safetensors").write_bytes(bytes(2**20))
    with running_hub() as hub:
        hub.repositories = {
            "org/fill": fill,
            "org/language": language,
            "org/chroma": folder_of("chroma"),
            "org/gated": folder_of("flux1"),
        }
        hub.gated = {"org/gated"}
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        wrong = shown(["org/fill", "org/language", "org/none", "org/gated"], environment)
        assert "'org/fill' has a transformer that takes 96 channels" in wrong[0]
        assert "'org/language' has no model_index.json" in wrong[1]
        assert "its config.json says Qwen3ForCausalLM" in wrong[1]
        assert "'org/none' cannot be read: the hub has no such model" in wrong[2]
        assert "'org/gated' cannot be read: it is gated, and you have no access" in wrong[3]
        assert all("licence accepted and HF_TOKEN set" in line for line in wrong[1:])
        assert hub.sent < 10_000
        assert not [name for name in hub.asked if name.endswith(".safetensors")]
        assert shown(["org/chroma"], environment) == ["loaded chroma"]
        assert not [name for name in hub.asked if "scheduler" in name]
    assert shown(["org/chroma"], environment | {"HF_HUB_OFFLINE": "1"}) == ["loaded chroma"]
    (offline,) = shown(["org/fill2"], environment | {"HF_HUB_OFFLINE": "1"})
    assert "REFAM_MODEL: 'org/fill2' cannot be read" in offline


@pytest.mark.process
def test_a_hub_id_is_read_from_the_cache_when_offline(tmp_path, flux_folder):
    repository = tmp_path / "hub" / "models--org--random-flux"
    shutil.copytree(flux_folder, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    assert shown(["org/random-flux"], environment, blocks="1", revision="main") == ["loaded flux1"]


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_without_a_usable_index_it_is_said(config, tmp_path, content):
    if content is not None:
        (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(ModelNotFoundError, match=r"has no model_index.json|cannot be read|holds a None"):
        load_backbone(config, str(tmp_path), CPU)


def test_a_missing_folder_is_named_with_the_remedy(config, tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"REFAM_MODEL: .*there is no folder .*Set REFAM_MODEL to 'tiny'"):
        load_backbone(config, str(tmp_path / "nowhere"), CPU)


def test_a_folder_with_an_old_vocabulary_says_what_it_takes(config, tmp_path, flux_folder):
    shutil.copytree(flux_folder, tmp_path / "flux")
    (tmp_path / "flux" / "tokenizer_2" / "tokenizer.json").rename(tmp_path / "flux" / "tokenizer_2" / "spiece.model")
    with pytest.raises(ModelNotFoundError) as error:
        load_backbone(config, str(tmp_path / "flux"), CPU)
    assert "sentencepiece" in str(error.value)


@pytest.mark.parametrize("module", [refam.pipeline, refam.cli])
def test_the_method_names_no_family(module):
    text = Path(module.__file__).read_text()
    assert not [name for name in ("flux1", "chroma", "TransformerBackbone") if name in text]


def test_every_family_has_defaults():
    for family in FAMILIES.values():
        assert replace(RefAMConfig(model="org/model"), family=family.name).preset

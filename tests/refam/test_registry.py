"""Which family a model is of: one registry, and a pipeline that names none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import refam.cli
import refam.pipeline
from refam.backbones.flux import FluxBackbone
from refam.backbones.registry import load_backbone
from refam.errors import ConfigError, ModelNotFoundError

CPU = torch.device("cpu")


def test_the_family_is_told_by_the_index(config, flux_folder):
    assert isinstance(load_backbone(config, str(flux_folder), CPU), FluxBackbone)


def test_another_family_is_refused_with_those_that_are_supported(config, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))
    with pytest.raises(ModelNotFoundError, match=r"StableDiffusion3Pipeline, which is not supported.*FluxPipeline"):
        load_backbone(config, str(tmp_path), CPU)


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_without_a_usable_index_the_loader_says_what_is_missing(config, tmp_path, content):
    if content is not None:
        (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(ModelNotFoundError, match="no FLUX pipeline could be loaded"):
        load_backbone(config, str(tmp_path), CPU)


def test_a_backbone_takes_other_settings_and_can_be_untrained(refam, picture):
    backbone = refam.backbone
    other = backbone.with_config(replace(refam.config, seed=1))
    untrained = backbone.randomised(seed=1)
    maps = [each.token_maps(picture, ("red zebra",)) for each in (backbone, other, untrained)]
    assert len({each.tobytes() for each in maps}) == 3
    with pytest.raises(ConfigError, match="REFAM_RESOLUTION"):
        backbone.with_config(replace(refam.config, resolution=30))


@pytest.mark.parametrize("module", [refam.pipeline, refam.cli])
def test_the_method_names_no_family(module):
    assert "flux_" not in Path(module.__file__).read_text()
    assert "FluxBackbone" not in Path(module.__file__).read_text()

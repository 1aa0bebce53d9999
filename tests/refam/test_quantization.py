"""Quantised blocks on a CPU, with the embedded weights and with random ones in the hub's layout."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from refam.backbones.attention_reading import blocks_of
from refam.backbones.quantization import quantizer
from refam.backbones.registry import load_backbone
from refam.backbones.transformer import TransformerBackbone
from refam.config import RefAMConfig
from refam.errors import ConfigError
from refam.pipeline import RefAM
from refam.synthetic.scenes import random_scene
from refam.tiny import FLUX_FOLDER
from tests.support.models import TEXTS

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def torchao(monkeypatch):
    """`make test` installs it where nothing else finds it."""
    folder = Path(sys.prefix) / "quantize"
    assert (folder / "torchao").is_dir(), "make .venv/quantize installs what these tests need"
    monkeypatch.syspath_prepend(folder)


def held(tensor):
    """Bytes of a tensor, or of those that a quantised one is made of."""
    if is_traceable_wrapper_subclass(tensor):
        return sum(held(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return tensor.nbytes


def block_bytes(refam):
    blocks = blocks_of(refam.backbone.models.transformer)
    return sum(held(weight.data) for block in blocks for weight in block.parameters())


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(7)
    return [random_scene(rng).image for _ in range(6)]


@pytest.fixture(scope="module")
def embedded():
    return RefAM.from_config(RefAMConfig(sam="none", device="cpu"))


# Bounds on what measured 0.267 of the bytes, and a least correlation of 0.9999
def test_quantised_blocks_are_smaller_and_see_the_same(embedded, scenes):
    quantised = RefAM.from_config(replace(embedded.config, quantize="int8"))
    assert block_bytes(quantised) / block_bytes(embedded) < 0.27
    for scene in scenes:
        ours, theirs = (refam.ground(scene, "the red mug").heatmap for refam in (quantised, embedded))
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
        assert not np.array_equal(ours, theirs)


def test_only_the_needed_blocks_are_loaded_quantised_and_read(flux_folder, refam, picture):
    config = replace(refam.config, blocks="0-2", quantize="int8")
    backbone = load_backbone(config, str(flux_folder), CPU)
    transformer = backbone.models.transformer
    assert (len(transformer.transformer_blocks), len(transformer.single_transformer_blocks)) == (2, 1)
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert is_traceable_wrapper_subclass(module.weight.data) == ("transformer_blocks" in name), name
    maps = backbone.token_maps(picture, TEXTS)
    assert np.allclose(maps.sum(axis=0), 1, atol=1e-6)
    whole = TransformerBackbone(refam.backbone.models, replace(config, quantize="none")).token_maps(picture, TEXTS)
    assert np.allclose(maps, whole, atol=0.01)


def test_products_elsewhere_stay_as_precise_as_they_were():
    quantizer("int8", CPU)([torch.nn.Linear(32, 32)])
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_missing_library_is_named_with_the_remedy(monkeypatch):
    for module in ("torchao", "torchao.quantization"):
        monkeypatch.setitem(sys.modules, module, None)
    config = RefAMConfig(model=str(FLUX_FOLDER), quantize="int8", device="cpu")
    with pytest.raises(ConfigError, match=r"REFAM_QUANTIZE is 'int8'.* pip install -r requirements-quantize.txt"):
        RefAM.from_config(config)

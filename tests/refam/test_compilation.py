import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel

from refam import RefAM, RefAMConfig
from refam.backbones import transformer
from refam.backbones.transformer import TransformerBackbone
from refam.compilation import compile_blocks
from refam.errors import ConfigError
from refam.heatmap import Point
from refam.sam import later, original
from refam.sam.loading import load_segment_anything
from tests.support.models import TEXTS

pytestmark = pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch on Python 3.13.0

COMPILED_AND_NOT = """
from refam import RefAM, RefAMConfig
from refam.evaluate import referrals
_, referral = referrals(0, 1)[0]
results = (
    RefAM.from_config(RefAMConfig(device="cpu", sam="none", blocks="0,1", compile=choice))
    .segment(referral.scene.image, referral.expression)
    for choice in ("off", "on")
)
plain, compiled = (result.mask for result in results)
both = (plain & compiled).sum() / (plain | compiled).sum()
print(f"{both:.3f}")
"""


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are compiled from here on. They run as they are: what compiles them further is torch's affair."""
    found = []

    def backend(graph, example_inputs):
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    for module in (transformer, original, later):
        monkeypatch.setattr(module, "compile_blocks", lambda blocks: compile_blocks(blocks, backend=backend))
    torch.compiler.reset()
    yield found
    torch.compiler.reset()


def backbone_of(refam, blocks, **settings):
    """One with so many random blocks of each kind."""
    sizes = {"num_layers": blocks, "num_single_layers": blocks}
    torch.manual_seed(0)
    model = FluxTransformer2DModel.from_config({**refam.backbone.models.transformer.config, **sizes}).eval()
    config = replace(refam.config, blocks=f"1,{blocks + 1}", **settings)
    return TransformerBackbone(replace(refam.backbone.models, transformer=model), config)


def test_all_blocks_of_a_kind_share_their_graphs_and_show_the_same(refam, picture, graphs):
    numbers = []
    for blocks in (3, 5):
        graphs.clear()
        torch.compiler.reset()
        plain = backbone_of(refam, blocks).token_maps(picture, TEXTS)
        compiled = backbone_of(refam, blocks, compile="on").token_maps(picture, TEXTS)
        assert np.allclose(plain, compiled, atol=1e-6)
        numbers.append(len(graphs))
    assert numbers[0] == numbers[1] > 0


def test_a_second_image_compiles_nothing_more(refam, picture, graphs):
    backbone = backbone_of(refam, 2, compile="on")
    backbone.token_maps(picture, TEXTS)
    known = len(graphs)
    assert known
    backbone.token_maps(replace(picture, key=b"another"), TEXTS)
    assert len(graphs) == known


@pytest.mark.parametrize(("generation", "most"), [("original", 2), ("sam2", 5), ("sam3", 2)])
def test_sams_blocks_share_theirs_too(sam_folder_of, generation, most, picture, graphs):
    plain, compiled = (
        load_segment_anything(str(sam_folder_of(generation)), torch.device("cpu"), 1, compiled=choice)
        for choice in (False, True)
    )
    one, other = (model.candidates(picture, [Point(30, 20)]) for model in (plain, compiled))
    assert 0 < len(graphs) <= most, "of blocks with a window and without one, or of another width"
    for a, b in zip(one, other, strict=True):
        assert np.allclose(a.logits, b.logits, atol=1e-4)


def test_without_a_compiler_it_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"REFAM_COMPILE is on, .* install g\+\+, or set REFAM_COMPILE=off"):
        RefAM.from_config(RefAMConfig(device="cpu", compile="on"))


@pytest.mark.process
def test_compiled_in_earnest_the_embedded_model_finds_the_same(tmp_path):
    """In a process of its own, with a cache of its own. A machine without a compiler says so instead."""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", COMPILED_AND_NOT], env=environment, capture_output=True, text=True, check=False
    )
    if shutil.which("g++") or shutil.which("clang++"):
        assert run.returncode == 0, run.stderr
        assert float(run.stdout) >= 0.99
    else:
        assert "install g++, or set REFAM_COMPILE=off" in run.stderr

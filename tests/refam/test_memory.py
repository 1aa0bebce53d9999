"""What a GPU has to hold, computed from the configurations of published models."""

import pytest
import torch

from refam.config import RefAMConfig
from refam.memory import WORKING, _sam, alternatives, weights
from tests.support.published import write_published

GPU = torch.device("cuda")


# What docs/models.md says
@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("FLUX.1", {}, {"transformer": 13.0, "text encoders": 9.8, "VAE": 0.2}),
        ("FLUX.1", {"quantize": "int8"}, {"transformer": 6.7, "text encoders": 9.8, "VAE": 0.2}),
        ("FLUX.1", {"text_encoder": "cpu"}, {"transformer": 13.0, "VAE": 0.2}),
        ("FLUX.1", {"precision": "float32"}, {"transformer": 26.0, "text encoders": 19.5, "VAE": 0.3}),
        ("Chroma1-HD", {}, {"transformer": 9.2, "text encoders": 9.5, "VAE": 0.2}),
        ("FLUX.2-klein-4B", {}, {"transformer": 5.3, "text encoders": 6.2, "VAE": 0.2}),
        ("FLUX.2-klein-4B", {"quantize": "int8", "text_encoder": "cpu"}, {"transformer": 2.9, "VAE": 0.2}),
    ],
)
def test_weights_of_published_models(tmp_path, name, settings, expected):
    config = RefAMConfig(model=str(write_published(tmp_path, name)), sam="none", **settings)
    found = weights(config, GPU)
    assert found.keys() == expected.keys()
    for part, size in expected.items():
        assert found[part] == pytest.approx(size, abs=0.1), part


def test_segment_anything_takes_half_where_its_encoder_does(tmp_path, sam_folder_of):
    model = str(write_published(tmp_path, "FLUX.2-klein-4B"))
    assert weights(RefAMConfig(model=model, sam="vit_h"), GPU)["SAM"] == pytest.approx(1.28, abs=0.01)
    own = {"sam": str(sam_folder_of("sam2")), "proposer": "sam3", "sam3": str(sam_folder_of("sam3"))}
    for precision in ("half", "float32"):
        found = weights(RefAMConfig(model="none", precision=precision, **own), GPU)
        assert found.keys() == {"SAM", "SAM 3's detector"}
        assert all(0 < size < 0.01 for size in found.values())


def test_alternatives_are_those_that_fit(tmp_path):
    config = RefAMConfig(model=str(write_published(tmp_path, "FLUX.1")), sam="vit_h")
    assert sum(weights(config, GPU).values()) + WORKING == pytest.approx(27.8, abs=0.2)
    cpu, int8 = {"text_encoder": "cpu"}, {"quantize": "int8"}
    assert list(alternatives(config, GPU, 24)) == [cpu, int8, int8 | cpu]
    assert list(alternatives(config, GPU, 16)) == [int8 | cpu]
    assert list(alternatives(config, GPU, 8)) == []


def test_checkpoints_and_small_folders_count_as_their_files(tmp_path, sam_folder):
    (tmp_path / "some.pth").write_bytes(bytes(4_000_000))
    whole = (sam_folder / "model.safetensors").stat().st_size
    for sam, size in ((str(tmp_path / "some.pth"), 0.004), (str(sam_folder), whole / 1e9)):
        assert _sam(sam, half=False) == pytest.approx(size)
        assert _sam(sam, half=True) == pytest.approx(_sam(sam, half=False) / 2)


def test_configs_as_diffusers_writes_them_are_read(folder_of):
    for family in ("flux1", "chroma", "flux2"):
        config = RefAMConfig(model=str(folder_of(family)), sam="none", blocks="0-4")
        assert weights(config, GPU).keys() == {"transformer", "text encoders", "VAE"}

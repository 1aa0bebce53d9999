import subprocess
import sys

import pytest

from refam.config import RefAMConfig, parse_blocks
from refam.errors import ConfigError


def test_every_field_is_read_from_its_variable():
    config = RefAMConfig.from_environment(
        {
            "REFAM_MODEL": "black-forest-labs/FLUX.1-schnell",
            "REFAM_REVISION": "main",
            "REFAM_RESOLUTION": " 512 ",
            "REFAM_TIMESTEP": "0.3",
            "REFAM_BLOCKS": "2,4-6",
            "REFAM_FILTER_SINKS": "Off",
            "REFAM_MAGNETS": "",
            "REFAM_SAM": "",
            "REFAM_BACKEND_PORT": "9090",
            "PATH": "/bin",
        }
    )
    assert config == RefAMConfig(
        model="black-forest-labs/FLUX.1-schnell",
        revision="main",
        resolution=512,
        timestep=0.3,
        blocks="2,4-6",
        filter_sinks=False,
        magnets="",
    )
    assert config.block_numbers == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("REFAM_MODLE", "tiny", "Did you mean REFAM_MODEL?"),
        ("REFAM_NONSENSE_NAME", "1", "Remove it"),
        ("REFAM_DEVICE", "gpu", "auto, cpu, cuda or cuda:N"),
        ("REFAM_POINTS", "many", "a whole number"),
        ("REFAM_POINTS", "0", "1 or more"),
        ("REFAM_TIMESTEP", "1.5", "above 0, and 1 at most"),
        ("REFAM_TIMESTEP", "nan", "above 0, and 1 at most"),
        ("REFAM_BLOCKS", "10-8", "block numbers such as"),
        ("REFAM_BLOCKS", "all", "block numbers such as"),
        ("REFAM_SPATIAL_BIAS", "maybe", "true or false"),
        ("REFAM_TEXT_ENCODER", "gpu", "device or cpu or drop"),
        ("REFAM_QUANTIZE", "8", "none or int8"),
        ("REFAM_AVERAGE", "median", "probabilities or logits"),
        ("REFAM_COMBINE", "mean", "sum or product"),
        ("REFAM_SMOOTHING", "-1", "0 or more"),
        ("REFAM_SINK_SHARE", "-1", "0 or more"),
        ("REFAM_PEAK_RATIO", "2", "from 0 to 1"),
        ("REFAM_SEED", "-1", "0 or more"),
    ],
)
def test_a_bad_variable_is_named_with_its_remedy(variable, value, remedy):
    with pytest.raises(ConfigError, match=variable) as error:
        RefAMConfig.from_environment({variable: value})
    assert remedy in str(error.value)


def test_presets_belong_to_models():
    best = True, True, 8, 0.2, "things", 8
    assert RefAMConfig().preset == (128, 0.3, "0,4", "noised", "logits", "product", 0.7, *best)
    flux = RefAMConfig(model="black-forest-labs/FLUX.1-dev").preset
    assert flux == (1024, 0.5, "10-18", "noised", "probabilities", "sum", 0.0, *best)
    klein = RefAMConfig(model="black-forest-labs/FLUX.2-klein-4B", family="flux2").preset
    assert klein == (1024, 1.0, "5-14", "reference", "probabilities", "sum", 0.0, *best)
    assert RefAMConfig(resolution=64, smoothing=0).preset == (64, 0.3, "0,4", "noised", "logits", "product", 0, *best)


def test_a_method_sets_defaults_that_can_be_changed():
    faithful = False, False, 1, 0.5, "point", 1
    assert RefAMConfig(method="faithful").preset == (128, 0.3, "0,4", "noised", "probabilities", "sum", 0, *faithful)
    assert RefAMConfig(method="faithful", points=3, combine="product").preset.points == 3
    assert RefAMConfig(choice="point").preset.choice == "point"
    assert len({RefAMConfig(**each).model_version() for each in ({}, {"method": "faithful"}, {"points": 3})}) == 3


def test_version_names_the_parts_and_changes_with_results_only():
    version = RefAMConfig().model_version()
    assert version.startswith("refam-tiny-sam.tiny-")
    assert (
        RefAMConfig(model="org/FLUX.1-dev", sam="vit_h", blocks="3,7-9")
        .model_version()
        .startswith("refam-flux.1.dev-sam.vit.h-")
    )
    model = {"model": "org/FLUX.1-dev"}  # whose family a process may know, or not
    assert RefAMConfig(**model).model_version() == RefAMConfig(**model, family="flux1").model_version()
    same = [{"device": "cpu"}, {"text_cache": 1}, {"image_cache": 1}, {"blocks": "0-0,4"}, {"resolution": 128}]
    same += [{"text_encoder": "cpu"}, {"text_encoder": "drop"}, {"text_cache_dir": "texts"}]
    assert {RefAMConfig(**change).model_version() for change in same} == {version}
    other = [{"seed": 1}, {"magnets": ""}, {"noun_phrase": False}, {"points": 1}, {"blocks": "0-4"}, {"sam": "none"}]
    other += [{"quantize": "int8"}, {"precision": "float32"}]
    assert len({RefAMConfig(**change).model_version() for change in other} | {version}) == len(other) + 1


def test_block_lists():
    assert parse_blocks("10-18") == tuple(range(10, 19))
    assert parse_blocks(" 3 , 1,1-2 ") == (1, 2, 3)


@pytest.mark.process
def test_config_and_package_load_nothing_heavy():
    code = "import sys, refam, refam.config; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"

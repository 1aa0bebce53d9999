import json

import numpy as np
import pytest
import torch

from refam.config import RefAMConfig
from refam.errors import ConfigError
from refam.pipeline import RefAM
from refam.synthetic.scenes import random_scene
from refam.tiny.models import build_t5, build_t5_tokenizer, build_transformer, build_vae
from refam.training.train import train
from refam.training.train_transformer import Trainee, save


def test_a_word_is_one_piece_and_an_unknown_word_falls_into_letters():
    tokenizer = build_t5_tokenizer()
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("the red zebra ox").input_ids)
    assert pieces == ["▁the", "▁red", "▁zebra", "▁", "o", "x", "</s>"]


@pytest.mark.process  # renders on all cores
def test_training_writes_weights_that_the_method_loads(tmp_path):
    threads = torch.get_num_threads()
    train(tmp_path, seed=3, minutes=0.05)
    assert torch.get_num_threads() == threads

    train(tmp_path, seed=4, minutes=0.02, go_on=True)

    train(tmp_path, seed=4, minutes=0.01, part="vae")

    first, second, third = json.loads((tmp_path / "record.json").read_text())
    assert "--seed 3" in first["command"] and set(first["curves"]) == {"vae", "sam", "transformer"}
    assert second["command"].endswith("--go-on") and set(second["curves"]) == {"sam", "transformer"}
    assert third["command"].endswith("--part vae") and set(third["curves"]) == {"vae"}
    refam = RefAM.from_config(
        RefAMConfig(model=str(tmp_path / "flux"), sam=str(tmp_path / "sam"), resolution=128, blocks="0-5")
    )
    scene = random_scene(np.random.default_rng(0))
    result = refam.segment(scene.image, "the zebra")
    assert result.mask.shape == (128, 128)
    assert np.allclose(result.grounding.maps.sum(axis=0), 1, atol=1e-4)


def test_the_vae_cannot_go_on(tmp_path):
    with pytest.raises(ConfigError, match="leave --go-on out"):
        train(tmp_path, seed=4, minutes=0.01, part="vae", go_on=True)
    assert not list(tmp_path.iterdir())


def test_saving_leaves_the_weights_in_training_as_they_are(tmp_path):
    vae = build_vae()
    trainee = Trainee(build_t5(), build_transformer())
    save(vae, trainee, tmp_path)
    assert {parameter.dtype for part in (vae, trainee) for parameter in part.parameters()} == {torch.float32}

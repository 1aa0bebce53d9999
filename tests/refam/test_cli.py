import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from refam.cli import app
from refam.tiny import NOTICE, SWITCH


@pytest.fixture
def run(monkeypatch, config, tmp_path, image):
    image.save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    for name in ("model", "sam", "resolution", "blocks"):
        monkeypatch.setenv(f"REFAM_{name.upper()}", str(getattr(config, name)))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_segment_writes_a_mask(run, tmp_path, image):
    result = run("segment", "picture.png", "the goldfish", "--output", "out/mask.png", "--overlay", "out/overlay.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "mask.png") as mask:
        assert mask.size == image.size
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
    assert (tmp_path / "out" / "overlay.png").exists()
    assert "score" in result.stdout
    assert "model  refam-" in result.stdout
    assert NOTICE not in result.stderr


def test_segment_says_how_it_read_the_text_and_what_it_does_not_know(run):
    result = run("segment", "picture.png", "the goldfish on the left, near the 红", "--output", "mask.png")
    assert result.exit_code == 0, result.output
    assert "read as  goldfish, on the left side, near (红)" in result.stdout
    assert "does not know '红'" in result.stderr


def test_the_embedded_model_says_that_it_is_a_demonstration(monkeypatch, run):
    for name in ("BLOCKS", "RESOLUTION"):
        monkeypatch.delenv(f"REFAM_{name}")
    result = run("segment", "picture.png", "the goldfish", "--model", "tiny", "--sam", "none")
    assert result.exit_code == 0, result.output
    assert f"{NOTICE} {SWITCH}" in result.stderr


def test_explain_draws_a_picture(run, tmp_path):
    assert run("explain", "picture.png", "the goldfish", "--sam", "none").exit_code == 0
    with Image.open(tmp_path / "explanation.png") as picture:
        assert picture.width > 1000


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["picture.png", ""], {}, "expression is empty"),
        (["absent.png", "the ball"], {}, "IMAGE absent.png cannot be read"),
        (["picture.png", "the ball"], {"REFAM_POINTS": "x"}, "REFAM_POINTS is 'x'"),
        (["picture.png", "the ball", "--sam", "nowhere.pth"], {}, "REFAM_SAM"),
        (["picture.png", "the ball", "--device", "gpu"], {}, "REFAM_DEVICE"),
    ],
)
def test_a_mistake_is_told_in_one_message(run, monkeypatch, arguments, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = run("segment", *arguments)
    assert result.exit_code == 1
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.process
def test_help_does_not_wait_for_torch():
    code = "import sys, refam.cli; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
    listed = subprocess.run([sys.executable, "-m", "refam", "--help"], capture_output=True, text=True, check=True)
    assert all(command in listed.stdout for command in ("segment", "explain", "evaluate", "train-tiny"))


@pytest.mark.parametrize("arguments", [[], ["--ablation"]])
def test_evaluate_rendered_writes_its_figures(run, tmp_path, arguments):
    result = run("evaluate", "rendered", "--seed", "3", "--count", "2", "--json", "out/report.json", *arguments)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    row = report["default"] if arguments else report["controls"]["untrained"]
    assert row["count"] == 2
    assert {"pointing_accuracy", "mean_iou"} <= row.keys()
    assert "pointing" in result.stdout


def test_train_tiny_hands_its_options_on(run, monkeypatch):
    seen = {}
    monkeypatch.setattr("refam.training.train.train", lambda folder, **options: seen.update(options, folder=folder))
    options = ["--folder", "weights", "--seed", "4", "--minutes", "0.5", "--part", "sam", "--go-on"]
    assert run("train-tiny", *options).exit_code == 0
    assert seen == {"folder": Path("weights"), "seed": 4, "minutes": 0.5, "part": "sam", "go_on": True}

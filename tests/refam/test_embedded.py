"""The weights that ship: genuine pipeline folders that point and segment on scenes they never saw."""

import json

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from refam.config import RefAMConfig
from refam.evaluate import evaluate_rendered, intersection_over_union
from refam.evaluate_names import evaluate_names
from refam.pipeline import RefAM
from refam.synthetic.referrals import FURTHER_REFERRALS, REFERRALS, refer
from refam.tiny import FLUX_FOLDER, WEIGHTS

SEED = 77


@pytest.fixture(scope="module")
def refam() -> RefAM:
    return RefAM.from_config(RefAMConfig())


def test_the_folder_is_a_whole_flux_pipeline():
    pipeline = FluxPipeline.from_pretrained(FLUX_FOLDER, dtype=torch.float32)
    parts = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
    assert all(pipeline.components[part] is not None for part in parts)
    picture = pipeline("a zebra", height=128, width=128, num_inference_steps=2, guidance_scale=1.0).images[0]
    assert np.asarray(picture).std() > 1


def test_the_weights_are_safetensors_and_small():
    weights = WEIGHTS
    files = [path for path in weights.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    runs = json.loads((weights / "record.json").read_text())
    assert all("--seed" in run["command"] and run["commit"] for run in runs)
    assert {stage for run in runs for stage in run["curves"]} == {"vae", "sam", "transformer"}


@pytest.mark.parametrize(("kind", "pointing", "overlap"), [("noun", 0.7, 0.6), ("position", 0.8, 0.7)])
def test_it_points_at_and_masks_what_it_is_told(refam: RefAM, kind: str, pointing: float, overlap: float):
    hits, ious = [], []
    for number in range(30):
        referral = refer(np.random.default_rng((SEED, number)), kind)
        truth = referral.truth
        result = refam.segment(referral.scene.image, referral.expression)
        point = result.grounding.points[0]
        hits.append(truth[int(point.y), int(point.x)])
        ious.append(intersection_over_union(result.mask, truth))
    assert np.mean(hits) >= pointing
    assert np.mean(ious) >= overlap


def test_words_decide_the_mask(refam: RefAM):
    report = evaluate_rendered(refam, refam, SEED, 21)
    assert report["mean_iou"] > report["controls"]["wrong_text"]["mean_iou"] + 0.2
    assert set(report["by_kind"]) == {*REFERRALS, *FURTHER_REFERRALS}


def test_the_same_input_gives_the_same_mask():
    referral = refer(np.random.default_rng(SEED), "noun")
    first = RefAM.from_config(RefAMConfig()).segment(referral.scene.image, referral.expression)
    again = RefAM.from_config(RefAMConfig()).segment(referral.scene.image, referral.expression)
    assert np.array_equal(first.mask, again.mask)
    assert np.array_equal(first.grounding.maps, again.grounding.maps)
    assert first.score == again.score


def test_names_find_what_bears_them(refam: RefAM):
    report = evaluate_names(refam, SEED, 16)
    few, *_, many = report.values()
    kept = {at["least_score"]: at for at in few["by_least_score"]}
    assert kept[0.5]["precision"] >= 0.75
    assert kept[0.5]["recall"] >= 0.75
    assert kept[0.0]["precision"] < kept[0.5]["precision"], "a score tells what is not there"
    assert many["by_least_score"][0]["precision"] < few["by_least_score"][0]["precision"]

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from refam.clicks import Box
from refam.errors import ModelNotFoundError
from refam.evaluate import intersection_over_union
from refam.heatmap import Point
from refam.picture import Picture
from refam.sam import SegmentAnything, segmenter
from refam.sam.attention import table_positions
from refam.sam.later import KINDS
from refam.sam.loading import load_segment_anything
from refam.sam.original import OriginalSam
from refam.synthetic.scenes import random_scene
from refam.tiny.sam import build_sam
from refam.torchvision_standins import import_segment_anything
from tests.support.hub import running_hub
from tests.support.sams import SAM_CONFIG

CPU = torch.device("cpu")


GENERATIONS = ("original", "sam2", "sam3")


@pytest.fixture(params=GENERATIONS)
def generation(request):
    return request.param


@pytest.fixture
def sam(sam_folder_of, generation):
    return load_segment_anything(str(sam_folder_of(generation)), CPU, image_cache=2)


def encoder_of(sam):
    inner = sam.model.inner
    return inner.image_encoder if hasattr(inner, "image_encoder") else inner.vision_encoder


def features_of(sam, picture):
    return torch.cat([part.flatten() for part in sam._embed(picture).features])


def test_candidates_have_the_size_of_sams_input_and_the_mask_that_of_the_image(sam, generation, picture):
    candidates = sam.candidates(picture, [Point(10, 10)])
    assert len(candidates) == 3
    width, height = sam.model.resized(picture.size)
    assert (height, width) == {"original": (43, 64), "sam2": (64, 64), "sam3": (56, 56)}[generation]
    assert all(candidate.mask.shape == (height, width) and candidate.mask.dtype == bool for candidate in candidates)
    assert (
        max(candidates[0].coarse.shape) == 4 * sam.side // (14 if generation == "sam3" else 16)
        or generation == "original"
    )
    masks = [candidate.full_mask(picture.size) for candidate in candidates]
    assert all(mask.shape == (40, 60) and mask.dtype == bool for mask in masks)


@pytest.mark.parametrize("band", [1, 60, 1000])
@pytest.mark.parametrize("size", [(60, 40), (301, 198), (17, 9)])
def test_a_mask_at_full_size_is_the_whole_stretched_however_it_is_cut(sam, picture, size, band, monkeypatch):
    candidate = sam.candidates(picture, [Point(10, 10)])[0]
    whole = functional.interpolate(candidate.logits[None, None], size[::-1], mode="bilinear", align_corners=False)
    monkeypatch.setattr(segmenter, "BAND", band)
    mask = candidate.full_mask(size)
    assert candidate.mask.any()
    assert np.mean(mask == (whole[0, 0] > 0).numpy()) > 0.999


def test_an_image_is_embedded_once_and_prompted_many_times(sam, image):
    def candidates(image):
        return sam.candidates(Picture.of(image, 64), [Point(10, 10)])

    embedded = []
    encoder_of(sam).register_forward_hook(lambda *_: embedded.append(True))
    first = candidates(image)
    candidates(image.rotate(90, expand=True))
    again = candidates(image.copy())
    assert len(embedded) == 2
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first, again, strict=True))
    for angle in (180, 270):
        candidates(image.rotate(angle))
    candidates(image)
    assert len(embedded) == 5
    assert len(sam._embeddings) == 2


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ([Point(10, 12)], None),
        ([Point(10, 12), Point(50, 30, on_target=False)], None),
        ([], Box(5, 6, 40, 30)),
        ([Point(50, 30, on_target=False)], Box(5, 6, 40, 30)),
    ],
)
def test_masks_are_those_of_sams_own_predictor(sam_folder, image, picture, points, box):
    sam = load_segment_anything(str(sam_folder), CPU, image_cache=2)
    found = sam.candidates(picture, points, box)
    predictor = import_segment_anything().SamPredictor(sam.model.inner)
    predictor.set_image(np.array(image))
    masks, ious, _ = predictor.predict(
        np.array([(point.x, point.y) for point in points]) if points else None,
        np.array([int(point.on_target) for point in points]) if points else None,
        np.array([box.left, box.top, box.right, box.bottom]) if box else None,
    )
    assert [candidate.predicted_iou for candidate in found] == ious.tolist()
    assert np.mean([candidate.full_mask(picture.size) for candidate in found] == masks) > 0.999


def own_answer(folder, generation, image, **prompts):
    """That of transformers' own model, of pixels and prompts as its processor makes them."""
    kind, side = KINDS[generation], {"sam2": 64, "sam3_tracker": 56}[generation]
    model = kind.model.from_pretrained(folder).eval()
    pixels = torch.from_numpy(np.array(image.resize((side, side), Image.Resampling.BILINEAR))).permute(2, 0, 1) / 255
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (kind.mean, kind.deviation))
    with torch.no_grad():
        return model(pixel_values=((pixels - mean) / deviation)[None], **prompts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("generation", ["sam2", "sam3"])
@pytest.mark.parametrize("prompt", ["point", "points", "box", "box and point"])
def test_masks_are_those_of_transformers_own_model(sam_folder_of, sam, generation, image, picture, prompt):
    """And as the authors advise: one mask where a prompt leaves no doubt, and points refine an answer to the first."""
    scale = sam.side / np.array(picture.size)
    on, off = (10, 12, 1), (50, 30, 0)
    points = {"point": [on], "points": [on, off], "box and point": [off]}.get(prompt, [])
    given = {"multimask_output": prompt == "point"}
    if points:
        given["input_points"] = torch.tensor(np.array([each[:2] for each in points]) * scale).float()[None, None]
        given["input_labels"] = torch.tensor([each[2] for each in points])[None, None]
    if prompt.startswith("box"):
        given["input_boxes"] = torch.tensor(np.array([5, 6, 40, 30]) * np.tile(scale, 2)).float()[None, None]
    folder, name = sam_folder_of(generation), {"sam2": "sam2", "sam3": "sam3_tracker"}[generation]
    if prompt == "points":
        first = {"input_points": given["input_points"][:, :, :1], "input_labels": given["input_labels"][:, :, :1]}
        begun = own_answer(folder, name, image, **first)
        best = begun.iou_scores[0, 0].argmax()
        given["input_masks"] = begun.pred_masks[:, 0, best][:, None]
    expected = own_answer(folder, name, image, **given)
    box = Box(5, 6, 40, 30) if prompt.startswith("box") else None
    found = sam.candidates(picture, [Point(x, y, bool(label)) for x, y, label in points], box)
    assert len(found) == (3 if prompt == "point" else 1)
    assert np.allclose([each.predicted_iou for each in found], expected.iou_scores[0, 0], atol=1e-5)
    assert torch.allclose(torch.stack([each.low for each in found]), expected.pred_masks[0, 0], atol=1e-5)


def test_some_points_are_answered_as_each_alone(sam, picture):
    points = [Point(10, 12), Point(50, 30), Point(33, 3)]
    for point, together in zip(points, sam.candidates_of_each(picture, points), strict=True):
        alone = sam.candidates(picture, [point])
        for a, b in zip(together, alone, strict=True):
            assert a.predicted_iou == pytest.approx(b.predicted_iou, abs=1e-5)
            assert torch.allclose(a.low, b.low, atol=1e-5)


def test_a_published_first_one_refines_what_the_first_point_selects(image, picture):
    torch.manual_seed(0)
    model = build_sam(SAM_CONFIG).eval()
    points = [Point(10, 12), Point(50, 30, on_target=False)]
    (found,) = SegmentAnything(OriginalSam(model), 1).candidates(picture, points)
    predictor = import_segment_anything().SamPredictor(model)
    predictor.set_image(np.array(image))
    _, ious, low = predictor.predict(np.array([(10, 12)]), np.array([1]))
    _, ious, low = predictor.predict(
        np.array([(10, 12), (50, 30)]), np.array([1, 0]), mask_input=low[[ious.argmax()]], multimask_output=False
    )
    assert found.predicted_iou == pytest.approx(float(ious[0]), abs=1e-5)
    assert np.allclose(found.low, low[0], atol=1e-4)


def test_an_official_checkpoint_is_told_by_its_width(tmp_path, monkeypatch):
    registry = import_segment_anything().sam_model_registry
    with torch.device("meta"):
        official = registry["vit_b"]()
    small = {"image_encoder.pos_embed": official.image_encoder.pos_embed.new_zeros((1, 1, 1, 768), device="cpu")}
    torch.save(small, tmp_path / "some.pth")
    built = []
    monkeypatch.setitem(registry, "vit_b", lambda: built.append("vit_b") or _Accepting())
    load_segment_anything(str(tmp_path / "some.pth"), CPU, image_cache=1)
    assert built == ["vit_b"]


class _Accepting(torch.nn.Module):
    """Takes any weights."""

    image_encoder = torch.nn.Module()
    image_encoder.blocks, image_encoder.img_size = (), 1024

    def load_state_dict(self, weights):
        assert "image_encoder.pos_embed" in weights


@pytest.mark.parametrize("name", ["nowhere.pth", "some.pth", "empty.pth", "garbage.pth", "folder", "broken"])
def test_a_checkpoint_that_cannot_be_loaded_is_named_with_the_remedy(tmp_path, sam_folder, name):
    (tmp_path / "folder").mkdir()
    shutil.copytree(sam_folder, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"123")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "garbage.pth").write_bytes(b"garbage" * 100)
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 1, 1, 7)}, tmp_path / "some.pth")
    with pytest.raises(ModelNotFoundError, match=r"REFAM_SAM.*Set it to 'tiny', 'none'"):
        load_segment_anything(str(tmp_path / name), CPU, image_cache=1)


def test_offline_an_official_name_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"sam_vit_b_01ec64\.pth is missing; download it from https"):
        load_segment_anything("vit_b", CPU, image_cache=1)


def test_an_official_name_is_found_in_torchs_hub_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 1, 1, 7)}, tmp_path / "checkpoints" / "sam_vit_b_01ec64.pth")
    with pytest.raises(ModelNotFoundError, match="width 7"):
        load_segment_anything("vit_b", CPU, image_cache=1)


@pytest.mark.process
def test_no_standin_outlives_the_import():
    code = (
        "import sys; from refam.torchvision_standins import import_segment_anything as load; load();"
        "print([name for name in sys.modules if name.partition('.')[0] == 'torchvision'"
        " and not hasattr(sys.modules[name], '__file__')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_tabled_positions_change_no_bit():
    encoders = [build_sam(SAM_CONFIG).image_encoder.eval() for _ in range(2)]
    encoders[1].load_state_dict(encoders[0].state_dict())
    table_positions(encoders[1])
    square = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(*(encoder(square) for encoder in encoders))


def test_in_half_precision_the_embedded_sam_finds_the_same():
    whole, half = (load_segment_anything("tiny", CPU, image_cache=8, half=half) for half in (False, True))
    assert next(encoder_of(half).parameters()).dtype is torch.float16
    rng = np.random.default_rng(3)
    for _ in range(6):
        scene = random_scene(rng)
        picture = Picture.of(scene.image, 128)
        place = np.argwhere(scene.things[0].mask).mean(axis=0)
        points = [Point(float(place[1]), float(place[0]))]
        features = [features_of(sam, picture) for sam in (whole, half)]
        assert torch.cosine_similarity(*features, dim=0) > 0.9999
        for ours, theirs in zip(half.candidates(picture, points), whole.candidates(picture, points), strict=True):
            assert intersection_over_union(ours.mask, theirs.mask) > 0.99
            assert ours.predicted_iou == pytest.approx(theirs.predicted_iou, abs=0.01)


@pytest.mark.parametrize("generation", ["sam2", "sam3"])
def test_in_half_precision_later_ones_compute_the_same(sam_folder_of, sam, generation, picture):
    half = load_segment_anything(str(sam_folder_of(generation)), CPU, image_cache=2, half=True)
    assert next(encoder_of(half).parameters()).dtype is torch.float16
    assert torch.cosine_similarity(features_of(sam, picture), features_of(half, picture), dim=0) > 0.999
    one, other = (each.candidates(picture, [Point(10, 10)])[0] for each in (sam, half))
    assert other.low.dtype is torch.float32
    assert torch.allclose(one.low, other.low, atol=0.05)


def test_what_fp16_does_not_hold_is_computed_in_bf16(picture, sam_folder_of, generation, caplog):
    sam = load_segment_anything(str(sam_folder_of(generation)), CPU, image_cache=2, half=True)
    encoder = encoder_of(sam)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "mlp" in name:
                weight.fill_(300)
    assert torch.isfinite(sam.candidates(picture, [Point(10, 10)])[0].logits).all()
    assert next(encoder.parameters()).dtype is torch.bfloat16
    assert "REFAM_PRECISION" in caplog.text


def test_another_kind_of_model_is_refused_with_those_that_are_supported(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam_hq"}))
    with pytest.raises(ModelNotFoundError, match=r"REFAM_SAM: .* says sam_hq, and sam2, sam2_video, .* are supported"):
        load_segment_anything(str(tmp_path), CPU, image_cache=1)


def test_a_folder_without_all_weights_is_refused(tmp_path, sam_folder_of):
    shutil.copytree(sam_folder_of("sam2"), tmp_path / "sam2")
    weights = load_file(tmp_path / "sam2" / "model.safetensors")
    weights.pop("no_memory_embedding")
    save_file(weights, tmp_path / "sam2" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotFoundError, match=r"REFAM_SAM: .* lack no_memory_embedding"):
        load_segment_anything(str(tmp_path / "sam2"), CPU, image_cache=1)


HUB_PROGRAM = """
import torch
from refam.sam.loading import load_segment_anything
from refam.sam.original import OriginalSam
for name in ("org/sam3", "org/other"):
    try:
        print(load_segment_anything(name, torch.device("cpu"), 1).side)
    except Exception as error:
        print(error)
"""


@pytest.mark.process
def test_of_a_hub_id_only_what_is_needed_is_downloaded(tmp_path, sam_folder_of):
    shutil.copytree(sam_folder_of("sam3"), tmp_path / "sam3")
    (tmp_path / "sam3" / "sam3.pt").write_bytes(bytes(2**20))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (tmp_path / "other" / "model.safetensors").write_bytes(bytes(2**20))
    with running_hub() as hub:
        hub.repositories = {f"org/{name}": tmp_path / name for name in ("sam3", "other")}
        loaded, refused = hub.run(HUB_PROGRAM, tmp_path / "home")
    assert loaded == "56"
    assert "'org/other': its config.json says clip" in refused
    assert set(hub.asked) == {"org/sam3/config.json", "org/sam3/model.safetensors", "org/other/config.json"}

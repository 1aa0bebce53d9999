import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from refam import sam as sam_module
from refam.clicks import Box
from refam.errors import ModelNotFoundError
from refam.evaluate import intersection_over_union
from refam.heatmap import Point
from refam.picture import Picture
from refam.sam import SegmentAnything, _load_folder
from refam.sam_attention import table_positions
from refam.synthetic.scenes import random_scene
from refam.torchvision_standins import import_segment_anything

CPU = torch.device("cpu")


@pytest.fixture
def sam(sam_folder):
    return SegmentAnything.from_name(str(sam_folder), CPU, image_cache=2)


def test_candidates_have_the_size_of_sams_input_and_the_mask_that_of_the_image(sam, picture):
    candidates = sam.candidates(picture, [Point(10, 10), Point(50, 30, on_target=False)])
    assert len(candidates) == 3
    assert all(candidate.mask.shape == (43, 64) and candidate.mask.dtype == bool for candidate in candidates)
    masks = [sam.full_mask(candidate, picture.size) for candidate in candidates]
    assert all(mask.shape == (40, 60) and mask.dtype == bool for mask in masks)


@pytest.mark.parametrize("band", [1, 60, 1000])
@pytest.mark.parametrize("size", [(60, 40), (301, 198), (17, 9)])
def test_a_mask_at_full_size_is_the_whole_stretched_however_it_is_cut(sam, picture, size, band, monkeypatch):
    candidate = sam.candidates(picture, [Point(10, 10)])[0]
    whole = functional.interpolate(candidate.logits[None, None], size[::-1], mode="bilinear", align_corners=False)
    monkeypatch.setattr(sam_module, "BAND", band)
    mask = sam.full_mask(candidate, size)
    assert candidate.mask.any()
    assert np.mean(mask == (whole[0, 0] > sam._model.mask_threshold).numpy()) > 0.999


def test_an_image_is_embedded_once_and_prompted_many_times(sam, image):
    def candidates(image):
        return sam.candidates(Picture.of(image, 64), [Point(10, 10)])

    embedded = []
    sam._model.image_encoder.register_forward_hook(lambda *_: embedded.append(True))
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
def test_masks_are_those_of_sams_own_predictor(sam, image, picture, points, box):
    found = sam.candidates(picture, points, box)
    predictor = import_segment_anything().SamPredictor(sam._model)
    predictor.set_image(np.array(image))
    masks, ious, _ = predictor.predict(
        np.array([(point.x, point.y) for point in points]) if points else None,
        np.array([int(point.on_target) for point in points]) if points else None,
        np.array([box.left, box.top, box.right, box.bottom]) if box else None,
    )
    assert [candidate.predicted_iou for candidate in found] == ious.tolist()
    assert np.mean([sam.full_mask(candidate, picture.size) for candidate in found] == masks) > 0.999


def test_an_official_checkpoint_is_told_by_its_width(tmp_path, monkeypatch):
    registry = import_segment_anything().sam_model_registry
    with torch.device("meta"):
        official = registry["vit_b"]()
    small = {"image_encoder.pos_embed": official.image_encoder.pos_embed.new_zeros((1, 1, 1, 768), device="cpu")}
    torch.save(small, tmp_path / "some.pth")
    built = []
    monkeypatch.setitem(registry, "vit_b", lambda: built.append("vit_b") or _Accepting())
    SegmentAnything.from_name(str(tmp_path / "some.pth"), CPU, image_cache=1)
    assert built == ["vit_b"]


class _Accepting(torch.nn.Module):
    """Takes any weights."""

    image_encoder = torch.nn.Module()
    image_encoder.blocks = ()

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
        SegmentAnything.from_name(str(tmp_path / name), CPU, image_cache=1)


def test_offline_an_official_name_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"sam_vit_b_01ec64\.pth is missing; download it from https"):
        SegmentAnything.from_name("vit_b", CPU, image_cache=1)


def test_an_official_name_is_found_in_torchs_hub_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 1, 1, 7)}, tmp_path / "checkpoints" / "sam_vit_b_01ec64.pth")
    with pytest.raises(ModelNotFoundError, match="width 7"):
        SegmentAnything.from_name("vit_b", CPU, image_cache=1)


@pytest.mark.process
def test_no_standin_outlives_the_import():
    code = (
        "import sys; from refam.torchvision_standins import import_segment_anything as load; load();"
        "print([name for name in sys.modules if name.partition('.')[0] == 'torchvision'"
        " and not hasattr(sys.modules[name], '__file__')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_tabled_positions_change_no_bit(sam_folder):
    encoders = [_load_folder(sam_folder).image_encoder.eval() for _ in range(2)]
    table_positions(encoders[1])
    square = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(*(encoder(square) for encoder in encoders))


def test_in_half_precision_the_embedded_sam_finds_the_same():
    whole, half = (SegmentAnything.from_name("tiny", CPU, image_cache=8, half=half) for half in (False, True))
    assert next(half._model.image_encoder.parameters()).dtype is torch.float16
    rng = np.random.default_rng(3)
    for _ in range(6):
        scene = random_scene(rng)
        picture = Picture.of(scene.image, 128)
        place = np.argwhere(scene.things[0].mask).mean(axis=0)
        points = [Point(float(place[1]), float(place[0]))]
        features = [sam._embed(picture).features.flatten() for sam in (whole, half)]
        assert torch.cosine_similarity(*features, dim=0) > 0.9999
        for ours, theirs in zip(half.candidates(picture, points), whole.candidates(picture, points), strict=True):
            assert intersection_over_union(ours.mask, theirs.mask) > 0.99
            assert ours.predicted_iou == pytest.approx(theirs.predicted_iou, abs=0.01)


def test_what_fp16_does_not_hold_is_computed_in_bf16(picture, sam_folder, caplog):
    sam = SegmentAnything.from_name(str(sam_folder), CPU, image_cache=2, half=True)
    encoder = sam._model.image_encoder
    with torch.no_grad():
        encoder.blocks[0].mlp.lin1.bias.fill_(60_000)
        encoder.blocks[0].mlp.lin2.weight.fill_(10)
    assert torch.isfinite(sam.candidates(picture, [Point(10, 10)])[0].logits).all()
    assert next(encoder.parameters()).dtype is torch.bfloat16
    assert "REFAM_PRECISION" in caplog.text

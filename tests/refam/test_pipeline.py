from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.measure import label

from refam import RefAM
from refam.clicks import Clicks
from refam.config import RefAMConfig
from refam.errors import DeviceError, ExpressionError, ModelNotFoundError
from refam.heatmap import Point, combine
from refam.pipeline import choose_device
from tests.support.models import by_word


def test_grounding_is_consistent(refam, image):
    grounding = refam.ground(image, "A largest orange goldfish")
    assert len(grounding.tokens) == len(grounding.maps) == 19
    assert np.allclose(grounding.maps.sum(axis=0), 1, atol=1e-6)
    kept = [token.kept for token in grounding.tokens]
    assert np.array_equal(grounding.heatmap, combine(grounding.maps[kept], refam.config))
    assert {token.text for token in grounding.tokens if token.kept} == {"▁orange", "▁gold", "fish"}
    row, column = np.unravel_index(grounding.focus.argmax(), grounding.focus.shape)
    assert (grounding.points[0].x, grounding.points[0].y) == ((column + 0.5) / 8 * 60, (row + 0.5) / 8 * 40)


def test_a_mask_comes_out_at_the_images_size(refam, image):
    result = refam.segment(image, "the goldfish")
    assert result.mask.shape == (40, 60)
    assert result.mask.dtype == bool
    assert 0 <= result.score <= 1
    assert [np.array_equal(result.mask, mask) for mask in result.masks] == [True]


def test_without_sam_the_heatmap_is_thresholded(config, image):
    result = RefAM.from_config(replace(config, sam="none")).segment(image, "the goldfish")
    (mask,) = result.masks
    assert label(mask, connectivity=1).max() == 1
    assert 0 < mask.mean() < 1


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_any_mode_of_image_is_read(refam, image, mode):
    converted = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    assert refam.segment(converted, "the goldfish").mask.shape == (40, 60)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 64)])
def test_any_size_of_image_is_read(refam, image, size):
    assert refam.segment(image.resize(size), "the goldfish").mask.shape == size[::-1]


def test_results_are_deterministic(config, image):
    one, other = RefAM.from_config(config), RefAM.from_config(config)
    first = one.segment(image, "the goldfish")
    torch.manual_seed(99)
    second = other.segment(image, "the goldfish")
    assert np.array_equal(first.grounding.maps, second.grounding.maps)
    assert np.array_equal(first.mask, second.mask)
    assert first.score == second.score


def test_what_was_asked_before_changes_no_more_than_the_last_digits(config, image):
    """Texts are encoded along with those that are not known yet, whose number moves sums in fp32."""
    fresh, asked = RefAM.from_config(config), RefAM.from_config(config)
    asked.read(["the red ball on the left of the zebra", "the goldfish"])
    asked.segment(image, "a largest orange goldfish")
    one, other = (refam.ground(image, "the goldfish").maps for refam in (fresh, asked))
    assert np.allclose(one, other, atol=1e-5)


def test_settings_can_be_changed_on_the_same_weights(refam, image):
    bare = refam.with_settings(magnets="", blocks="1")
    assert bare.backbone.models is refam.backbone.models
    assert len(bare.ground(image, "the goldfish").tokens) == 4
    assert not np.array_equal(
        refam.with_settings(seed=1).ground(image, "the goldfish").maps, refam.ground(image, "the goldfish").maps
    )


@pytest.mark.parametrize("expression", ["", "the", 7, None])
def test_a_bad_expression_costs_no_pass(refam, image, monkeypatch, expression):
    monkeypatch.setattr(refam.backbone, "token_maps", lambda *_: pytest.fail("a pass was run"))
    with pytest.raises(ExpressionError):
        refam.segment(image, expression)


class Constructed:
    """A backbone whose attention is made up: two fish, and a sink that sits on a word until magnets draw it off."""

    def __init__(self):
        self.right_fish, self.wrong_fish = np.full((2, 6, 6), 0.05)
        self.right_fish[1, 1] = 1.0
        self.wrong_fish[4, 4] = 1.0

    side = 6

    def tokenize(self, strings):
        return by_word(strings)

    def token_maps(self, picture, strings):
        tokens = [piece.text for pieces in by_word(strings) for piece in pieces]
        logits = np.zeros((len(tokens), 6, 6))
        logits[tokens.index("▁striped")] = 3 * self.right_fish
        logits[tokens.index("▁fish")] = self.right_fish + 1.2 * self.wrong_fish
        logits[tokens.index("▁pink") if "▁pink" in tokens else tokens.index("▁striped")] += 4
        weights = np.exp(logits)
        return (weights / weights.sum(axis=0)).astype(np.float32)


def test_magnets_draw_the_sink_off_a_word_that_matters(image):
    def ground(**settings):
        return RefAM(RefAMConfig(**settings), Constructed(), None).ground(image, "striped fish")

    def sinks(grounding):
        return [token.text for token in grounding.tokens if token.sink]

    def point(grounding):
        return grounding.points[0].x, grounding.points[0].y

    right, wrong = (15.0, 10.0), (45.0, 30.0)
    alone, with_magnets = ground(magnets=""), ground()
    assert sinks(alone) == ["▁striped"]
    assert point(alone) == wrong
    assert sinks(with_magnets) == ["▁pink"]
    assert point(with_magnets) == right


def test_the_embedded_names_and_missing_models(config):
    with pytest.raises(ModelNotFoundError, match="REFAM_SAM"):
        RefAM.from_config(replace(config, sam="nowhere.pth"))
    with pytest.raises(ModelNotFoundError, match="REFAM_MODEL"):
        RefAM.from_config(replace(config, model="./nowhere", sam="none"))


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(DeviceError, match=r"REFAM_DEVICE is 'cuda:99'.*set it to 'auto'"):
        choose_device("cuda:99")


def test_where_sam_finds_nothing_the_heatmap_is_thresholded(refam, image):
    class Blind:
        side = 64

        def candidates_of_each(self, picture, points):
            return [[SimpleNamespace(coarse=np.zeros((11, 16), dtype=bool), predicted_iou=0.9)] for _ in points]

    blind = RefAM(refam.config, refam.backbone, Blind())
    result = blind.segment(image, "the red ball")
    assert result.mask.any()
    point = result.grounding.points[0]
    assert result.mask[int(point.y), int(point.x)]


@pytest.mark.parametrize("size", [(3, 2000), (60000, 1)])
def test_a_needle_has_a_mask_of_its_size(size):
    refam = RefAM.from_config(RefAMConfig())
    assert refam.segment(Image.new("RGB", size, "red"), "the red ball").mask.shape == size[::-1]
    assert refam.select(Image.new("RGB", size, "red"), Clicks((Point(0, 0),))).mask.shape == size[::-1]

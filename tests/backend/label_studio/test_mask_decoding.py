"""Masks there and back: what results.py writes is read as the same mask, and so is what Label Studio's editor makes."""

import base64
import io

import numpy as np
import pytest
from label_studio_sdk.converter import brush
from PIL import Image

from backend.label_studio.mask_decoding import MaskError, masks_by_label
from backend.label_studio.mask_encoding import Drawing
from backend.label_studio.request import Control

LIMIT = 10**6


def ellipse(height=90, width=140):
    rows, columns = np.mgrid[:height, :width]
    return ((rows - 40) / 30) ** 2 + ((columns - 60) / 45) ** 2 < 1


def written(mask, kind, label="cat"):
    return list(Drawing(mask).regions(Control("tag", kind, ()), label, score=0.5, image_tag="image"))


@pytest.mark.parametrize("kind", ["brushlabels", "bitmasklabels"])
def test_pixels_come_back_as_they_were(kind):
    assert (masks_by_label(written(ellipse(), kind), LIMIT)["cat"] == ellipse()).all()


def test_a_polygon_comes_back_within_its_tolerance():
    read = masks_by_label(written(ellipse(), "polygonlabels"), LIMIT)["cat"]
    assert (read & ellipse()).sum() / (read | ellipse()).sum() > 0.97


def test_a_rectangle_is_the_box():
    (mask,) = masks_by_label(written(ellipse(), "rectanglelabels"), LIMIT).values()
    box = np.zeros((90, 140), bool)
    box[11:70, 16:105] = True
    assert (mask == box).all()


def test_a_turned_rectangle():
    value = {"x": 50, "y": 0, "width": 20, "height": 10, "rotation": 90, "rectanglelabels": ["cat"]}
    result = {"type": "rectanglelabels", "original_width": 100, "original_height": 200, "value": value}
    mask = masks_by_label([result], LIMIT)["cat"]
    expected = np.zeros((200, 100), bool)
    expected[0:20, 30:50] = True  # along the width goes down, along the height to the left
    assert (mask == expected).all()


def test_soft_alpha_of_an_edited_mask_is_cut_at_the_half():
    alpha = np.array([[0, 7, 127, 128], [255, 200, 15, 0]], np.uint8)
    rle = brush.encode_rle(np.repeat(alpha[..., None], 4, axis=2).ravel())
    result = {"type": "brushlabels", "original_width": 4, "original_height": 2}
    mask = masks_by_label([{**result, "value": {"format": "rle", "rle": rle, "brushlabels": ["cat"]}}], LIMIT)["cat"]
    assert mask.tolist() == [[False, False, False, True], [True, True, False, False]]


def test_regions_of_a_label_are_joined_and_labels_kept_apart():
    left, right = np.zeros((2, 6, 8), bool)
    left[:, :3], right[:, 5:] = True, True
    results = [*written(left, "brushlabels"), *written(right, "brushlabels"), *written(left, "bitmasklabels", "dog")]
    masks = masks_by_label(results, LIMIT)
    assert (masks["cat"] == (left | right)).all()
    assert (masks["dog"] == left).all()


def test_what_is_no_mask_is_left_out():
    others = [
        {"type": "textarea", "value": {"text": ["a cat"]}},
        {"type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["cat"]}},
        {"type": "brushlabels", "value": {"rle": []}},
        {"type": "relation"},
    ]
    assert masks_by_label(others, LIMIT) == {}


def png(height, width):
    file = io.BytesIO()
    Image.new("RGBA", (width, height)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("brushlabels", {"rle": [0, 0, 0, 9]}),
        ("brushlabels", {"rle": [0, 0, 0, 192]}),
        ("brushlabels", {"rle": [255, 255, 255, 255, 0, 0]}),
        ("brushlabels", {"rle": "text"}),
        ("bitmasklabels", {"imageDataURL": "data:image/png;base64,@@"}),
        ("bitmasklabels", {"imageDataURL": png(3, 3)}),
        ("bitmasklabels", {"imageDataURL": "data:image/png;base64,AAAA"}),
        ("polygonlabels", {"points": [[1], [2, 3]]}),
        ("rectanglelabels", {"x": None, "y": 0, "width": 1, "height": 1}),
    ],
)
def test_what_cannot_be_read_is_said(kind, value):
    result = {"type": kind, "original_width": 8, "original_height": 6, "value": {**value, kind: ["cat"]}}
    with pytest.raises(MaskError):
        masks_by_label([result], LIMIT)


def test_sizes_are_bounded_and_must_agree():
    with pytest.raises(MaskError, match="140 x 90"):
        masks_by_label(written(ellipse(), "brushlabels"), 100)
    with pytest.raises(MaskError):
        masks_by_label([*written(ellipse(), "brushlabels"), *written(ellipse(95), "brushlabels")], LIMIT)

import io

import numpy as np
import pytest
from PIL import Image

from backend.queue.gallery import THUMBNAIL_BYTES
from backend.worker.thumbnails import DIMMED, OPACITY, SIDE, TINT, thumbnail
from refam.picture import Picture


@pytest.mark.parametrize("size", [(1, 1), (SIDE, 3), (161, 160), (2000, 700)])
def test_any_picture_is_small(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    content = thumbnail(Picture.of(Image.fromarray(noise), SIDE), [noise[..., 0] > 127])
    picture = Image.open(io.BytesIO(content))
    assert SIDE >= max(picture.size) >= min(max(size), SIDE / 2)
    assert len(content) <= THUMBNAIL_BYTES


def test_what_any_mask_covers_is_tinted_and_the_rest_is_dimmed():
    masks = np.zeros((2, 90, 320), bool)
    masks[0, :, :100] = masks[1, :, 220:] = True
    content = thumbnail(Picture.of(Image.new("RGB", (320, 90), "white"), SIDE), masks)
    left, middle, right = (Image.open(io.BytesIO(content)).getpixel((x, 20)) for x in (10, 80, 150))
    tinted = [(1 - OPACITY) * 255 + OPACITY * channel for channel in TINT]
    assert left == right == pytest.approx(tinted, abs=5)
    assert middle == pytest.approx([255 * DIMMED] * 3, abs=5)

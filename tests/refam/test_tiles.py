from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from refam.picture import Picture
from refam.tiles import joined_maps, tiles_of

MOST = 8


def picture(width, height):
    ramp = np.linspace(0, 255, max(width, height)).astype(np.uint8)
    rows = (
        np.broadcast_to(ramp, (height, width)) if width >= height else np.broadcast_to(ramp[:, None], (height, width))
    )
    return Picture.of(Image.fromarray(np.ascontiguousarray(rows)), 64)


@pytest.mark.parametrize("size", [(100, 100), (200, 100), (100, 200), (150, 100)])
def test_up_to_twice_as_long_as_wide_the_image_is_read_as_it_is(size):
    whole = picture(*size)
    assert [tile.picture for tile in tiles_of(whole, MOST)] == [whole]


@pytest.mark.parametrize("size", [(210, 100), (100, 250), (400, 100), (100, 800), (3000, 100), (5000, 1)])
def test_overlapping_squares_cover_an_elongated_image(size):
    tiles = tiles_of(picture(*size), MOST)
    assert 1 < len(tiles) <= MOST
    assert tiles[0].start == 0
    assert tiles[-1].start + tiles[-1].length == pytest.approx(1)
    for tile, following in pairwise(tiles):
        assert tile.start < following.start <= tile.start + 0.76 * tile.length
    assert len({tile.picture.key for tile in tiles}) == len(tiles)
    if max(size) < 6 * min(size):
        assert all(tile.picture.size == (min(size), min(size)) for tile in tiles)


def test_a_tile_holds_its_part_of_the_image():
    tiles = tiles_of(picture(400, 100), MOST)
    levels = [np.asarray(tile.picture.resized((8, 8), Image.Resampling.BOX)).mean() / 255 for tile in tiles]
    assert levels == pytest.approx([tile.start + tile.length / 2 for tile in tiles], abs=0.02)


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (900, 100)])
def test_maps_are_joined_where_they_belong(size):
    whole = picture(*size)
    tiles = {tile.picture.key: tile for tile in tiles_of(whole, MOST)}

    def read(part):
        """Each cell's place along the whole image."""
        tile = tiles[part.key]
        along = tile.start + (np.arange(16) + 0.5) / 16 * tile.length
        heat = np.broadcast_to(along, (16, 16)) if size[0] > size[1] else np.broadcast_to(along[:, None], (16, 16))
        return np.stack([heat, 1 - heat]).astype(np.float32)

    maps = joined_maps(whole, MOST, read)
    assert np.allclose(maps.sum(axis=0), 1, atol=1e-5)
    profile = maps[0].mean(axis=0 if size[0] > size[1] else 1)
    assert profile == pytest.approx((np.arange(len(profile)) + 0.5) / len(profile), abs=0.5 / 16)


def test_a_mask_of_a_tile_lies_in_its_part_of_the_whole():
    whole = picture(400, 100)
    tile = tiles_of(whole, MOST)[2]
    part = np.zeros((50, 50), dtype=bool)
    part[10:20, 20:30] = True
    mask = tile.whole_mask(part, (100, 400))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1) == (20, 40)
    left = round(400 * tile.start)
    assert (columns.min(), columns.max() + 1) == (left + 40, left + 60)


def test_reduction_leaves_an_elongated_image_the_pixels_that_its_squares_take():
    reduced = Picture.of(Image.new("RGB", (4000, 500)), 32)
    assert reduced.pixels.size == (800, 100)
    assert Picture.of(Image.new("RGB", (900, 500)), 32).pixels.size == (100, 100)

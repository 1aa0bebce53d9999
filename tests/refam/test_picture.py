"""What is left of an image for the models, and that masks stay what they were."""

import io

import numpy as np
import pytest
from PIL import Image

from backend.images.decoding import decode
from refam import RefAM, RefAMConfig
from refam.choice import Chooser
from refam.evaluate import intersection_over_union, referrals
from refam.picture import Picture
from refam.proposals import PointProposer, Sought

PIXELS = 10**8
SIZES = [(384, 384), (1280, 960), (1000, 1777), (2400, 601), (4001, 2999)]


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def embedded():
    return RefAM.from_config(RefAMConfig(device="cpu"))


def test_a_small_image_is_left_as_it_is(image):
    picture = Picture.of(image, 20)
    assert picture.pixels.tobytes() == image.tobytes()
    assert (picture.size, picture.box) == (image.size, (0, 0, 60, 40))


def test_a_large_one_keeps_what_its_size_was_and_as_many_pixels_as_are_taken():
    picture = Picture.of(Image.new("RGB", (4001, 2101)), 128)
    assert picture.size == (4001, 2101)
    assert picture.pixels.size == (401, 421)  # each axis by a factor of its own
    assert picture.box == (0, 0, 400.1, 420.2)
    assert picture.resized((128, 20), Image.Resampling.LANCZOS).size == (128, 20)


def test_the_name_is_that_of_the_pixels_and_of_the_size(image):
    large = image.resize((600, 400), Image.Resampling.NEAREST)
    assert Picture.of(image, 64).key == Picture.of(image.copy(), 64).key
    assert Picture.of(image, 64).key != Picture.of(image.rotate(180), 64).key
    assert Picture.of(large, 1).key != Picture.of(large.crop((0, 0, 599, 400)), 1).key


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_part_of_a_pixel_stays_at_its_border_however_the_image_is_turned(kind, turn):
    """An image whose sides no scale divides, with a frame of 41 pixels, seen by models that take 30 x 30 of it."""
    values = np.zeros((799, 1001, 3), np.uint8)
    values[41:-41, 41:-41] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(Image.fromarray(values), kind, exif=exif)
    whole, small = decode(content, PIXELS), decode(content, PIXELS, side=30)
    assert whole.size == small.size == ((799, 1001) if turn > 4 else (1001, 799))
    assert small.pixels.width < whole.pixels.width / 5
    assert small.key == whole.key
    ours, theirs = (np.asarray(each.resized((30, 30), Image.Resampling.BILINEAR), float) for each in (small, whole))
    assert np.abs(ours - theirs).max() < 6


def scene(number, size):
    """A rendered scene at a size, with grain that reducing must not turn into patterns."""
    _, referral = referrals(number, 1)[0]
    image = referral.scene.image.resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(number).normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)), referral.expression


# Bounds on what was measured: to the pixel where nothing is reduced; else the models see values that differ by a few
# steps of 255, which moves edges: a JPEG's come from a coarser transform of its blocks
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_masks_of_reduced_images_are_those_of_whole_ones(embedded, kind, size):
    for number in range(2):
        image, expression = scene(number, size)
        content = encoded(image, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 1}))
        whole, reduced = decode(content, PIXELS), decode(content, PIXELS, side=embedded.side)
        embedded.free_memory()  # both have the file's name
        theirs = embedded.segment(whole, expression).mask
        embedded.free_memory()
        ours = embedded.segment(reduced, expression).mask
        if reduced.pixels.size == whole.size:
            assert np.array_equal(ours, theirs)
        assert intersection_over_union(ours, theirs) >= 0.99


def test_what_is_chosen_at_sams_resolution_is_chosen_at_the_images(embedded):
    for number in range(4):
        image, expression = scene(number, (1000, 601))
        picture = Picture.of(image, embedded.side)
        grounding = embedded.ground(picture, expression)
        sought = [Sought(expression, grounding.heatmap)]
        proposals = PointProposer(embedded.sam, embedded.config).propose(picture, sought)
        chosen, at_full_size = (
            Chooser(masks, grounding.maps, grounding.tokens, embedded.config).choose(
                grounding.text.phrase.target, grounding.heatmap
            )
            for masks in ([each.mask for each in proposals], [each.draw() for each in proposals])
        )
        assert chosen.indices == at_full_size.indices

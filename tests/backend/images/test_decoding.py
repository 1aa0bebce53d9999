"""Files as they come from anywhere: bombs, broken ones, animations, and the kinds that cameras make."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rq.timeouts import JobTimeoutException

from backend.images.decoding import FORMATS, MAX_SCANS, ImageError, decode
from backend.images.structure import has_too_many_parts
from tests.support.tasks import png

MAX_PIXELS = 50_000_000


def pixels_of(*given, **options):
    return decode(*given, **options).pixels


def refusal(content):
    with pytest.raises(ImageError) as caught:
        pixels_of(content, MAX_PIXELS)
    assert caught.value.remedy
    return caught.value.message


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2] = 255
    image = pixels_of(saved(Image.fromarray(pixels), "PNG", exif=exif), MAX_PIXELS)
    assert image.size == (2, 4)
    assert np.asarray(image)[:, 0, 0].tolist() == [255, 255, 0, 0]


def test_transparency_is_shown_on_white():
    content = saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG")
    assert pixels_of(content, MAX_PIXELS).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16", "F"])
def test_every_kind_of_pixel_becomes_rgb(mode):
    assert pixels_of(saved(Image.new(mode, (3, 2)), "TIFF"), MAX_PIXELS).mode == "RGB"


def animation(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_pages_are_refused(kind):
    assert "animated" in refusal(animation(kind))


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(width, height):
    """A PNG that claims a size and holds no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side):
    assert "pixels" in refusal(bomb(side, side))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"<html></html>",
        png()[:40],
        bomb(4, 4),
        b"GIF89a",
    ],
)
def test_unreadable_files_are_refused(content):
    assert "no readable image" in refusal(content)


def test_previews_behind_a_photograph_do_not_matter():
    """Phones write such files; browsers show the first picture."""
    photograph, preview = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (4, 3), "blue")
    image = pixels_of(saved(photograph, "MPO", save_all=True, append_images=[preview]), MAX_PIXELS)
    assert image.size == (8, 6)
    assert image.getpixel((0, 0))[0] > 200


def test_a_jpeg_of_endless_scans_is_refused():
    """75 bytes cost the time of a whole image."""
    start, *scans = saved(Image.new("L", (64, 64)), "JPEG", progressive=True).split(b"\xff\xda")
    last = scans.pop()[:-2]
    content = b"\xff\xda".join([start, *scans, *[last] * MAX_SCANS]) + b"\xff\xd9"
    assert f"more than {MAX_SCANS} scans" in refusal(content)


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 1)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2_000_000), 1)),
        chunk(b"iCCP", b"Profile\0\0" + zlib.compress(bytes(2_000_000), 1)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000), 1)) * 70,
    ],
    ids=["text", "international text", "colour profile", "many texts"],
)
def test_what_a_png_holds_beside_its_pixels_is_bounded(chunks):
    assert "text or colour profile of more than 1 MiB" in refusal(png()[:33] + chunks + png()[33:])


@pytest.mark.parametrize("tail", [b"<script>alert(1)</script>", b"PK\x03\x04", b"%PDF-1.7"])
def test_of_a_file_that_is_two_things_only_the_image_is_read(tail):
    assert pixels_of(png(5, 3) + tail, MAX_PIXELS).tobytes() == pixels_of(png(5, 3), MAX_PIXELS).tobytes()


@pytest.mark.parametrize("error", [JobTimeoutException, MemoryError])
def test_what_is_no_fault_of_the_file_is_not_laid_to_it(monkeypatch, error):
    def interrupted(*_):
        raise error

    monkeypatch.setattr("backend.images.decoding.upright", interrupted)
    with pytest.raises(error):
        pixels_of(png(), MAX_PIXELS, (JobTimeoutException,))


def readable(content):
    try:
        image = pixels_of(content, 10_000)
    except ImageError:
        return False
    assert image.mode == "RGB"
    return True


@given(
    st.sampled_from([b"", *(saved(Image.new("P", (3, 2)).convert("RGB"), kind)[:12] for kind in FORMATS)]), st.binary()
)
def test_any_bytes_are_an_image_or_refused(start, rest):
    readable(start + rest)


@given(
    st.sampled_from([saved(Image.effect_noise((9, 7), 50).convert("RGB"), kind) for kind in FORMATS]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
)
def test_any_damage_to_a_file_leaves_an_image_or_is_refused(content, edits):
    damaged = bytearray(content)
    for place, value in edits:
        damaged[place % len(damaged)] = value
    assert readable(bytes(damaged)) or damaged != content


def grey(values, **options):
    """What is decoded of a grey TIFF with these values."""
    return np.asarray(pixels_of(saved(Image.fromarray(values), "TIFF", **options), MAX_PIXELS))[0, :, 0].tolist()


def test_tiffs_of_more_than_8_bits_follow_the_rule():
    assert grey(np.array([[0, 25700, 65535]], np.uint16)) == [0, 100, 255]  # the high byte
    assert grey(np.array([[0, 25700, 65535]], np.uint16), tiffinfo={262: 0}) == [255, 155, 0]  # white is zero
    assert grey(np.array([[-5, 0, 5]], np.int32)) == [0, 128, 255]  # stretched
    assert grey(np.array([[0, np.nan, 0.5, 1, np.inf]], np.float32)) == [0, 0, 128, 255, 0]
    assert grey(np.full((1, 3), 7, np.int32)) == [0, 0, 0]


def test_a_tiff_without_a_single_number_is_refused():
    assert "finite number" in refusal(saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))


@pytest.mark.parametrize(("orientation", "place"), [(1, (0, 0)), (3, (3, 7)), (6, (0, 3)), (8, (7, 0))])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_is_turned_once_by_its_own_tag(orientation, place, compression):
    pixels = np.zeros((4, 8), np.uint8)
    pixels[0, 0] = 200
    image = pixels_of(
        saved(Image.fromarray(pixels), "TIFF", compression=compression, tiffinfo={274: orientation}), MAX_PIXELS
    )
    assert np.argwhere(np.asarray(image)[..., 0]).tolist() == [list(place)]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00", "HEIC"),
        (b"\xff\x0a\x00\x00", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"8BPS\x00\x01", "Photoshop"),
        (bytes(128) + b"DICM\x02\x00", "DICOM"),
    ],
)
def test_other_formats_are_refused_by_name(content, kind):
    assert f"the file is {kind}" in refusal(content)


@pytest.mark.parametrize("size", [(3, 2000), (60000, 1), (1, 1)])
def test_needles_are_images(size):
    assert pixels_of(saved(Image.new("RGB", size), "PNG"), MAX_PIXELS).size == size


@pytest.mark.parametrize(("limit", "remedy"), [(10, "raise REFAM_BACKEND_IMAGE_MAX_PIXELS"), (178_956_970, "tiles")])
def test_a_setting_at_its_ceiling_is_not_to_be_raised(limit, remedy):
    with pytest.raises(ImageError) as caught:
        pixels_of(bomb(20_000, 10_000), limit)
    assert remedy in caught.value.remedy
    assert ("raise" in caught.value.remedy) == (limit == 10)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP"])
@given(cut=st.integers(0, 400), start=st.binary(max_size=8))
def test_counting_parts_of_broken_files_never_fails(kind, cut, start):
    file = io.BytesIO()
    Image.new("RGB", (5, 5)).save(file, kind)
    whole = file.getvalue()
    assert not has_too_many_parts(whole)
    assert has_too_many_parts(whole[:cut]) in (True, False)
    assert has_too_many_parts(whole[:8] + start + whole[8 + len(start) :]) in (True, False)


def test_a_tall_tiff_of_a_strip_for_each_row_is_read():
    file = io.BytesIO()
    Image.new("L", (1, 60_000), 200).save(file, "TIFF", tiffinfo={278: 1})
    assert decode(file.getvalue(), 10**6).size == (1, 60_000)


@pytest.mark.parametrize(
    ("kind", "start", "part"), [("JPEG", 2, b"\xff\xe5\x00\x02"), ("PNG", 33, b"\0\0\0\0aaAa" + bytes(4))]
)
def test_files_of_many_small_parts_are_refused_before_they_are_decoded(kind, start, part):
    file = io.BytesIO()
    Image.new("RGB", (5, 5)).save(file, kind)
    whole = file.getvalue()
    many = whole[:start] + part * 100_001 + whole[start:]
    with pytest.raises(ImageError) as caught:
        decode(many, 10**6)
    assert caught.value.message == "the file is made of more than 100000 parts."
    assert not has_too_many_parts(whole[:start] + part * 1000 + whole[start:])

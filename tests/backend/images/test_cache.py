from PIL import Image

from backend.images.cache import LIFETIME, ImageCache
from refam.picture import Picture


class Counting:
    def __init__(self):
        self.asked = []

    def load(self, reference, field, task, project=""):
        self.asked.append((reference, field))
        return Picture.of(Image.new("RGB", (10, 10)), 10)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


SIZE = 400  # bytes of the image above, as Pillow keeps it


def test_an_image_is_loaded_once():
    loader = Counting()
    images = ImageCache(loader, SIZE)
    assert images.load("a", "image", "1") is images.load("a", "image", "1")
    assert loader.asked == [("a", "image")]


def test_the_least_used_goes_first_and_the_bound_holds():
    loader = Counting()
    images = ImageCache(loader, 2 * SIZE)
    for reference in ("a", "b", "a", "c", "a", "b"):
        images.load(reference, "image", "1")
    assert [reference for reference, _ in loader.asked] == ["a", "b", "c", "b"]


def test_an_image_beyond_the_bound_is_not_kept():
    loader = Counting()
    images = ImageCache(loader, SIZE - 1)
    images.load("a", "image", "1")
    images.load("a", "image", "1")
    assert len(loader.asked) == 2


def test_an_old_image_is_loaded_anew():
    loader, clock = Counting(), Clock()
    images = ImageCache(loader, SIZE, clock)
    for clock.now in (0, LIFETIME - 1, LIFETIME, 2 * LIFETIME - 1):
        images.load("a", "image", "1")
    assert len(loader.asked) == 2

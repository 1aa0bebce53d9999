"""Images of the next tasks are there before the device asks for them."""

import threading
import time

import pytest
from PIL import Image

from backend.errors import TaskError
from backend.images.cache import ImageCache
from backend.images.prefetch import Prefetcher
from backend.queue.priorities import Priority
from refam.picture import Picture
from tests.support.processes import eventually
from tests.support.tasks import request_of, task

PIXELS = 10**6


class Slow:
    """A loader that takes its time, unless it is told to hurry, and finds no image named "bad"."""

    def __init__(self):
        self.loaded = []
        self.hurry = threading.Event()

    def load(self, reference, field, task, project=""):
        self.loaded.append(reference)
        self.hurry.wait(5)
        if reference == "bad":
            raise TaskError(field, "it is no image.", "Use another.")
        return Picture.of(Image.new("RGB", (10, 10)), 10)


@pytest.fixture
def slow():
    slow = Slow()
    slow.hurry.set()
    return slow


@pytest.fixture
def submit(queue, settings):
    def submit(*images, priority=Priority.BATCH):
        tasks = [task(number, "left", image) for number, image in enumerate(images)]
        queue.submit([request_of(each, settings) for each in tasks], priority)

    return submit


@pytest.fixture
def prepared():
    return []


@pytest.fixture
def prefetch(queue, slow, prepared):
    made = []

    def prefetch(depth, cache_pixels=PIXELS):
        made.append(Prefetcher(ImageCache(slow, cache_pixels), queue.upcoming, depth, prepared.append))
        return made[-1]

    yield prefetch
    slow.hurry.set()
    for each in made:
        each.close()


def test_the_next_images_are_loaded_and_no_more(slow, submit, prefetch, backlog):
    submit("b", "c", "d")
    submit("a", priority=Priority.INTERACTIVE)
    images = prefetch(2)
    images.load("now", "image", "1")
    eventually(lambda: len(slow.loaded) == 3)
    time.sleep(0.2)
    assert set(slow.loaded) == {"now", "a", "b"}
    assert backlog.depths()["batch"]["waiting"] == 3  # nothing was taken
    images.load("a", "image", "1")
    assert slow.loaded.count("a") == 1


def test_what_is_loaded_ahead_is_prepared_for_the_models(slow, submit, prefetch, prepared):
    submit("a", "bad")
    prefetch(2).load("now", "image", "1")
    eventually(lambda: {"a", "bad"} <= set(slow.loaded))
    eventually(lambda: prepared)
    assert [picture.size for picture in prepared] == [(10, 10)]


def test_an_image_underway_is_waited_for_and_not_loaded_twice(slow, submit, prefetch):
    submit("a")
    images = prefetch(1)
    images.load("now", "image", "1")
    eventually(lambda: "a" in slow.loaded)
    assert images.load("a", "image", "1").size == (10, 10)
    assert slow.loaded.count("a") == 1


def test_the_device_does_not_wait_for_the_next_image(slow, submit, prefetch):
    submit("a")
    images = prefetch(1)
    images.load("now", "image", "1")  # kept from now on
    slow.hurry.clear()
    eventually(lambda: not images._underway)
    submit("b")
    start = time.monotonic()
    images.load("now", "image", "1")
    assert time.monotonic() - start < 3  # of the 5 that an image takes


def test_a_bad_image_is_reported_by_its_own_task(slow, submit, prefetch):
    submit("bad")
    images = prefetch(1)
    images.load("now", "image", "1")
    eventually(lambda: "bad" in slow.loaded)
    with pytest.raises(TaskError, match="it is no image"):
        images.load("bad", "image", "1")


def test_it_can_be_switched_off(slow, submit, prefetch):
    submit("a")
    prefetch(0).load("now", "image", "1")
    time.sleep(0.2)
    assert slow.loaded == ["now"]


def test_a_queue_that_fails_does_no_harm(slow, prefetch, connection):
    images = prefetch(1)
    connection.set("rq:queue:refam-batch", "no list")
    assert images.load("now", "image", "1")
    eventually(lambda: not images._underway)
    assert images.load("now", "image", "1")


def test_threads_load_an_image_once(slow):
    images = ImageCache(slow, PIXELS)
    slow.hurry.clear()
    threads = [threading.Thread(target=images.load, args=("a", "image", "1")) for _ in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: slow.loaded)
    slow.hurry.set()
    for thread in threads:
        thread.join()
    assert slow.loaded == ["a"]

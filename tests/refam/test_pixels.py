import threading
from dataclasses import replace

import numpy as np

from refam import RefAM
from refam.picture import Picture
from refam.pixels import KEPT, PreparedPixels

TEXT = "a largest orange goldfish"


def test_an_image_that_another_thread_prepared_is_not_resized_again(config, picture, monkeypatch):
    refam = RefAM.from_config(config)
    expected = refam.segment(replace(picture, key=b"unprepared"), TEXT)
    thread = threading.Thread(target=refam.prepare, args=(picture,))
    thread.start()
    thread.join()
    with monkeypatch.context() as patch:
        patch.delattr(Picture, "resized")
        refam.prepare(picture)  # as the queue is looked through for each job, and for images that come later
        found = refam.segment(picture, TEXT)
        refam.prepare(picture)  # known by now, which costs nothing
    assert np.array_equal(found.mask, expected.mask)
    assert found.score == expected.score


def test_prepared_pixels_are_taken_once_and_bounded_in_number():
    pixels = PreparedPixels()
    for number in range(KEPT + 1):
        pixels.put(number, f"ready {number}")
    assert pixels.take(0, lambda: "made") == "made"
    assert pixels.take(1, lambda: "made") == "ready 1"
    assert pixels.take(1, lambda: "made") == "made"

"""What the worker keeps: nothing of an image whose task failed, and of masks those that are shown."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from PIL import Image

from backend.errors import TaskError
from backend.worker.predictor import Predictor
from refam.picture import Picture
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import request_of, task


class OneImage:
    """A loader that keeps nothing, and remembers weakly what it loaded."""

    def __init__(self, image):
        self._image = image
        self.loaded = None

    def load(self, reference, field, task, project=""):
        image, self._image = self._image, None
        self.loaded = weakref.ref(image)
        return image


@pytest.mark.parametrize(("text", "reason"), [("too large", "its memory does not hold"), ("unusable", "no word")])
def test_an_image_whose_task_failed_is_not_kept(settings, shared, text, reason):
    loader = OneImage(Picture.of(Image.new("RGB", (10, 10)), 10))
    predictor = Predictor(StubSegmenter(), loader, shared.gallery, settings)
    with pytest.raises(TaskError, match=reason) as raised:
        predictor.draw(predictor.find(request_of(task(1, text), settings)))
    del raised
    gc.collect()
    assert loader.loaded() is None, "something that outlives the task still refers to its image"


def test_of_many_masks_one_is_shown_every_few_seconds(settings, shared):
    class Same:
        def load(self, reference, field, task, project=""):
            return Picture.of(Image.new("RGB", (10, 10)), 10)

    predictor = Predictor(StubSegmenter(), Same(), shared.gallery, settings)
    for number in range(1, 4):
        predictor.draw(predictor.find(request_of(task(number, "left"), settings)))
    assert [mask["task"] for mask in shared.gallery.masks()] == ["1"]


class Huge:
    """A loader whose images have 49 megapixels."""

    def load(self, reference, field, task, project=""):
        return Picture.of(Image.new("L", (7000, 7000)), 10)


class Striped(StubSegmenter):
    """Finds so many things for each text."""

    def segment(self, picture, expression):
        found = super().segment(picture, expression)
        return SimpleNamespace(masks=[found.mask] * int(expression.split()[1]), score=0.75, warnings=())


def test_the_masks_of_a_task_are_bounded_together(settings, shared):
    predictor = Predictor(Striped(), Huge(), shared.gallery, settings)
    with pytest.raises(TaskError, match=r"more than 4\.3 thousand megapixels"):
        predictor.find(request_of(task(1, ["left 30", "left 30", "left 30"]), settings))
    found = predictor.find(request_of(task(1, ["left 5", "right 5"]), settings))
    kept = sum(bits.nbytes for answer in found.answers for bits, _ in answer.masks._packed)
    assert kept == 10 * 49_000_000 / 8
    assert [mask.sum() for answer in found.answers for mask in answer.masks] == [24_500_000] * 10

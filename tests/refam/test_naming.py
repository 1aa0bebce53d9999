"""Several names looked for at once."""

import numpy as np
import pytest

from refam.backbones import Piece
from refam.confidence import Signals
from refam.errors import ExpressionError
from refam.naming import Named, with_one_name_each
from refam.pipeline import RefAM
from refam.proposals import Proposal
from refam.text import MAX_TOKENS, Role, read_names
from tests.support.models import by_word


def thing(left, right):
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, left:right] = True
    return Proposal(mask, mask.copy)


def test_a_thing_bears_the_name_that_is_most_present_there():
    mug, again, lid, ball = thing(0, 6), thing(0, 5), thing(4, 6), thing(7, 9)
    found = [(0, mug, 0.4), (1, again, 0.6), (2, lid, 0.3), (0, ball, 0.2)]
    named = with_one_name_each(Named(name, thing, Signals(present, 0.0)) for name, thing, present in found)
    assert [(each.name, each.thing) for each in named] == [(1, again), (2, lid), (0, ball)]


def test_names_are_read_for_one_pass():
    mug, light = read_names(["mug", "pink traffic light"], by_word, "_ with pink", "pink purple")
    assert mug.strings == light.strings == ("mug", "pink traffic light", "_", "with", "purple")
    assert [token.text for token in mug.tokens] == [token.text for token in light.tokens]
    own, other = [Role.WORD, Role.END], [Role.OTHER_NAME, Role.END]
    magnets = [Role.MAGNET, Role.END] * 3
    assert [token.role for token in mug.tokens] == [*own, *[Role.OTHER_NAME] * 2, *other, *magnets]
    assert [token.role for token in light.tokens] == [*other, Role.WORD, *[Role.WORD, *own], *magnets]


@pytest.mark.parametrize(("name", "count"), [("mug", None), ("red mugs", None), ("two mugs", 2)])
def test_all_that_bears_a_name_is_meant_if_it_says_no_number(name, count):
    (text,) = read_names([name], by_word)
    assert text.phrase.target.count == count


@pytest.mark.parametrize("name", ["", "of the", "anything but mugs"])
def test_a_name_that_cannot_be_looked_for_is_told(name):
    with pytest.raises(ExpressionError, match=f"The name {name!r} cannot be looked for"):
        read_names(["mug", name], by_word)


def test_no_word_of_a_name_is_left_out():
    def tokenize(strings):
        return [[Piece("cl", 0, 5, False, True), *pieces[1:]] for pieces in by_word(strings)]

    with pytest.raises(ExpressionError, match=r"The name .class 7. cannot be looked for\. The model does not know .cl"):
        read_names(["class 7"], tokenize)


def test_names_are_bounded():
    with pytest.raises(ExpressionError, match=f"The 300 names .* at most {MAX_TOKENS}"):
        read_names([f"mug{number}" for number in range(300)], by_word)


def test_all_names_take_one_pass(refam, image, monkeypatch):
    passes, token_maps = [], refam.backbone.token_maps
    monkeypatch.setattr(
        refam.backbone, "token_maps", lambda picture, texts: passes.append(texts) or token_maps(picture, texts)
    )
    found = list(refam.segment_names(image, ["red ball", "zebra", "goldfish"]))
    assert [texts[:3] for texts in passes] == [("red ball", "zebra", "goldfish")]
    assert len(found) == 3
    assert all(mask.shape == (40, 60) for each in found for mask in each.masks)
    list(refam.segment_names(image, ["red ball", "zebra", "goldfish"]))
    assert len(passes) == 1


def test_a_point_alone_does_not_find_all(config, refam, image):
    with pytest.raises(ExpressionError, match="REFAM_CHOICE"):
        list(refam.with_settings(method="faithful").segment_names(image, ["zebra"]))


def test_an_image_of_one_colour(refam, image):
    (found,) = RefAM(refam.config, refam.backbone, None).segment_names(image.resize((1, 1)), ["zebra"])
    assert (found.masks == []) == (found.score == 0)

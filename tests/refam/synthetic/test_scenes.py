import numpy as np
import pytest

from refam.synthetic.captions import caption, vocabulary
from refam.synthetic.referrals import REFERRALS, refer
from refam.synthetic.scenes import Wish, random_scene, render
from refam.synthetic.things import FREE_COLOURED, KINDS, OWN_PALETTE


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_scene_follows_from_its_seed():
    first, second, other = (random_scene(rng(seed)) for seed in (1, 1, 2))
    assert first.image.tobytes() == second.image.tobytes() != other.image.tobytes()


def test_masks_do_not_overlap_and_hold_what_was_drawn():
    for seed in range(20):
        scene = random_scene(rng(seed))
        masks = np.stack([thing.mask for thing in scene.things])
        assert masks.sum(axis=0).max() == 1
        for thing in scene.things:
            x, y = thing.centre
            ys, xs = np.nonzero(thing.mask)
            assert abs(xs.mean() - x) < 8 and abs(ys.mean() - y) < 8
            assert thing.mask.sum() > 100


def test_every_kind_can_be_seen_against_a_plain_background():
    for number, kind in enumerate(KINDS):
        scene = render(rng(number), [Wish(kind, "blue" if kind.free_coloured else None, "big")])
        inside = np.asarray(scene.image)[scene.things[0].mask].astype(float)
        outside = np.asarray(scene.image)[~scene.things[0].mask].astype(float)
        assert np.abs(inside.mean(axis=0) - outside.mean(axis=0)).max() > 20, kind.noun


def test_a_larger_scale_shows_the_same_kinds_in_more_pixels():
    wishes = [Wish(OWN_PALETTE[0]), Wish(FREE_COLOURED[0], "red")]
    scene = render(rng(3), wishes, scale=4)
    assert scene.image.size == (512, 512)
    assert scene.things[0].mask.shape == (512, 512)
    assert [thing.kind for thing in scene.things] == [wish.kind for wish in wishes]


def test_there_are_twenty_nouns_with_a_look_of_their_own():
    assert len({kind.noun for kind in OWN_PALETTE}) >= 20
    looks = {(kind.colour, kind.marks, str(kind.pattern)) for kind in OWN_PALETTE}
    assert len(looks) == len(OWN_PALETTE)


def test_captions_and_referrals_use_only_the_vocabulary():
    words = set(vocabulary())
    for seed in range(300):
        assert set(caption(rng(seed), random_scene(rng(seed))).split()) <= words
    for kind in REFERRALS:
        for seed in range(20):
            assert set(refer(rng(seed), kind).expression.split()) <= words


@pytest.mark.parametrize("kind", REFERRALS)
def test_a_referral_has_one_right_answer(kind: str):
    for seed in range(30):
        referral = refer(rng(seed), kind)
        things, words = referral.scene.things, set(referral.expression.split())
        target = things[referral.targets[0]]
        fits = [thing for thing in things if thing.kind.noun in words or thing.colour in words]
        if kind in ("noun", "colour", "shape"):
            assert fits == [target]
        elif kind == "colour_noun":
            assert [t for t in things if t.kind.noun in words and t.colour in words] == [target]
        else:
            rivals = [t for t in things if (t.kind, t.colour) == (target.kind, target.colour)]
            assert len(rivals) == 2


def test_sides_and_sizes_are_told_right():
    for seed in range(40):
        by_side = refer(rng(seed), "position")
        target, rival = by_side.scene.things[:2]
        words = by_side.expression.split()
        if {"left", "leftmost"} & set(words):
            assert target.centre[0] < rival.centre[0]
        elif {"right", "rightmost"} & set(words):
            assert target.centre[0] > rival.centre[0]
        elif {"top", "upper"} & set(words):
            assert target.centre[1] < rival.centre[1]
        else:
            assert target.centre[1] > rival.centre[1]
        by_size = refer(rng(seed), "size")
        target, rival = by_size.scene.things[:2]
        is_big = bool({"big", "large"} & set(by_size.expression.split()))
        assert (target.mask.sum() > rival.mask.sum()) == is_big

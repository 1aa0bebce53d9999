"""How well the names of a label config find the things that bear them, on rendered scenes that training never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam.evaluate import Progress, intersection_over_union, referrals
from refam.pipeline import RefAM
from refam.synthetic.scenes import Thing
from refam.synthetic.things import FREE_COLOURED, OWN_PALETTE

__all__ = ["evaluate_names"]

NOUNS = sorted({kind.noun for kind in (*OWN_PALETTE, *FREE_COLOURED)})
KINDS = ("noun", "position", "size", "all")  # of scenes: one thing of a kind, two, or more
NAMES = (4, 8, 16)
LEAST_SCORES = (0.0, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Region:
    """A mask that a name got, with the name's score, and whether it is a thing of that name that no other mask of it
    is."""

    score: float
    right: bool


def evaluate_names(refam: RefAM, seed: int, count: int, progress: Progress = iter) -> dict[str, Any]:
    """On `count` rendered scenes look for NAMES names at once: those of the scene's own things, and others in random
    order.

    Returns, for each number of names, `things`, how many there are to be found, and for each of LEAST_SCORES the
    precision, the share of masks that are a thing of the name (IoU above 1/2), and the recall, the share of things that
    are found so.
    """
    samples = [referral.scene for _, referral in referrals(seed, count, KINDS)]
    regions: dict[int, list[Region]] = {number: [] for number in NAMES}
    things = 0
    for i, scene in enumerate(progress(samples)):
        named = [thing for thing in scene.things if thing.kind.noun in NOUNS]
        things += len(named)
        own = list(dict.fromkeys(thing.kind.noun for thing in named))
        rng = np.random.default_rng((seed, i))
        others = rng.permutation([noun for noun in NOUNS if noun not in own]).tolist()
        for number in NAMES:
            names = rng.permutation([*own, *others[: max(0, number - len(own))]]).tolist()
            for name, found in zip(names, refam.segment_names(scene.image, names), strict=True):
                truth = [thing for thing in named if thing.kind.noun == name]
                regions[number] += [Region(found.score, right) for right in _are_right(found.masks, truth)]
    return {
        f"{number} names": {"things": things, "by_least_score": [_at(rows, least, things) for least in LEAST_SCORES]}
        for number, rows in regions.items()
    }


def _are_right(masks: Sequence[NDArray[np.bool_]], truth: Sequence[Thing]) -> list[bool]:
    """For each mask, best first, whether it is one of the things, each of which counts once."""
    left, right = list(truth), []
    for mask in masks:
        hit = next((thing for thing in left if intersection_over_union(mask, thing.mask) > 1 / 2), None)
        left = [thing for thing in left if thing is not hit]
        right.append(hit is not None)
    return right


def _at(regions: Sequence[Region], least: float, things: int) -> dict[str, float]:
    kept = [region.right for region in regions if region.score >= least]
    return {
        "least_score": least,
        "precision": round(float(np.mean(kept)), 4) if kept else 1.0,
        "recall": round(sum(kept) / things, 4),
    }

"""How well a model points and segments, on rendered scenes that training never saw; and what each part adds.

Training draws its scenes from seeds of three numbers, evaluation from seeds of four: no scene can be in both.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from refam.heatmap import Point
from refam.picture import Picture
from refam.pipeline import RefAM
from refam.refine import propose
from refam.synthetic.referrals import REFERRALS, Referral, refer

__all__ = ["ABLATIONS", "Outcome", "ablate", "evaluate_rendered", "intersection_over_union", "referrals", "summarise"]

Mask = NDArray[np.bool_]
Progress = Callable[[Iterable[Any]], Iterable[Any]]
EVALUATION = 2509_22650  # marks evaluation's seeds

ABLATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "no magnets": {"magnets": ""},
    "no sink filter": {"filter_sinks": False},
    "no stop-word filter": {"filter_stop_words": False},
    "no noun phrase": {"noun_phrase": False},
    "words' maps summed": {"combine": "sum"},
    "no smoothing": {"smoothing": 0.0},
    "no spatial bias": {"spatial_bias": False},
    "no relation bias": {"relation_bias": False},
    "mean of probabilities": {"average": "probabilities"},
    "one point": {"points": 1},
    "mask chosen by SAM's own rating": {"choose_by_heatmap": False},
    "nothing but the sum over words": {
        "magnets": "",
        "filter_sinks": False,
        "noun_phrase": False,
        "average": "probabilities",
        "combine": "sum",
        "smoothing": 0.0,
        "spatial_bias": False,
        "relation_bias": False,
        "points": 1,
        "choose_by_heatmap": False,
    },
}


@dataclass(frozen=True)
class Outcome:
    """One expression's result: whether the point lies in the true mask, and the mask's overlap with it in pixels."""

    kind: str
    pointed: bool
    intersection: int
    union: int

    @property
    def iou(self) -> float:
        return self.intersection / self.union if self.union else 1.0


def referrals(seed: int, count: int) -> list[tuple[str, Referral]]:
    """`count` referrals with their kinds, the kinds taken in turn. The same seed gives the same scenes."""
    kinds = tuple(REFERRALS)
    return [
        (kind, refer(np.random.default_rng((EVALUATION, seed, i, 0)), kind))
        for i in range(count)
        for kind in (kinds[i % len(kinds)],)
    ]


def evaluate_rendered(
    refam: RefAM, untrained: RefAM, seed: int, count: int, progress: Progress = iter
) -> dict[str, Any]:
    """Evaluate on `count` rendered scenes, with controls on the same scenes.

    Controls: `wrong_text` reads the next scene's expression, `centre_point` and `random_object` prompt SAM with the
    image's centre and with a point on any one thing, `untrained` is the same architecture with random weights.

    Returns pointing accuracy (point in the true mask), mean IoU and overall IoU (sum of intersections over sum of
    unions), each in [0, 1]: for all, by kind and for each control.
    """
    samples = referrals(seed, count)
    rng = np.random.default_rng((EVALUATION, seed, 0, 1))
    outcomes: dict[str, list[Outcome]] = {
        name: [] for name in ("default", "wrong_text", "centre_point", "random_object", "untrained")
    }
    for i, (kind, referral) in enumerate(progress(samples)):
        image, truth = referral.scene.image, referral.scene.things[referral.target].mask
        wrong = samples[(i + 1) % len(samples)][1].expression
        centre = Point(image.width / 2, image.height / 2)
        things = referral.scene.things
        somewhere = _point_on(things[rng.integers(len(things))].mask, rng)
        outcomes["default"].append(_segment(refam, kind, image, referral.expression, truth))
        outcomes["wrong_text"].append(_segment(refam, kind, image, wrong, truth))
        outcomes["centre_point"].append(_prompt(refam, kind, image, centre, truth))
        outcomes["random_object"].append(_prompt(refam, kind, image, somewhere, truth))
        outcomes["untrained"].append(_segment(untrained, kind, image, referral.expression, truth))
    main = outcomes.pop("default")
    return {
        **summarise(main),
        "seed": seed,
        "model_version": refam.config.model_version(),
        "by_kind": _by_kind(main),
        "controls": {name: summarise(rows) for name, rows in outcomes.items()},
    }


def ablate(refam: RefAM, seed: int, count: int, progress: Progress = iter) -> dict[str, Any]:
    """Evaluate each of `ABLATIONS` on the same `count` scenes. Returns {name: summary with by_kind}."""
    samples = referrals(seed, count)
    table = {}
    for name, changes in progress(ABLATIONS.items()):
        variant = refam.with_settings(**changes)
        rows = [
            _segment(variant, kind, r.scene.image, r.expression, r.scene.things[r.target].mask) for kind, r in samples
        ]
        table[name] = {**summarise(rows), "by_kind": _by_kind(rows)}
    return table


def summarise(outcomes: list[Outcome]) -> dict[str, Any]:
    """{count, pointing_accuracy, mean_iou, overall_iou}, rounded to four places."""
    union = sum(o.union for o in outcomes)
    return {
        "count": len(outcomes),
        "pointing_accuracy": round(float(np.mean([o.pointed for o in outcomes])), 4),
        "mean_iou": round(float(np.mean([o.iou for o in outcomes])), 4),
        "overall_iou": round(sum(o.intersection for o in outcomes) / union, 4) if union else 1.0,
    }


def intersection_over_union(a: Mask, b: Mask) -> float:
    """Overlap of two masks [H, W] in [0, 1]; two empty masks agree."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _by_kind(outcomes: list[Outcome]) -> dict[str, Any]:
    kinds = dict.fromkeys(o.kind for o in outcomes)
    return {kind: summarise([o for o in outcomes if o.kind == kind]) for kind in kinds}


def _segment(refam: RefAM, kind: str, image: Image, expression: str, truth: Mask) -> Outcome:
    result = refam.segment(image, expression)
    return _outcome(kind, result.grounding.points[0], result.mask, truth)


def _prompt(refam: RefAM, kind: str, image: Image, point: Point, truth: Mask) -> Outcome:
    """SAM's own favourite for one point; an empty mask where there is none."""
    picture = Picture.of(image, refam.side)
    candidates = propose(picture, [point], refam.sam, refam.config) if refam.sam else []
    if not (refam.sam and candidates):
        return _outcome(kind, point, np.zeros_like(truth), truth)
    favourite = max(candidates, key=lambda candidate: candidate.predicted_iou)
    return _outcome(kind, point, refam.sam.full_mask(favourite, picture.size), truth)


def _outcome(kind: str, point: Point, mask: Mask, truth: Mask) -> Outcome:
    pointed = bool(truth[min(int(point.y), truth.shape[0] - 1), min(int(point.x), truth.shape[1] - 1)])
    return Outcome(kind, pointed, int((mask & truth).sum()), int((mask | truth).sum()))


def _point_on(mask: Mask, rng: np.random.Generator) -> Point:
    spots = np.argwhere(mask)
    y, x = spots[rng.integers(len(spots))]
    return Point(float(x) + 0.5, float(y) + 0.5)

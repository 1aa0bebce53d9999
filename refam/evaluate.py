"""How well a model points and segments, on rendered scenes that training never saw; and what each part adds.

Training draws its scenes from seeds of three numbers, evaluation from seeds of four: no scene can be in both.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from refam.errors import ExpressionError
from refam.heatmap import Point
from refam.language.vocabulary import singulars
from refam.picture import Picture
from refam.pipeline import RefAM
from refam.sam import Candidate
from refam.sam.detector import Detection
from refam.synthetic.referrals import FURTHER_REFERRALS, REFERRALS, Referral, refer
from refam.synthetic.scenes import Thing

__all__ = [
    "ABLATIONS",
    "Outcome",
    "ablate",
    "evaluate_elongated",
    "evaluate_rendered",
    "intersection_over_union",
    "referrals",
    "refused_if_absent",
    "reliability",
    "summarise",
    "worst",
]

Mask = NDArray[np.bool_]
Progress = Callable[[Iterable[Any]], Iterable[Any]]
EVALUATION = 2509_22650  # marks evaluation's seeds
ELONGATIONS = (3, 4, 8)
BINS, WORST = 10, 10
KEPT = 0.95
PRESENT = ("noun", "colour_noun")  # what "absent" leaves out

ABLATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "no magnets": {"magnets": ""},
    "no sink filter": {"filter_sinks": False},
    "no stop-word filter": {"filter_stop_words": False},
    "no noun phrase": {"noun_phrase": False},
    "words' maps summed": {"combine": "sum"},
    "no smoothing": {"smoothing": 0.0},
    "mean of probabilities": {"average": "probabilities"},
    "size words in the heatmap": {"sizes_by_area": False},
    "one peak": {"points": 1},
    "a point alone": {"choice": "point"},
    "a point, no spatial bias": {"choice": "point", "spatial_bias": False},
    "a point, no relation bias": {"choice": "point", "relation_bias": False},
    "REFAM_METHOD=faithful": {"method": "faithful"},
}


@dataclass(frozen=True)
class Outcome:
    """One expression's result: whether the point lies in the true mask, the mask's overlap with it in pixels, and the
    score that was given."""

    kind: str
    pointed: bool
    intersection: int
    union: int
    score: float

    @property
    def iou(self) -> float:
        return self.intersection / self.union if self.union else 1.0

    @property
    def right(self) -> bool:
        """Whether this is what was meant: an IoU above 1/2."""
        return self.iou > 1 / 2


class TrueNouns:
    """A detector that finds the true masks of all things with a noun: what a perfect SAM 3 would be. Square scenes."""

    side = 1
    embedded = 0

    def __init__(self) -> None:
        self.things: Sequence[Thing] = ()

    def find(self, picture: Picture, noun: str) -> Detection:
        """As Detector does."""
        names = {single for word in noun.split() for single in singulars(word)}
        masks = [thing.mask for thing in self.things if thing.kind.noun in names]
        return Detection(float(bool(masks)), [self._candidate(mask) for mask in masks])

    def _candidate(self, mask: Mask) -> Candidate:
        side = len(mask)
        return Candidate(mask, 1.0, torch.from_numpy(mask).float() - 1 / 2, side, (side, side))

    def prepare(self, picture: Picture) -> None:
        """Nothing takes time."""

    def forget(self) -> None:
        """Nothing is kept."""


def referrals(seed: int, count: int, kinds: Sequence[str] = tuple(REFERRALS)) -> list[tuple[str, Referral]]:
    """`count` referrals with their kinds, the kinds taken in turn. The same seed gives the same scenes."""
    return [
        (kind, refer(np.random.default_rng((EVALUATION, seed, i, 0)), kind))
        for i in range(count)
        for kind in (kinds[i % len(kinds)],)
    ]


def evaluate_rendered(
    refam: RefAM, untrained: RefAM, seed: int, count: int, progress: Progress = iter
) -> dict[str, Any]:
    """Evaluate on `count` rendered scenes of the kinds of REFERRALS, with controls on the same scenes, and on as many
    of each of the FURTHER_REFERRALS as of each of these.

    Controls: `wrong_text` reads the next scene's expression, `centre_point` and `random_object` prompt SAM with the
    image's centre and with a point on any one thing, `untrained` is the same architecture with random weights, and
    `true_nouns` has a detector that knows all nouns, as SAM 3 would at best (REFAM_PROPOSER=sam3).

    Returns pointing accuracy (point in the true mask), the share of right masks (IoU above 1/2) with its standard
    error, mean IoU and overall IoU (sum of intersections over sum of unions), each in [0, 1]: for all of REFERRALS, by
    kind and for each control; how well the score tells what is right, see `reliability` and `refused_if_absent`; and
    the numbers of the `worst` scenes.
    """
    samples = referrals(seed, count)
    further = referrals(seed, len(FURTHER_REFERRALS) * max(1, count // len(REFERRALS)), tuple(FURTHER_REFERRALS))
    rng = np.random.default_rng((EVALUATION, seed, 0, 1))
    outcomes: dict[str, list[Outcome]] = {
        name: []
        for name in ("default", "further", "wrong_text", "centre_point", "random_object", "untrained", "true_nouns")
    }
    named = TrueNouns()
    choosing = refam.with_detector(named)
    for i, (kind, referral) in enumerate(progress([*samples, *further])):
        image, truth = referral.scene.image, referral.truth
        if i >= len(samples):
            outcomes["further"].append(_segment(refam, kind, image, referral.expression, truth))
            continue
        wrong = samples[(i + 1) % len(samples)][1].expression
        centre = Point(image.width / 2, image.height / 2)
        things = referral.scene.things
        somewhere = _point_on(things[rng.integers(len(things))].mask, rng)
        outcomes["default"].append(_segment(refam, kind, image, referral.expression, truth))
        outcomes["wrong_text"].append(_segment(refam, kind, image, wrong, truth))
        outcomes["centre_point"].append(_prompt(refam, kind, image, centre, truth))
        outcomes["random_object"].append(_prompt(refam, kind, image, somewhere, truth))
        outcomes["untrained"].append(_segment(untrained, kind, image, referral.expression, truth))
        named.things = referral.scene.things
        outcomes["true_nouns"].append(_segment(choosing, kind, image, referral.expression, truth))
    main, texts = outcomes.pop("default"), outcomes.pop("further")
    return {
        **summarise(main),
        "seed": seed,
        "model_version": refam.config.model_version(),
        "by_kind": _by_kind([*main, *texts]),
        "controls": {name: summarise(rows) for name, rows in outcomes.items()},
        "reliability": reliability([*main, *texts]),
        "refused_if_absent": refused_if_absent([*main, *texts]),
        "worst": worst(main),
    }


def ablate(refam: RefAM, seed: int, count: int, progress: Progress = iter) -> dict[str, Any]:
    """Evaluate each of `ABLATIONS` on the same `count` scenes. Returns {name: summary with by_kind}."""
    samples = referrals(seed, count)
    table = {}
    for name, changes in progress(ABLATIONS.items()):
        variant = refam.with_settings(**changes)
        rows = [_segment(variant, kind, r.scene.image, r.expression, r.truth) for kind, r in samples]
        table[name] = {**summarise(rows), "by_kind": _by_kind(rows)}
    return table


def evaluate_elongated(refam: RefAM, seed: int, count: int, progress: Progress = iter) -> dict[str, Any]:
    """Evaluate on `count` elongated scenes of each of ELONGATIONS, wide and high in turn, with and without tiles. Each
    is a scene of the kind "noun" in a row of others without that noun. Returns {name: summary}."""
    variants = {"squashed": refam.with_settings(tiles=1), "in tiles": refam}
    outcomes: dict[str, list[Outcome]] = {f"{length}:1, {name}": [] for length in ELONGATIONS for name in variants}
    for length, number in progress([(length, number) for length in ELONGATIONS for number in range(count)]):
        image, expression, truth = _elongated(np.random.default_rng((EVALUATION, seed, number, length + 1)), length)
        if number % 2:
            image, truth = image.transpose(PIL.Image.Transpose.TRANSPOSE), truth.T
        for name, variant in variants.items():
            outcomes[f"{length}:1, {name}"].append(_segment(variant, "noun", image, expression, truth))
    return {name: summarise(rows) for name, rows in outcomes.items()}


def _elongated(rng: np.random.Generator, length: int) -> tuple[Image, str, Mask]:
    """A row of `length` scenes, an expression that refers to a thing in one of them, and its mask."""
    sought = refer(rng, "noun")
    noun = sought.scene.things[0].kind.noun
    scenes: list[Referral] = []
    while len(scenes) < length - 1:
        scene = refer(rng, "noun")
        if all(thing.kind.noun != noun for thing in scene.scene.things):
            scenes.append(scene)
    place = int(rng.integers(length))
    scenes.insert(place, sought)
    pixels = np.concatenate([np.asarray(each.scene.image) for each in scenes], axis=1)
    masks = [each.truth if number == place else np.zeros_like(each.truth) for number, each in enumerate(scenes)]
    return PIL.Image.fromarray(pixels), sought.expression, np.concatenate(masks, axis=1)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """{count, pointing_accuracy, right, standard_error of right, mean_iou, overall_iou}, rounded to four places."""
    union = sum(o.union for o in outcomes)
    right = float(np.mean([o.right for o in outcomes]))
    return {
        "count": len(outcomes),
        "pointing_accuracy": round(float(np.mean([o.pointed for o in outcomes])), 4),
        "right": round(right, 4),
        "standard_error": round(float(np.sqrt(right * (1 - right) / len(outcomes))), 4),
        "mean_iou": round(float(np.mean([o.iou for o in outcomes])), 4),
        "overall_iou": round(sum(o.intersection for o in outcomes) / union, 4) if union else 1.0,
    }


def reliability(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Whether the score is the chance to be right: in ten bins of equal width the number of outcomes, their mean score
    and the share that is right; and the expected calibration error, the mean difference of the two."""
    scores = np.array([o.score for o in outcomes])
    right = np.array([o.right for o in outcomes])
    numbers = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    bins = [
        {
            "count": int(inside.sum()),
            "score": round(float(scores[inside].mean()), 4),
            "right": round(float(right[inside].mean()), 4),
        }
        for number in range(BINS)
        if (inside := numbers == number).any()
    ]
    error = sum(each["count"] * abs(each["score"] - each["right"]) for each in bins) / len(outcomes)
    return {"bins": bins, "error": round(float(error), 4)}


def worst(outcomes: Sequence[Outcome]) -> list[int]:
    """Numbers of the WORST outcomes: the wrong ones with the highest score."""
    wrong = [number for number, outcome in enumerate(outcomes) if not outcome.right]
    return sorted(wrong, key=lambda number: -outcomes[number].score)[:WORST]


def refused_if_absent(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How many absent things a least score tells, which keeps KEPT of the things of the same kinds that are present:
    {least_score, share}. Nothing where either is missing."""
    present = [o.score for o in outcomes if o.kind in PRESENT]
    absent = np.array([o.score for o in outcomes if o.kind == "absent"])
    if not present or not absent.size:
        return {}
    least = float(np.quantile(present, 1 - KEPT))
    return {"least_score": round(least, 4), "share": round(float((absent < least).mean()), 4)}


def intersection_over_union(a: Mask, b: Mask) -> float:
    """Overlap of two masks [H, W] in [0, 1]; two empty masks agree."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _by_kind(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    kinds = dict.fromkeys(o.kind for o in outcomes)
    return {kind: summarise([o for o in outcomes if o.kind == kind]) for kind in kinds}


def _segment(refam: RefAM, kind: str, image: Image, expression: str, truth: Mask) -> Outcome:
    try:
        result = refam.segment(image, expression)
    except ExpressionError:  # refused, as by REFAM_METHOD=faithful what must be counted
        return Outcome(kind, pointed=False, intersection=0, union=int(truth.sum()), score=0.0)
    if result.grounding:
        point = result.grounding.points[0]
    else:  # the transformer did not run
        y, x = np.argwhere(result.mask).mean(axis=0) if result.masks else (0.0, 0.0)
        point = Point(float(x), float(y))
    return _outcome(kind, point, result.mask, truth, result.score)


def _prompt(refam: RefAM, kind: str, image: Image, point: Point, truth: Mask) -> Outcome:
    """SAM's own favourite for one point; an empty mask where there is none."""
    picture = Picture.of(image, refam.side)
    candidates = refam.sam.candidates(picture, [point]) if refam.sam else []
    found = [candidate for candidate in candidates if candidate.coarse.any()]
    if not (refam.sam and found):
        return _outcome(kind, point, np.zeros_like(truth), truth, 0.0)
    favourite = max(found, key=lambda candidate: candidate.predicted_iou)
    return _outcome(kind, point, favourite.full_mask(picture.size), truth, favourite.predicted_iou)


def _outcome(kind: str, point: Point, mask: Mask, truth: Mask, score: float) -> Outcome:
    pointed = bool(truth[min(int(point.y), truth.shape[0] - 1), min(int(point.x), truth.shape[1] - 1)])
    return Outcome(kind, pointed, int((mask & truth).sum()), int((mask | truth).sum()), score)


def _point_on(mask: Mask, rng: np.random.Generator) -> Point:
    spots = np.argwhere(mask)
    y, x = spots[rng.integers(len(spots))]
    return Point(float(x) + 0.5, float(y) + 0.5)

"""What is counted: predictions beside annotations, label by label."""

import heapq
import logging
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, product
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.label_studio.mask_decoding import MaskError, is_mask, masks_by_label

__all__ = ["Case", "Comparison", "Tally", "VersionTally"]

logger = logging.getLogger(__name__)

Mask = NDArray[np.bool_]
EDITED = ("manual", "prediction-changed")  # origins of regions that the annotator drew or changed


@dataclass(frozen=True, order=True)
class Case:
    """One label of one prediction beside one annotation, ordered from the best to the worst.

    page: of a list of images, from 0; None where the task has one image.
    predicted, submitted: packed bits of masks [H, W].
    """

    badness: float
    number: int  # of the comparison, so that no two cases are equal
    task: Mapping[str, Any] = field(compare=False)
    page: int | None = field(compare=False)
    version: str = field(compare=False)
    label: str = field(compare=False)
    shape: tuple[int, int] = field(compare=False)
    predicted: NDArray[np.uint8] = field(compare=False)
    submitted: NDArray[np.uint8] = field(compare=False)

    @property
    def iou(self) -> float:
        return 1 - self.badness

    def masks(self) -> tuple[Mask, Mask]:
        """Predicted and submitted, bool [H, W]."""
        size = self.shape[0] * self.shape[1]
        unpacked = (np.unpackbits(bits, count=size) for bits in (self.predicted, self.submitted))
        first, second = (bits.reshape(self.shape).astype(bool) for bits in unpacked)
        return first, second


@dataclass
class Tally:
    """What was counted for one label of one model version: IoUs of both-sided cases, and one-sided cases."""

    ious: "array[float]" = field(default_factory=lambda: array("f"))
    only_predicted: int = 0
    only_submitted: int = 0

    def as_json(self) -> dict[str, Any]:
        """compared counts cases with a mask on at least one side; mean_iou takes one-sided ones as 0."""
        compared = len(self.ious) + self.only_predicted + self.only_submitted
        return {
            "compared": compared,
            "mean_iou": round(sum(self.ious) / compared, 4),
            "mean_iou_where_both": round(fmean(self.ious), 4) if self.ious else None,
            "median_iou_where_both": round(median(self.ious), 4) if self.ious else None,
            "only_predicted": self.only_predicted,
            "only_submitted": self.only_submitted,
        }


@dataclass
class VersionTally:
    """What was counted for one model version: comparisons of a prediction with an annotation."""

    comparisons: int = 0
    unchanged: int = 0
    nothing: int = 0
    labels: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def as_json(self) -> dict[str, Any]:
        """Shares are of all comparisons, where a prediction stands beside an annotation."""
        return {
            "comparisons": self.comparisons,
            "accepted_unchanged": round(self.unchanged / self.comparisons, 4),
            "no_mask_on_either_side": round(self.nothing / self.comparisons, 4),
            "labels": {label: tally.as_json() for label, tally in sorted(self.labels.items())},
        }


@dataclass
class Comparison:
    """Everything that was found in a project. Holds at most `worst` cases."""

    worst: int
    max_pixels: int
    submitted: int = 0  # tasks
    unpredicted: int = 0  # of these
    unreadable: list[str] = field(default_factory=list)
    versions: dict[str, VersionTally] = field(default_factory=lambda: defaultdict(VersionTally))
    cases: list[Case] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def add(
        self,
        task: Mapping[str, Any],
        predictions: Sequence[Mapping[str, Any]],
        annotations: Sequence[Mapping[str, Any]],
    ) -> None:
        """Compare each prediction of a task with each submitted annotation."""
        self.submitted += 1
        self.unpredicted += not predictions
        for annotation, prediction in product(annotations, predictions):
            for page in _pages(prediction, annotation):
                try:
                    self._compare(task, page, prediction, annotation)
                except MaskError as error:
                    logger.warning("Task %s is left out: %s.", task["id"], error)
                    self.unreadable.append(str(task["id"]))

    def _compare(
        self, task: Mapping[str, Any], page: int | None, prediction: Mapping[str, Any], annotation: Mapping[str, Any]
    ) -> None:
        predicted = _masks(prediction, page, self.max_pixels)
        submitted = _masks(annotation, page, self.max_pixels)
        shapes = {mask.shape for mask in (*predicted.values(), *submitted.values())}
        if len(shapes) > 1:
            raise MaskError("prediction and annotation differ in size")
        version = str(prediction.get("model_version") or "unnamed")
        tally = self.versions[version]
        tally.comparisons += 1
        tally.nothing += not shapes
        ious = []
        for label in {**predicted, **submitted}:
            iou = self._count(tally.labels[label], predicted.get(label), submitted.get(label))
            ious.append(iou)
            if iou < 1:
                ((height, width),) = shapes
                shape = height, width
                nothing = np.zeros(shape, bool)
                masks = predicted.get(label, nothing), submitted.get(label, nothing)
                first, second = map(np.packbits, masks)
                self._keep(Case(1 - iou, next(self._numbers), task, page, version, label, shape, first, second))
        tally.unchanged += _derives(prediction, annotation) and bool(ious) and min(ious) == 1

    @staticmethod
    def _count(tally: Tally, predicted: Mask | None, submitted: Mask | None) -> float:
        if predicted is None or submitted is None:
            tally.only_predicted += submitted is None
            tally.only_submitted += predicted is None
            return 0.0
        iou = float((predicted & submitted).sum() / (predicted | submitted).sum())
        tally.ious.append(iou)
        return iou

    def _keep(self, case: Case) -> None:
        if len(self.cases) < self.worst:
            heapq.heappush(self.cases, case)
        elif self.worst:
            heapq.heappushpop(self.cases, case)


def _pages(*contents: Mapping[str, Any]) -> list[int | None]:
    """The pages of a list of images that any of these has results for; [None] for a single image."""
    found = {result.get("item_index") for content in contents for result in content.get("result") or []}
    return sorted(found - {None}) or [None]


def _masks(content: Mapping[str, Any], page: int | None, max_pixels: int) -> dict[str, Mask]:
    """Those of a prediction or annotation on one page that are not empty."""
    results = [result for result in content.get("result") or [] if result.get("item_index") in (page, None)]
    masks = masks_by_label(results, max_pixels)
    return {label: mask for label, mask in masks.items() if mask.any()}


def _derives(prediction: Mapping[str, Any], annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation may be this prediction as it was: nothing was drawn or changed, and it is no other's."""
    if annotation.get("parent_prediction") not in (None, prediction["id"]):
        return False
    return not any(is_mask(result) and result.get("origin") in EDITED for result in annotation.get("result") or [])

"""The chance that an answer is right, fitted to the embedded model's answers on rendered scenes."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from refam.confidence import LEAST, RIVALRY
from refam.evaluate import intersection_over_union
from refam.pipeline import RefAM
from refam.synthetic.referrals import FURTHER_REFERRALS, REFERRALS, refer

__all__ = ["calibrate"]

CALIBRATION = 17  # marks calibration's seeds, of three numbers as all of training's


def calibrate(
    refam: RefAM, seed: int, count: int, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> dict[str, float]:
    """Logistic regression of "IoU > 1/2" on `count` scenes, all kinds in turn. Returns the {intercept, presence} of
    refam.confidence."""
    kinds = (*REFERRALS, *FURTHER_REFERRALS)
    rows = []
    for number in progress(range(count)):
        referral = refer(np.random.default_rng((CALIBRATION, seed, number)), kinds[number % len(kinds)])
        found = refam.segment(referral.scene.image, referral.expression)
        right = intersection_over_union(found.mask, referral.truth) > 1 / 2
        rows.append(
            (1.0, np.log(max(found.signals.presence or 0.0, LEAST)), RIVALRY * found.signals.margin, float(right))
        )
    data = torch.tensor(rows, dtype=torch.float64)  # [count, (1, presence, rivalry, right)]
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(data[:, :2] @ weights + data[:, 2], data[:, 3])
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    intercept, presence = weights.tolist()
    return {"intercept": round(intercept, 3), "presence": round(presence, 3)}

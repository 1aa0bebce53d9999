"""How sure an answer is: whether what the words name is there, and whether another thing would do as well."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refam.heatmap import Heat
from refam.language.phrase import Thing
from refam.text import Role, Token

__all__ = ["ALONE", "Signals", "confidence", "margin", "presence"]

CLEAR = 0.2  # a log margin from which on the second-best is no rival
ALONE = CLEAR / 2  # where nothing else was proposed: more often than elsewhere, what is looked for is not there
BESIDES = {Role.MAGNET, Role.END, Role.OTHER_NAME}  # what draws attention where words name nothing
LEAST = 1e-4  # of a presence, whose logarithm counts
RIVALRY = 2.5  # the margin's weight: what keeps both questions apart best, "is it there" and "is it this one"
# Logistic regression of "IoU > 1/2" by `refam calibrate --seed 7 --count 3900` with the embedded model
INTERCEPT, PRESENCE = 2.85, 1.535


class Signals(NamedTuple):
    """presence: see `presence`; None where the transformer did not run. margin: see `margin`. instance: in [0, 1], how
    sure a proposer that knows nouns is that this is an instance of its noun."""

    presence: float | None
    margin: float
    instance: float = 1.0

    @property
    def rank(self) -> float:
        """By which of several names of one thing the most fitting is told."""
        return self.instance * (1.0 if self.presence is None else self.presence)


def presence(cover: NDArray[np.float32], maps: Heat, tokens: Sequence[Token], thing: Thing) -> float:
    """Whether a thing is where it was found, in [0, 1]: of the attention to the n words that name it, to magnets, ends
    and other names, n times the share of the weakest word. Words that share all of it evenly have 1; what draws the
    attention off a word whose thing is not there are magnets above all, and the name of what is there.

    cover: [h, w] in [0, 1], the part of each cell that is its mask. maps: [N, h, w], the N tokens' maps.
    """
    words = [
        maps[of_word].sum(axis=0)
        for word in thing.words
        if any(of_word := [token.role is Role.WORD and token.word == word for token in tokens])
    ]
    rest = maps[[token.role in BESIDES for token in tokens]].sum(axis=0)
    if not words or not cover.any():
        return 0.0
    attention = sum(words) + rest
    shares = [float((word / attention * cover).sum() / cover.sum()) for word in words]
    return min(shares) * len(shares)


def margin(values: NDArray[np.floating[Any]], chosen: Sequence[int]) -> float:
    """By how much the worst of the chosen things fits better than the best other one: the logarithm of their ratio, in
    [0, CLEAR], or ALONE. values: [n], how well each proposal fits."""
    others = np.delete(values, list(chosen))
    if not others.size or others.max() <= 0:
        return ALONE
    worst = float(values[list(chosen)].min())
    return float(np.clip(np.log(max(worst, LEAST) / others.max()), 0, CLEAR))


def confidence(signals: Signals) -> float:
    """The chance that an answer is right, its IoU with the truth above 1/2, in [0, 1].

    Calibrated on rendered scenes for the embedded model; see docs/embedded-model.md. With another model more is surer,
    too, but it is no chance.
    """
    if signals.presence is None:
        return signals.instance
    log_odds = INTERCEPT + PRESENCE * math.log(max(signals.presence, LEAST)) + RIVALRY * signals.margin
    return signals.instance / (1 + math.exp(-log_odds))

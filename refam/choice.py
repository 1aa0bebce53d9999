"""Which of the proposed things an expression means: the heat says what they are, their places and sizes the rest."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from refam.config import RefAMConfig
from refam.heatmap import Heat, heat_of, normalise
from refam.language.phrase import Direction, Rank, Relation, Size, Thing
from refam.layout import Extent, relation_weight, side_weight
from refam.refine import to_grid
from refam.text import Token

__all__ = ["Chooser", "Chosen", "Nouns", "hottest_half"]

Mask = NDArray[np.bool_]
Values = NDArray[np.floating[Any]]
LIKE = 0.5  # of the best one's heat, from which on another thing is of the same kind
RANKED = 0.2  # what a thing keeps of its heat for being the last of its kind from the side that is meant

SIDES = {Direction.LEFT, Direction.RIGHT, Direction.TOP, Direction.BOTTOM}


@dataclass(frozen=True)
class Chosen:
    """What is meant.

    Attributes:
        indices: of the proposals, the best first; none where all were left out.
        values: [n] of all proposals, how well each fits what was said, 0 for the worst.
    """

    indices: list[int]
    values: Values


class Nouns(Protocol):
    """What a proposer that knows nouns says of its n proposals."""

    def instances_of(self, thing: Thing) -> Values:
        """[n] in [0, 1], how sure it is of each that it is an instance of the thing's noun; 0 for what is none. All are
        1 for a thing without a noun ("the red one")."""
        ...

    def leave_open(self, thing: Thing) -> bool:
        """Whether its noun, its places and its sizes do not tell a thing, so that its heat has to."""
        ...


class Chooser:
    """The things proposed in one image, under one expression.

    masks: [h, w] bool over the whole image, none of them empty; at least one.
    maps: [N, h, w], the N tokens' maps; none where the transformer did not run.
    nouns: what tells instances of a noun from other things, if the proposer knows nouns.
    """

    def __init__(
        self,
        masks: Sequence[Mask],
        maps: Heat | None,
        tokens: Sequence[Token],
        config: RefAMConfig,
        nouns: Nouns | None = None,
    ) -> None:
        self._masks = masks
        self._maps = maps
        self._tokens = tokens
        self._config = config
        self._nouns = nouns

    @cached_property
    def covers(self) -> NDArray[np.float32]:
        """[n, h, w] in [0, 1], the part of each heat cell that each mask covers."""
        shape = (0, 0) if self._maps is None else self._maps.shape[1:]
        return np.stack([to_grid(mask, shape) for mask in self._masks])

    @cached_property
    def _extents(self) -> list[Extent]:
        return [_extent(mask) for mask in self._masks]

    @cached_property
    def _centres(self) -> tuple[Values, Values]:
        """x and y of the masks' centroids, fractions of width and height."""
        places = [np.argwhere(mask).mean(axis=0) + 0.5 for mask in self._masks]
        y, x = (np.array(places) / self._masks[0].shape).T
        return x, y

    def choose(self, thing: Thing, heat: Heat | None) -> Chosen:
        """The proposals that a thing of an expression is. heat: [h, w], where the words are that name it; None where
        the model knows none of them, or did not run."""
        fit = self._fit(thing, heat)
        for word in thing.lacking:
            lacking = self._heat_of({word})
            if lacking is not None:
                fit = fit * (1 - hottest_half(self.covers, normalise(lacking)))
        return self._choose_by_place(thing, fit)

    def _fit(self, thing: Thing, heat: Heat | None) -> Values:
        """How well each proposal is what the thing's words name: an instance of its noun, if instances are known, and
        where its words are."""
        instance = np.ones(len(self._masks)) if self._nouns is None else self._nouns.instances_of(thing)
        if heat is None or (self._nouns is not None and not self._nouns.leave_open(thing)):
            return instance
        return instance * hottest_half(self.covers, normalise(heat))

    def _choose_by_place(self, thing: Thing, fit: Values) -> Chosen:
        """As choose, by how well each proposal is what the thing's words name."""
        values, holds = fit.copy(), np.ones(len(fit), dtype=bool)
        for relation in thing.relations:
            weight = self._related(relation)
            values *= weight
            holds &= weight > 1 / 2
        for excluded in thing.excluded:
            values[self._excluded(excluded, values)] = 0
        like = np.flatnonzero(values >= LIKE * values.max()) if values.max() > 0 else np.array([], dtype=np.intp)
        if not like.size:
            return Chosen([], values)
        by_area = self._config.preset.sizes_by_area
        ranks = [rank for rank in thing.ranks if by_area or isinstance(rank.by, Direction)]
        if thing.count is None:
            like = self._all(ranks, like[holds[like]] if holds[like].any() else like)
            return Chosen(sorted(like.tolist(), key=lambda index: -values[index]), values)
        numbered = next((rank for rank in ranks if rank.number > 1), None)
        if numbered is not None:
            in_order = like[np.argsort(-self._coordinate(numbered, like), kind="stable")]
            return Chosen(in_order[numbered.number - 1 : numbered.number].tolist(), values)
        if len(like) == 1 and any(self._is_on(rank, like[0]) for rank in ranks if rank.negated):
            return Chosen([], values)
        values = values.copy()
        values[np.setdiff1d(np.arange(len(values)), like)] *= RANKED
        for rank in ranks:
            values[like] *= RANKED + (1 - RANKED) * self._stretched(rank, like)
        best = sorted(like.tolist(), key=lambda index: -values[index])
        return Chosen(best[: thing.count], values)

    def _is_on(self, rank: Rank, index: int) -> bool:
        """Whether a proposal lies on the side of the picture that a rank names."""
        x, y = (values[[index]] for values in self._centres)
        return isinstance(rank.by, Direction) and bool(side_weight(rank.by, x, y)[0] > 1 / 2)

    def _heat_of(self, words: Set[int]) -> Heat | None:
        return None if self._maps is None else heat_of(words, self._maps, self._tokens, self._config)

    def _excluded(self, thing: Thing, values: Values) -> list[int]:
        """The proposals that a thing is which is left out of those with these values; of a thing with a name, those
        that it names as well as any other."""
        like = values >= LIKE * values.max()
        heat = self._heat_of(thing.words)
        if heat is None and not (self._nouns and thing.noun):
            return self._choose_by_place(thing, np.where(like, values, 0)).indices
        fit = self._fit(thing, heat)
        return self._choose_by_place(thing, np.where(like & (fit >= LIKE * fit.max()), fit, 0)).indices

    def _related(self, relation: Relation) -> Values:
        """How well each proposal fits a relation; 1 where the model does not know the anchors."""
        x, y = self._centres
        anchors: list[int] = []
        for anchor in relation.anchors:
            heat = self._heat_of(anchor.words)
            if heat is not None or self._nouns is not None:
                anchors += self.choose(anchor, heat).indices
        if not anchors:
            return np.ones(len(self._masks))
        weight = relation_weight(relation.direction, x, y, [self._extents[index] for index in anchors])
        if relation.negated:
            weight = 1 - weight
            if relation.direction in SIDES:
                weight[weight <= 1 / 2] = 0  # on that very side, however many there are
        if len(set(anchors)) < len(self._masks):
            weight[anchors] = 0  # nothing lies beside itself
        return weight

    def _all(self, ranks: Sequence[Rank], like: NDArray[np.intp]) -> NDArray[np.intp]:
        """Of things alike all that lie on the sides named, or are of the sizes: those nearer to that end than to the
        other, of the picture or of their sizes."""
        x, y = self._centres
        for rank in ranks:
            if isinstance(rank.by, Direction):
                end = side_weight(rank.by, x[like], y[like]) > 1 / 2
            else:
                end = self._stretched(replace(rank, negated=False), like) >= 1 / 2
            chosen = like[~end if rank.negated else end]
            like = chosen if len(chosen) else like[[int(self._stretched(rank, like).argmax())]]
        return like

    def _stretched(self, rank: Rank, like: NDArray[np.intp]) -> Values:
        """How far each of the things alike is towards the end that a rank means, from 0 to 1; 1 for one alone."""
        places = self._coordinate(rank, like)
        low, high = places.min(), places.max()
        stretched = (places - low) / (high - low) if high > low else np.ones_like(places)
        return 1 - stretched if rank.negated and high > low else stretched

    def _coordinate(self, rank: Rank, like: NDArray[np.intp]) -> Values:
        """A number for each of the things alike, the higher the more it is what the rank means."""
        x, y = (values[like] for values in self._centres)
        extents = [self._extents[index] for index in like]
        match rank.by:
            case Size.BIG | Size.SMALL:
                size = np.array([self._masks[index].mean() for index in like])
            case Size.TALL | Size.SHORT:
                size = np.array([extent.bottom - extent.top for extent in extents])
            case Size.WIDE | Size.NARROW:
                size = np.array([extent.right - extent.left for extent in extents])
            case Direction.MIDDLE if len(like) % 2 and len(like) > 1:
                return -_from_median(x if np.ptp(x) >= np.ptp(y) else y)
            case side:
                weight: Values = side_weight(side, x, y)
                return weight
        logarithm: Values = np.log(size)
        return logarithm if rank.by in {Size.BIG, Size.TALL, Size.WIDE} else -logarithm


def hottest_half(covers: NDArray[np.float32], heat: Heat) -> NDArray[np.float32]:
    """For each of n covers [n, h, w], the mean heat [h, w] in the hotter half of what it covers: [n].

    The mean of all it covers would favour things of one colour: a thing whose marks have another one is hot for its
    colour's name in parts.
    """
    order = np.argsort(-heat, axis=None, kind="stable")
    shares = covers.reshape(len(covers), -1)[:, order]
    before = np.cumsum(shares, axis=1) - shares
    half = shares.sum(axis=1, keepdims=True) / 2
    weights = np.clip(half - before, 0, shares)
    means: NDArray[np.float32] = (weights * heat.flat[order]).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    return means


def _from_median(places: Values) -> Values:
    """How many places each is from the middle one."""
    ranks = np.argsort(np.argsort(places, kind="stable"), kind="stable")
    distance: Values = np.abs(ranks - (len(places) - 1) / 2).astype(np.float64)
    return distance


def _extent(mask: Mask) -> Extent:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return Extent(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)

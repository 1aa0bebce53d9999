"""Proposals that know nouns: SAM 3 finds every instance of each, and heat, places and sizes tell which one is meant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from refam.choice import Values
from refam.config import RefAMConfig
from refam.errors import ExpressionError
from refam.language.phrase import Phrase, Thing
from refam.picture import Picture
from refam.proposals import Mask, Proposal, whole_shape
from refam.refine import overlap
from refam.sam import Candidate
from refam.sam.detector import Detection
from refam.tiles import Tile, nearest_tile, tiles_of

__all__ = ["Detector", "InstanceProposer", "Instances"]

SAME = 0.7  # IoU beyond which two masks are of one thing


@dataclass(frozen=True)
class Instance:
    """A thing that was found for one noun or more: `scores` in [0, 1], how sure it is that it is one, by noun."""

    proposal: Proposal
    scores: dict[str, float]


@dataclass(frozen=True)
class Instances:
    """What was found in one image for one expression. See refam.choice.Nouns.

    Attributes:
        found: all instances, each once.
        phrase: what the expression says.
        by_noun: whether things are looked for by their nouns, since the heatmap tells the rest; else by all that names
            them.
    """

    found: Sequence[Instance]
    phrase: Phrase
    by_noun: bool

    def instances_of(self, thing: Thing) -> Values:
        """[n], the scores of the thing's noun."""
        name = self.name_of(thing)
        if not name:
            return np.ones(len(self.found))
        return np.array([each.scores.get(name, 0.0) for each in self.found])

    def leave_open(self, thing: Thing) -> bool:
        """Whether its noun, its places and its sizes do not tell a thing: its looks are said, or there are more of it
        than are meant."""
        if self.phrase.tells_looks_of(thing):
            return True
        told = thing.ranks or thing.relations or thing.excluded or thing.count is None
        return not told and np.count_nonzero(self.instances_of(thing)) > (thing.count or 0)

    def name_of(self, thing: Thing) -> str:
        """What a thing is looked for by; the target always by something."""
        name = self.phrase.noun_of(thing) if self.by_noun else self.phrase.name_of(thing)
        return name or (self.phrase.name_of(thing) if thing is self.phrase.target else "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """That there is no instance of what the target is said to lie beside, or not."""
        anchors = (anchor for relation in self.phrase.target.relations for anchor in relation.anchors)
        missing = [self.name_of(anchor) for anchor in anchors if not self.instances_of(anchor).any()]
        return tuple(f"No {name!r} was found, and so the place beside it tells nothing." for name in missing)

    @property
    def need_heat(self) -> bool:
        """Whether a heatmap has to tell the target, or a thing that it is told by."""
        return any(map(self.leave_open, self.phrase.target.and_others()))


class Detector(Protocol):
    """What finds things by their nouns, such as refam.sam.detector.Sam3Detector."""

    side: int  # pixels that it takes of an image, on each axis

    @property
    def embedded(self) -> int:
        """How many images were embedded so far."""
        ...

    def prepare(self, picture: Picture) -> None:
        """Do beforehand what an unknown image takes without the device. Any thread may."""
        ...

    def find(self, picture: Picture, noun: str) -> Detection:
        """All instances of what a noun phrase names."""
        ...

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        ...


class InstanceProposer:
    """A detector such as SAM 3's, asked for the nouns of an expression. Of an elongated image each square is asked."""

    def __init__(self, detector: Detector, config: RefAMConfig, *, by_noun: bool) -> None:
        """by_noun: see Instances."""
        self.detector = detector
        self._config = config
        self._by_noun = by_noun

    def find(self, picture: Picture, phrase: Phrase) -> Instances:
        """All instances of what the expression names. Raises ExpressionError for what nothing but a heatmap tells."""
        things = list(phrase.target.and_others())
        if not self._by_noun and any(thing.lacking or (thing.words and not thing.noun) for thing in things):
            raise ExpressionError(
                "REFAM_MODEL is 'none', and SAM 3 alone does not know what a thing lacks, or what 'the red one' is; "
                "say what it is, or set REFAM_MODEL to a transformer."
            )
        names = Instances([], phrase, self._by_noun)
        found: list[Instance] = []
        for name in dict.fromkeys(filter(None, map(names.name_of, things))):
            for score, proposal in self._instances(picture, name):
                same = next((each for each in found if overlap(each.proposal.mask, proposal.mask) > SAME), None)
                if same is None:
                    found.append(Instance(proposal, {name: score}))
                else:
                    same.scores[name] = max(score, same.scores.get(name, 0.0))
        return Instances(found, phrase, self._by_noun)

    def _instances(self, picture: Picture, name: str) -> Iterable[tuple[float, Proposal]]:
        """Those of one noun; of squares that overlap, each thing from the one whose middle it is nearest to."""
        tiles = tiles_of(picture, self._config.preset.tiles)
        for tile in tiles:
            for each in self.detector.find(tile.picture, name).instances:
                mask = tile.whole_mask(each.coarse, whole_shape(each.coarse.shape, picture, tiles[0]))
                if mask.any() and nearest_tile(tiles, *_middle(mask, picture)) is tile:
                    yield each.predicted_iou, Proposal(mask, partial(_draw, each, tile, picture))


def _draw(candidate: Candidate, tile: Tile, picture: Picture) -> Mask:
    return tile.whole_mask(candidate.full_mask(tile.picture.size), picture.size[::-1])


def _middle(mask: Mask, picture: Picture) -> tuple[float, float]:
    """(x, y) of a mask's centroid, in the picture's pixels."""
    row, column = (np.argwhere(mask).mean(axis=0) + 0.5) / mask.shape
    return float(column * picture.size[0]), float(row * picture.size[1])

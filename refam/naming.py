"""Several names looked for in one image: a thing bears one of them."""

from collections.abc import Iterable
from typing import NamedTuple

from refam.confidence import Signals
from refam.proposals import Proposal
from refam.refine import overlap

__all__ = ["Named", "with_one_name_each"]

SAME = 0.5  # IoU beyond which two masks are of one thing; a part of a thing, with a name of its own, is another


class Named(NamedTuple):
    """A thing that may bear a name: the name's number, the thing, and what tells whether the name is there."""

    name: int
    thing: Proposal
    signals: Signals


def with_one_name_each(named: Iterable[Named]) -> list[Named]:
    """Each thing once, under the name that is most present there; the most present first.

    Masks of one proposer, which have one shape.
    """
    kept: list[Named] = []
    for one in sorted(named, key=lambda each: -each.signals.rank):
        if all(overlap(one.thing.mask, other.thing.mask) <= SAME for other in kept):
            kept.append(one)
    return kept

"""Texts on their way into a transformer: what every text encoder has to give."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from refam.backbones import Piece
from refam.backbones.text_store import fingerprint

__all__ = ["Conditioning", "TextEncoders", "TextReader", "Unit"]

Unit = tuple[str, ...]  # strings that are encoded together


@dataclass(frozen=True)
class Conditioning:
    """What a transformer knows of a text.

    Attributes:
        embeddings: [1, N + padding, E], the N tokens of the text, and what follows as padding.
        tokens: N.
        pooled: [1, F], the text as a whole, for families that want it.
    """

    embeddings: Tensor
    tokens: int
    pooled: Tensor | None = None


class TextReader(Protocol):
    """A tokenizer with its encoder. Strings are read side by side: the first is the expression, the others what goes
    with it."""

    @property
    def fingerprint(self) -> str:
        """Tells this reader from others, by weights and settings: the same unit is encoded the same."""
        ...

    def tokenize(self, strings: Sequence[str]) -> list[list[Piece]]:
        """Each string's tokens, special ones included, padding excluded, when they are read side by side."""
        ...

    def units(self, strings: Sequence[str]) -> list[Unit]:
        """What is encoded apart, so that it can be kept for other texts."""
        ...

    def encode(self, units: Sequence[Unit]) -> list[dict[str, Tensor]]:
        """Each unit's tensors: `embeddings` [n, E] of its tokens, `padding` [p, E] if some may follow, `pooled` [1, F]
        if the family wants it."""
        ...

    def join(self, encoded: Sequence[dict[str, Tensor]]) -> Conditioning:
        """What a transformer takes, of the encoded units of one text."""
        ...

    def randomised(self) -> Self:
        """The same architecture, untrained, drawn from torch's generator as it is."""
        ...


class TextEncoders:
    """The models that encode texts, in memory all the time or only while they are needed.

    load: makes them. It is called at once, so that what is missing is noticed at the start.
    keep: whether they stay in memory; else every use loads them.

    Attributes:
        fingerprint: tells their weights from others.
    """

    def __init__(self, load: Callable[[], tuple[Any, ...]], *, keep: bool = True) -> None:
        self._load = load
        models = load()
        self.fingerprint = fingerprint(*models)
        self._kept = models if keep else None

    @contextmanager
    def loaded(self) -> Iterator[tuple[Any, ...]]:
        """The models, for a with statement."""
        yield self._kept or self._load()

    def randomised(self) -> "TextEncoders":
        """The first of them untrained, the others as they are."""
        with self.loaded() as (first, *others), torch.device("cpu"):
            untrained = type(first)(first.config).to(first.device, first.dtype).eval(), *others
        return TextEncoders(lambda: untrained)

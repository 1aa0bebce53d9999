"""Diffusion transformers, one file for each family, behind one small protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from refam.config import RefAMConfig
from refam.picture import Picture

__all__ = ["Backbone", "Piece"]


@dataclass(frozen=True)
class Piece:
    """One token of a tokenised string.

    Attributes:
        text: its spelling, such as "▁gold" or "</s>"; "▁" is a space before it, whatever the tokenizer's own mark.
        start, end: the characters it stands for, string[start:end]; both 0 for a special token.
        special: whether it is none of the string: `</s>`, or part of a chat's template.
        unknown: whether it stands for what the tokenizer has no piece for.
    """

    text: str
    start: int
    end: int
    special: bool
    unknown: bool = False


class Backbone(Protocol):
    """What the method needs of a diffusion transformer. Strings are read side by side: the first is the expression."""

    @property
    def side(self) -> int:
        """Pixels that it takes of an image, on each axis."""
        ...

    def tokenize(self, strings: Sequence[str]) -> list[list[Piece]]:
        """Each string's tokens as its text encoder reads them side by side, special tokens included, padding
        excluded."""
        ...

    def encode(self, texts: Sequence[Sequence[str]]) -> None:
        """Encode in one go what of some texts, each of several strings, is not known yet, for `token_maps` to come."""
        ...

    def prepare(self, picture: Picture) -> None:
        """Do beforehand what an unknown image takes without the device. Any thread may."""
        ...

    def token_maps(self, picture: Picture, strings: Sequence[str]) -> NDArray[np.float32]:
        """Attention from image patches to text tokens in one forward pass.

        Returns [N, h, w]: for N tokens, those of `tokenize` over all strings in order, a map over the h x w patches.
        Values are in [0, 1] and sum to 1 over the tokens in every patch.
        """
        ...

    def with_config(self, config: RefAMConfig) -> Self:
        """The same weights under other settings. Raises ConfigError for a setting that they do not allow."""
        ...

    def randomised(self, seed: int) -> Self:
        """The same architecture, untrained: what its attention shows was never learned."""
        ...

    def forget(self) -> None:
        """Keep nothing of the images and texts so far."""
        ...

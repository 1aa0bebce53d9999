"""What differs between families of diffusion transformers."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from refam.backbones.texts import Conditioning, TextReader

__all__ = ["Family", "ImageTokens", "TextOptions"]


class TextOptions(NamedTuple):
    """How texts are encoded: on which device, in what numbers, whether the models stay in memory, and tokens that are
    filled up with padding (see RefAMConfig.text_padding)."""

    device: torch.device
    dtype: torch.dtype
    keep: bool
    slots: int | None


class ImageTokens(NamedTuple):
    """An image as a transformer takes it.

    Attributes:
        values: [1, S, C], a token to a patch.
        places: [S, 2], each one's row and column.
        reference: how many of them, the last ones, are of a reference image.
    """

    values: Tensor
    places: Tensor
    reference: int


class Family(Protocol):
    """A family of diffusion transformers, by the classes of diffusers that its folders name. It holds no weights.

    Attributes:
        name: of its defaults in refam.presets.FAMILIES.
        transformer, vae: their classes.
        parts: the folders that are needed.
        edits: whether it was trained to see a reference image beside what it draws.
    """

    name: str
    transformer: Any
    vae: Any
    parts: tuple[str, ...]
    edits: bool

    def read_texts(self, folder: Path, options: TextOptions) -> TextReader:
        """Its text encoders. Raises OSError, ValueError, and ConfigError for padding that it does not know."""
        ...

    def fill_up(self, transformer: Any, sizes: dict[str, Any]) -> None:
        """Give a transformer that was loaded without its last blocks what a pass needs to know of them. sizes: its
        config."""
        ...

    def scaled(self, vae: Any, patches: Tensor) -> Tensor:
        """A VAE's patches [1, 4 C, h, w] in the transformer's scale."""
        ...

    def forward(self, transformer: Any, image: ImageTokens, text: Conditioning, timestep: float) -> Tensor:
        """One pass; gives the velocity of the tokens, [1, S, C]. The sequence is the text, then the image."""
        ...

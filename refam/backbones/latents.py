"""An image's latents as transformers take them: 2 x 2 cells to a patch, a patch to a token."""

import torch
from torch import Tensor

__all__ = ["PATCH", "grid", "patchify", "tokens_of"]

PATCH = 2  # latent cells to a token, on each axis


def patchify(latents: Tensor) -> Tensor:
    """[B, C, 2 h, 2 w] -> [B, 4 C, h, w]: each 2 x 2 patch becomes one cell, with its four values of each channel."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 1, 3, 5, 2, 4).reshape(batch, -1, height // PATCH, width // PATCH)


def tokens_of(patches: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h * w, C]."""
    return patches.flatten(2).mT


def grid(height: int, width: int) -> Tensor:
    """(row, column) of h x w patches, [h * w, 2], row by row."""
    return torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()

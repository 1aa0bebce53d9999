"""Segment Anything's attention, with what its weights alone decide computed once.

segment-anything builds the table of relative positions of each block anew for every image, and indexes it from the
host, for which a GPU has to wait.
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TabledAttention", "table_positions"]


class TabledAttention(nn.Module):
    """segment_anything's attention of one block of the image encoder: the same numbers, bit for bit.

    attention: its own module with decomposed relative positions [2 n - 1, d] over a window, or an image, of n x n.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.inner = attention
        self.register_buffer("rows", _table(attention.rel_pos_h), persistent=False)
        self.register_buffer("columns", _table(attention.rel_pos_w), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [B, n, n, C]; returns the same shape."""
        inner, (batch, height, width, _) = self.inner, tokens.shape
        parts = inner.qkv(tokens).reshape(batch, height * width, 3, inner.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.reshape(3, batch * inner.num_heads, height * width, -1).unbind(0)
        scores = (query * inner.scale) @ key.transpose(-2, -1)
        places = query.reshape(-1, height, width, query.shape[-1])
        by_row = torch.einsum("bhwc,hkc->bhwk", places, self.rows)
        by_column = torch.einsum("bhwc,wkc->bhwk", places, self.columns)
        scores = scores.view(-1, height, width, height, width)
        scores = (scores + by_row[..., None] + by_column[..., None, :]).view(-1, height * width, height * width)
        mixed = (scores.softmax(dim=-1) @ value).view(batch, inner.num_heads, height, width, -1)
        mixed = mixed.permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1)
        projected: Tensor = inner.proj(mixed)
        return projected


def table_positions(image_encoder: Any) -> None:
    """Give every block of a loaded image encoder its tables."""
    for block in image_encoder.blocks:
        if block.attn.use_rel_pos:
            block.attn = TabledAttention(block.attn)


def _table(relative: Tensor) -> Tensor:
    """Relative positions [2 n - 1, d] as [n, n, d]: of query i and key j the one that belongs to i - j."""
    size = (len(relative) + 1) // 2
    places = torch.arange(size)
    return relative.detach()[places[:, None] - places[None, :] + size - 1]

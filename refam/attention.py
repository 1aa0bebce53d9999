"""Attention from image patches to text tokens. Pure maths on tensors; knows no model."""

import math

import torch
from torch import Tensor

__all__ = ["AttentionMean", "text_logits"]


def text_logits(query: Tensor, key: Tensor) -> Tensor:
    """Scaled dot products q_p . k_j / sqrt(d) in fp32.

    query: [P, heads, d], of image patches; key: [N, heads, d], of text tokens; both after norm and rotary embedding.
    Returns [heads, P, N]. Image keys take no part, so no patch-by-patch matrix ever exists.
    """
    scaled = key.float() / math.sqrt(key.shape[-1])  # of the two, the keys are few
    return torch.einsum("phd,nhd->hpn", query.float(), scaled)


class AttentionMean:
    """Running mean over blocks of the attention A[p, k] = exp(l_pk) / sum_j exp(l_pj) over the N text tokens alone.

    With `average` "probabilities" the softmax is taken for each head, and heads and blocks are averaged after it; with
    "logits" heads and blocks are averaged first.
    """

    def __init__(self, average: str = "probabilities") -> None:
        self._of_logits = average == "logits"
        self._mean: Tensor | None = None
        self._blocks = 0

    def add(self, query: Tensor, key: Tensor) -> None:
        """Take in one block's query [P, heads, d] and key [N, heads, d]."""
        logits = text_logits(query, key)
        block = (logits if self._of_logits else logits.softmax(dim=-1)).mean(dim=0)  # [P, N]
        self._blocks += 1
        if self._mean is None:
            self._mean = block
        else:
            self._mean.lerp_(block, 1 / self._blocks)

    def result(self) -> Tensor:
        """The attention [P, N], fp32; every row sums to 1. Raises RuntimeError before the first block."""
        if self._mean is None:
            raise RuntimeError("No block was read; add at least one before asking for the result.")
        return self._mean.softmax(dim=-1) if self._of_logits else self._mean

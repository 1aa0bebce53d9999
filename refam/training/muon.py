"""Muon in fp32, all matrices of one shape at once.

torch.optim.Muon orthogonalises one matrix after the other in bfloat16, which processors without AMX or AVX-512 BF16
only emulate: for a model this small its step then took longer than forward and backward pass together.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalise"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration (Jordan et al. 2024, "Muon")
ITERATIONS = 5
RMS_OF_ADAMW = 0.2  # of a typical AdamW update, so that both optimizers can share rates (Liu et al. 2025)


def orthogonalise(matrices: Tensor) -> Tensor:
    """[B, m, n] with m <= n -> about the nearest matrices with orthonormal rows: singular values near 1."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalised matrices, scaled to the size of AdamW's; Nesterov, decoupled decay."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, alike in by_shape.items():
                direction = torch.stack([self._direction(matrix, group["momentum"]) for matrix in alike])
                wide = shape[0] <= shape[1]
                update = orthogonalise(direction if wide else direction.mT)
                rate = group["lr"] * RMS_OF_ADAMW * max(shape) ** 0.5
                torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(alike, list((update if wide else update.mT).unbind()), alpha=-rate)

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        """The gradient, carried on by the momentum that includes it."""
        gradient = matrix.grad
        assert gradient is not None  # noqa: S101 - step() chose those that have one
        mean = self.state[matrix].setdefault("mean", torch.zeros_like(gradient))
        mean.lerp_(gradient, 1 - momentum)
        direction: Tensor = gradient.lerp(mean, momentum)
        return direction

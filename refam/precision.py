"""In what numbers models compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["fast_fp32", "has_fast_bf16", "is_half"]


def is_half(precision: str, device: torch.device) -> bool:
    """Whether a model on a device computes in numbers of 16 bits, by the setting `precision` of RefAMConfig."""
    return precision == "half" or (precision == "auto" and device.type != "cpu")


def has_fast_bf16() -> bool:
    """Whether this processor multiplies bf16 itself; others take longer with it than with fp32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


@contextmanager
def fast_fp32(wanted: bool) -> Iterator[None]:
    """While it lasts, a GPU may multiply fp32 in TF32, of 10 bits behind the point, if that is wanted."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = wanted
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before

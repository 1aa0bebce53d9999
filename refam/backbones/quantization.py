"""Eight bits for the weights of a transformer's blocks, by torchao. Activations keep their type."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from refam.errors import ConfigError

__all__ = ["quantizer"]


def quantizer(bits: str, device: torch.device) -> Callable[[Iterable[Any]], None]:
    """A function that puts blocks onto `device`, one after the other, their linear layers' weights in `bits`: "int8",
    with a scale for each row. "none" does nothing.

    Raises ConfigError if torchao is not installed.
    """
    if bits == "none":
        return lambda _: None
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"REFAM_QUANTIZE is {bits!r}, which needs torchao: pip install -r requirements-quantize.txt, or set it to "
            "none."
        ) from error
    layout = Int8WeightOnlyConfig(set_inductor_config=False)  # which would lower the precision of every fp32 product

    def quantize(blocks: Iterable[Any]) -> None:
        for block in blocks:
            quantize_(block, layout, device=device)

    return quantize

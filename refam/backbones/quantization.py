"""Fewer bits for the weights of a transformer's blocks, by torchao. Activations keep their type."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from refam.errors import ConfigError

__all__ = ["quantizer"]

GROUP = 32  # weights that share a scale and a zero in int4
TENSOR_CORES = (8, 0)  # least compute capability of a GPU that multiplies int4 weights


def quantizer(bits: str, device: torch.device) -> Callable[[Iterable[Any]], None]:
    """A function that puts blocks onto `device`, one after the other, their linear layers' weights in `bits`: "int8",
    with a scale for each row, or "int4", with a scale and a zero for each 32 weights of a row. "none" does nothing.

    int4 leaves a layer as it is if 32 does not divide its inputs.
    Raises ConfigError if torchao is not installed or the device cannot run such weights.
    """
    if bits == "none":
        return lambda _: None
    try:
        from torchao.quantization import quantize_  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"REFAM_QUANTIZE is {bits!r}, which needs torchao: pip install -r requirements-quantize.txt, or set it to "
            "none."
        ) from error
    layout = _int8() if bits == "int8" else _int4(device)

    def quantize(blocks: Iterable[Any]) -> None:
        for block in blocks:
            quantize_(block, layout, device=device)

    return quantize


def _int8() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415

    return Int8WeightOnlyConfig(set_inductor_config=False)  # which would lower the precision of every fp32 product


def _int4(device: torch.device) -> Any:
    """A CPU and a GPU want the four bits packed in different orders."""
    if device.type == "cpu":
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig  # noqa: PLC0415

        return PrototypeInt4WeightOnlyConfig(group_size=GROUP, set_inductor_config=False)
    if torch.cuda.get_device_capability(device) < TENSOR_CORES:
        raise ConfigError(
            f"REFAM_QUANTIZE is 'int4', which {torch.cuda.get_device_name(device)} cannot run (it takes compute "
            "capability 8.0, as of Ampere); set it to int8."
        )
    from torchao.quantization import Int4WeightOnlyConfig  # noqa: PLC0415

    return Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d", set_inductor_config=False)

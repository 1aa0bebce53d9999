"""How many of a transformer's blocks are needed."""

from collections.abc import Mapping
from typing import Any

from refam.errors import ConfigError

__all__ = ["blocks_up_to", "require_block"]


def blocks_up_to(last_block: int, sizes: Mapping[str, Any]) -> dict[str, int]:
    """How many double- and single-stream blocks a transformer of these sizes has up to number `last_block`."""
    double = min(sizes["num_layers"], last_block + 1)
    return {"num_layers": double, "num_single_layers": last_block + 1 - double}


def require_block(number: int, blocks: int) -> None:
    """Raise ConfigError if a model of so many blocks has no block of this number."""
    if number >= blocks:
        raise ConfigError(f"REFAM_BLOCKS asks for block {number}; set it to blocks from 0 to {blocks - 1}.")

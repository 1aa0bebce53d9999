"""torch.compile, where it is wanted. It needs a C++ compiler, and a minute or more for the first images.

Blocks are compiled, not whole models: all blocks of a kind are the same but for their weights, and share one graph.
"""

import os
import shutil
from collections.abc import Iterable

from torch import nn

from refam.errors import ConfigError

__all__ = ["compile_blocks"]

COMPILERS = ("g++", "clang++")  # what inductor looks for, after CXX


def compile_blocks(blocks: Iterable[nn.Module], *, backend: str = "inductor") -> None:
    """Have blocks compiled when they are first called. Raises ConfigError where there is no compiler for it."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name):
        raise ConfigError("REFAM_COMPILE is on, and there is no C++ compiler; install g++, or set REFAM_COMPILE=off.")
    for block in blocks:
        block.compile(backend=backend)

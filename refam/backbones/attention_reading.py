"""Attention as it is computed inside a diffusion transformer, shown to a reading.

Every family's attention calls diffusers' `dispatch_attention_fn` with query and key [B, S, heads, d] after norm and
rotary embedding, the text before the image. `open_attention` puts a function before it, for good, that shows both to
the reading of the thread's pass, and changes nothing where there is none.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from refam.attention import AttentionMean

__all__ = ["AttentionReading", "blocks_of", "open_attention"]

SHOWN = "dispatch_attention_fn"
current: ContextVar["AttentionReading | None"] = ContextVar("reading", default=None)


class PassCompleteError(Exception):
    """Ends a forward pass once its last chosen block has been read. Not a failure."""


@dataclass
class AttentionReading:
    """What one forward pass reads.

    Attributes:
        blocks: numbers of the chosen blocks, ascending; double-stream blocks first, single-stream blocks after them.
        text_tokens: N, the first ones of the sequence, which are read.
        patches: P, the last ones of the sequence, which are the image.
        mean: takes in each chosen block's query and key.
        stops: whether the pass ends with the last chosen block, before that attends.
        shown: how many blocks have shown theirs so far, one after another.
    """

    blocks: tuple[int, ...]
    text_tokens: int
    patches: int
    mean: AttentionMean
    stops: bool = True
    shown: int = 0

    @contextmanager
    def of_a_pass(self) -> Iterator[None]:
        """While it lasts, this thread's forward pass through an opened transformer is read."""
        token = current.set(self)
        try:
            yield
        except PassCompleteError:
            pass
        finally:
            current.reset(token)

    def show(self, query: Tensor, key: Tensor) -> None:
        """The next block's query and key [B, S, heads, d]."""
        number, self.shown = self.shown, self.shown + 1
        if number in self.blocks:
            self.mean.add(query[0, -self.patches :], key[0, : self.text_tokens])
        if self.stops and number == self.blocks[-1]:
            raise PassCompleteError


def blocks_of(transformer: Any) -> list[Any]:
    """All blocks that are loaded, in the order in which they run and are numbered."""
    blocks = (*transformer.transformer_blocks, *transformer.single_transformer_blocks)
    return [block for block in blocks if hasattr(block, "attn")]


def open_attention(transformer: Any) -> None:
    """Let a transformer's passes be read."""
    for block in blocks_of(transformer):
        module = sys.modules[type(block.attn.processor).__module__]
        ordinary = getattr(module, SHOWN)
        if not hasattr(ordinary, "shows"):
            setattr(module, SHOWN, _showing(ordinary))


def _showing(ordinary: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # not compiled: no graph knows which block it belongs to, since all of a kind share theirs
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @wraps(ordinary)
    def show_and_attend(query: Tensor, key: Tensor, *arguments: Any, **options: Any) -> Tensor:
        reading = current.get()
        if reading is not None:
            reading.show(query, key)
        return ordinary(query, key, *arguments, **options)

    show_and_attend.shows = True
    return show_and_attend  # type: ignore[no-any-return]

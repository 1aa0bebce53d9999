"""FLUX's attention with an open side: image queries and text keys are shown to a reading as the blocks compute them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from refam.attention import AttentionMean

__all__ = ["AttentionReading", "PassCompleteError", "ReadingProcessor", "blocks_of", "open_attention", "stopping"]


class PassCompleteError(Exception):
    """Ends a forward pass once its last chosen block has been read. Not a failure."""


@dataclass
class AttentionReading:
    """What one forward pass reads, handed to the processors as a keyword argument.

    Attributes:
        blocks: numbers of the chosen blocks, ascending; double-stream blocks first, single-stream blocks after them.
        text_tokens: N, the length of the text in the sequence.
        mean: takes in each chosen block's query and key.
        shown: how many blocks have shown theirs so far, one after another.
    """

    blocks: tuple[int, ...]
    text_tokens: int
    mean: AttentionMean
    shown: int = 0

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def show(self, query: Tensor, key: Tensor) -> None:
        """The next block's query and key [B, S, heads, d]. Not compiled: no graph knows which block it belongs to, and
        all of a kind share theirs."""
        if self.shown in self.blocks:
            self.mean.add(query[0, self.text_tokens :], key[0, : self.text_tokens])
        self.shown += 1


class ReadingProcessor:
    """The attention of a block. It keeps nothing between calls, and its result is that of diffusers' own processor, bit
    for bit."""

    def __call__(  # noqa: PLR0917 - diffusers' order of arguments
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        reading: AttentionReading | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attention over text and image [B, S, D]. A double-stream block gives the text apart and has weights of its
        own for it; a single-stream block gives both in one sequence, text first."""
        query = _heads(attn, attn.to_q(hidden_states), attn.norm_q)
        key = _heads(attn, attn.to_k(hidden_states), attn.norm_k)
        value = _heads(attn, attn.to_v(hidden_states))
        if encoder_hidden_states is not None:
            query = torch.cat([_heads(attn, attn.add_q_proj(encoder_hidden_states), attn.norm_added_q), query], dim=1)
            key = torch.cat([_heads(attn, attn.add_k_proj(encoder_hidden_states), attn.norm_added_k), key], dim=1)
            value = torch.cat([_heads(attn, attn.add_v_proj(encoder_hidden_states)), value], dim=1)
        query = _rotated(query, image_rotary_emb)  # [B, S, heads, d]
        key = _rotated(key, image_rotary_emb)

        if reading is not None:
            reading.show(query, key)

        attended = dispatch_attention_fn(query, key, value, attn_mask=attention_mask).flatten(2).to(query.dtype)
        if encoder_hidden_states is None:
            return attended
        text_tokens = encoder_hidden_states.shape[1]
        text, image = attended[:, :text_tokens].contiguous(), attended[:, text_tokens:].contiguous()
        return attn.to_out[0](image), attn.to_add_out(text)


def blocks_of(transformer: Any) -> list[Any]:
    """All blocks in the order in which they run and are numbered."""
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]


def open_attention(transformer: Any) -> None:
    """Give every block a ReadingProcessor."""
    for block in blocks_of(transformer):
        block.attn.set_processor(ReadingProcessor())


@contextmanager
def stopping(transformer: Any, reading: AttentionReading) -> Iterator[None]:
    """While it lasts, a forward pass computes no more of the reading's last block than image queries and text keys,
    and ends there with PassCompleteError."""
    block = blocks_of(transformer)[reading.blocks[-1]]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def read_and_stop(_block: Any, _arguments: Any, given: dict[str, Any]) -> None:
        reading.mean.add(*_query_and_key(block, **given))
        raise PassCompleteError

    handle = block.register_forward_pre_hook(read_and_stop, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _query_and_key(
    block: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, image_rotary_emb: Any, **_: Any
) -> tuple[Tensor, Tensor]:
    """Image queries [P, heads, d] and text keys [N, heads, d] as the block uses them: after norm and rotary embedding.
    Takes what a block is called with."""
    attn, text_tokens = block.attn, encoder_hidden_states.shape[1]
    if attn.added_kv_proj_dim is None:  # single-stream: one set of weights
        image, text = block.norm(hidden_states, emb=temb)[0], block.norm(encoder_hidden_states, emb=temb)[0]
        key = _heads(attn, attn.to_k(text), attn.norm_k)
    else:
        image, text = block.norm1(hidden_states, emb=temb)[0], block.norm1_context(encoder_hidden_states, emb=temb)[0]
        key = _heads(attn, attn.add_k_proj(text), attn.norm_added_k)
    query = _heads(attn, attn.to_q(image), attn.norm_q)
    query = _rotated(query, [part[text_tokens:] for part in image_rotary_emb])
    key = _rotated(key, [part[:text_tokens] for part in image_rotary_emb])
    return query[0], key[0]


def _heads(attn: Any, projected: Any, norm: Any = None) -> Any:
    """[B, S, heads * d] -> [B, S, heads, d], normed."""
    heads = projected.unflatten(-1, (-1, attn.head_dim))
    return heads if norm is None else norm(heads)


def _rotated(heads: Any, rotary: Any) -> Any:
    """[B, S, heads, d] with the rotary embedding of its S places; rotary: cosines and sines, [S, d] each."""
    return apply_rotary_emb(heads, tuple(rotary), sequence_dim=1)

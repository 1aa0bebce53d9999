"""Qwen3 as text encoder: a language model that reads the text as a user's turn of a chat.

It reads forwards only: what follows the expression in the same turn, such as magnets, leaves the expression's
embeddings as they were. So all strings are one turn, encoded together. The template's own tokens draw attention by
nature: they are read among the text's tokens, as special ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model

from refam.backbones import Piece
from refam.backbones.texts import Conditioning, TextEncoders, Unit
from refam.model_files import read_model, require_config

__all__ = ["LAYERS", "QwenLayers", "QwenReader", "read_qwen"]

LAYERS = (9, 18, 27)  # whose hidden states Flux2KleinPipeline joins
# What Qwen3's chat template makes of one user's turn, with thinking off. The template itself is a program, which
# transformers runs with a newer jinja2 only than label-studio-ml allows
BEFORE, AFTER = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
MARKS = ("<|im_start|>", "<|im_end|>")


class QwenReader:
    """See refam.backbones.texts.TextReader.

    encoders: one QwenLayers.
    slots: tokens that a text is filled up to with padding, which the model does not read; or None.
    Raises ValueError for a tokenizer without the marks of a turn.
    """

    def __init__(self, encoders: TextEncoders, tokenizer: Any, *, slots: int | None = None) -> None:
        if not all(mark in tokenizer.get_vocab() for mark in MARKS):
            raise ValueError(f"the tokenizer lacks {' or '.join(MARKS)}, between which the model reads a text")
        self.encoders = encoders
        self._tokenizer = tokenizer
        self._slots = slots

    @property
    def fingerprint(self) -> str:
        """Tells weights and padding from others."""
        return f"{self.encoders.fingerprint} {self._slots} {LAYERS}"

    def tokenize(self, strings: Sequence[str]) -> list[list[Piece]]:
        """Each string's tokens in the turn; the template's before it belong to the first, those after it to the
        last."""
        turn, spans = _turn(strings)
        encoding = self._tokenizer(turn, return_offsets_mapping=True)
        pieces: list[list[Piece]] = [[] for _ in strings]
        number = 0
        for token, (start, end) in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True):
            while number + 1 < len(spans) and end > spans[number][1]:
                number += 1
            first, last = spans[number]
            if first < end <= last:
                text = turn[start:end].replace(" ", "▁")
                pieces[number].append(Piece(text, max(start, first) - first, end - first, special=False))
            else:
                pieces[number].append(Piece(self._tokenizer.convert_ids_to_tokens(token), 0, 0, special=True))
        return pieces

    def units(self, strings: Sequence[str]) -> list[Unit]:
        """All of them."""
        return [tuple(strings)]

    def encode(self, units: Sequence[Unit]) -> list[dict[str, Tensor]]:
        """For each turn the hidden states of three layers side by side, and of its padding if there is any."""
        turns = [_turn(unit)[0] for unit in units]
        padding = {"padding": "max_length", "max_length": self._slots} if self._slots else {"padding": True}
        with self.encoders.loaded() as (model,):
            batch = self._tokenizer(turns, padding_side="right", return_tensors="pt", **padding).to(model.device)
            found = model(**batch, output_hidden_states=True, use_cache=False).hidden_states
            states = torch.cat([found[layer] for layer in LAYERS], dim=-1)  # [texts, longest, 3 E]
            counts = batch["attention_mask"].sum(dim=1).tolist()
        encoded = []
        for state, count in zip(states, counts, strict=True):
            tensors = {"embeddings": state[:count].clone()}
            encoded.append({**tensors, "padding": state[count:].clone()} if self._slots else tensors)
        return encoded

    def join(self, encoded: Sequence[dict[str, Tensor]]) -> Conditioning:
        """The turn's tokens, and its padding."""
        (tensors,) = encoded
        return Conditioning(torch.cat(list(tensors.values()))[None], len(tensors["embeddings"]))

    def randomised(self) -> Self:
        """With an untrained model."""
        return type(self)(self.encoders.randomised(), self._tokenizer, slots=self._slots)


def _turn(strings: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The chat with the strings as a user's turn, and where in it each of them stands."""
    place, spans = len(BEFORE), []
    for string in strings:
        spans.append((place, place + len(string)))
        place += len(string) + 1
    return BEFORE + " ".join(strings) + AFTER, spans


class QwenLayers(Qwen3Model):
    """Qwen3Model without the norm behind its last layer, as of all others: what is joined lies between the layers of a
    larger model, whose further layers and head are left out."""

    _keys_to_ignore_on_load_unexpected: Any = [r"(^|\.)layers\.\d+\.", r"(^|\.)norm\.weight$", r"^lm_head\."]  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.norm: Any = nn.Identity()


def read_qwen(folder: Path, part: str, dtype: torch.dtype) -> Any:
    """The QwenLayers of a Qwen3, still in main memory. Raises OSError, ValueError."""
    require_config(folder, part)
    config: Any = Qwen3Config.from_pretrained(folder, subfolder=part)
    if config.num_hidden_layers < LAYERS[-1]:
        raise ValueError(f"{folder / part} has {config.num_hidden_layers} layers, and {LAYERS[-1]} are read")
    config.num_hidden_layers = LAYERS[-1]
    config.layer_types = config.layer_types[: LAYERS[-1]]
    return read_model(QwenLayers, folder, part, dtype, config=config)

"""T5 as text encoder, alone or with CLIP for the text as a whole. It reads in both directions, so that each string is
encoded apart, and magnets, which follow every expression, only once."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from refam.backbones import Piece
from refam.backbones.texts import Conditioning, TextEncoders, Unit

__all__ = ["T5Reader"]


class T5Reader:
    """See refam.backbones.texts.TextReader.

    encoders: T5EncoderModel, and CLIPTextModel if there is a tokenizer for it.
    slots: tokens that a text is filled up to with padding, which T5 then reads, too, as FluxPipeline has it; or None.
    pads: tokens of padding that follow a text where there are no slots; T5 gives them, but does not read them.
    """

    def __init__(
        self,
        encoders: TextEncoders,
        t5_tokenizer: Any,
        clip_tokenizer: Any = None,
        *,
        slots: int | None = None,
        pads: int = 0,
    ) -> None:
        self.encoders = encoders
        self._t5_tokenizer = t5_tokenizer
        self._clip_tokenizer = clip_tokenizer
        self._slots = slots
        self._pads = pads

    @property
    def fingerprint(self) -> str:
        """Tells weights and padding from others."""
        return f"{self.encoders.fingerprint} {self._slots} {self._pads}"

    def tokenize(self, strings: Sequence[str]) -> list[list[Piece]]:
        """T5's tokens of each string, `</s>` included."""
        return [self._pieces(string) for string in strings]

    def units(self, strings: Sequence[str]) -> list[Unit]:
        """Each string."""
        return [(string,) for string in strings]

    def encode(self, units: Sequence[Unit]) -> list[dict[str, Tensor]]:
        """T5's embeddings of each string's tokens, its padding if there is any, and CLIP's pooled vector if it is
        wanted."""
        strings = [string for (string,) in units]
        with self.encoders.loaded() as (t5, *clip):
            longest = max(len(self._t5_tokenizer(string)["input_ids"]) for string in strings)
            batch = self._t5_tokenizer(
                strings, padding="max_length", max_length=self._slots or longest + self._pads, return_tensors="pt"
            ).to(t5.device)
            mask = batch["attention_mask"]
            read = torch.ones_like(mask) if self._slots else mask
            embeddings = t5(input_ids=batch["input_ids"], attention_mask=read).last_hidden_state  # [texts, longest, E]
            pooled = self._pooled(clip[0], strings) if clip else [None] * len(strings)
        encoded = []
        for states, count, whole in zip(embeddings, mask.sum(dim=1).tolist(), pooled, strict=True):
            tensors = {"embeddings": states[:count].clone()}
            if self._slots or self._pads:
                tensors["padding"] = states[count : None if self._slots else count + self._pads].clone()
            encoded.append(tensors if whole is None else {**tensors, "pooled": whole})
        return encoded

    def join(self, encoded: Sequence[dict[str, Tensor]]) -> Conditioning:
        """All strings' tokens, one after the other, the first string's padding, and its pooled vector."""
        embeddings = torch.cat([each["embeddings"] for each in encoded])
        tokens, first = len(embeddings), encoded[0]
        if "padding" in first:
            room = self._pads if self._slots is None else max(0, self._slots - tokens)
            embeddings = torch.cat([embeddings, first["padding"][:room]])
        return Conditioning(embeddings[None], tokens, first.get("pooled"))

    def randomised(self) -> Self:
        """With an untrained T5."""
        return type(self)(
            self.encoders.randomised(), self._t5_tokenizer, self._clip_tokenizer, slots=self._slots, pads=self._pads
        )

    def _pieces(self, string: str) -> list[Piece]:
        tokenizer = self._t5_tokenizer
        encoding = tokenizer(string, return_offsets_mapping=True, return_special_tokens_mask=True)
        return [
            Piece(piece, start, end, bool(special), number == tokenizer.unk_token_id)
            for piece, number, (start, end), special in zip(
                tokenizer.convert_ids_to_tokens(encoding["input_ids"]),
                encoding["input_ids"],
                encoding["offset_mapping"],
                encoding["special_tokens_mask"],
                strict=True,
            )
        ]

    def _pooled(self, clip: Any, strings: Sequence[str]) -> list[Tensor]:
        prompts = self._clip_tokenizer(
            list(strings),
            padding=True,
            truncation=True,
            max_length=clip.config.max_position_embeddings,
            return_tensors="pt",
        ).to(clip.device)
        return [pooled[None].clone() for pooled in clip(**prompts).pooler_output]

"""FLUX's text encoders: T5 for every token, CLIP for the text as a whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from refam.backbones.text_store import fingerprint

__all__ = ["TextEncoders"]


class TextEncoders:
    """T5 and CLIP, in memory all the time or only while they are needed.

    load: makes both. It is called at once, so that what is missing is noticed at the start.
    keep: whether they stay in memory; else every use loads them.

    Attributes:
        fingerprint: tells their weights from others.
    """

    def __init__(self, load: Callable[[], tuple[Any, Any]], *, keep: bool = True) -> None:
        self._load = load
        models = load()
        self.fingerprint = fingerprint(*models)
        self._kept = models if keep else None

    @contextmanager
    def loaded(self) -> Iterator[tuple[Any, Any]]:
        """T5EncoderModel and CLIPTextModel, for a with statement."""
        yield self._kept or self._load()

"""What doctor says of one thing."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: "ok", a "note" that needs no action, or "wrong" with its remedy."""

    subject: str
    verdict: Literal["ok", "note", "wrong"]
    message: str
    remedy: str = ""

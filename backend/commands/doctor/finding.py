"""What doctor says of one thing."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Verdict"]


Verdict = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: "ok", a "note" that needs no action, or "wrong" with its remedy."""

    subject: str
    verdict: Verdict
    message: str
    remedy: str = ""

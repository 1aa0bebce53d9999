"""A Label Studio that fails: a share of its API's answers are errors, late, cut short, or lost once it has obeyed."""

import random
import threading
import time
from collections import Counter
from typing import Any

from tests.backend.label_studio import LabelStudio, Truncated

ERRORS = (500, 502, 503, 429, 401)
NOT_DONE, DONE, DONE_LATE = "not done", "done", "done late"


class FailingStudio(LabelStudio):
    """Label Studio, `rate` of whose API requests go wrong.

    patience: seconds after which the backend gives a request up; late answers take longer.
    """

    def __init__(self, rate: float, patience: float, seed: int) -> None:
        self._random = random.Random(f"studio {seed}")  # noqa: S311
        self._rate = rate
        self._late = patience * 1.5
        self._once = threading.local()
        self.errors: Counter[str] = Counter()
        super().__init__()
        self.fault, self.after = self.fail_before, self.fail_after

    def fail_before(self, method: str, path: str) -> tuple[int, Any] | None:
        """Nothing is carried out; or it is, but only when nobody waits any more."""
        self._once.failed = False
        if self._random.random() > self._rate / 2:
            return None
        kind = self._random.choices(("error", "cut short", "slow", "late"), (6, 2, 1, 1))[0]
        self._note(kind)
        if kind == "error":
            return self._random.choice(ERRORS), {"detail": "chaos"}
        if kind == "cut short":
            return 200, Truncated(b'{"created": ')
        time.sleep(self._late)
        return (504, None) if kind == "slow" else None

    def fail_after(self, method: str, path: str) -> tuple[int, Any] | None:
        """It is carried out, but the answer is lost."""
        if self._once.failed or self._random.random() > self._rate / 2:
            return None
        kind = self._random.choices(("lost", "lost half"), (3, 1))[0]
        self._note(kind)
        return (502, None) if kind == "lost" else (201, Truncated(b'{"created": '))

    def _note(self, kind: str) -> None:
        self._once.failed = True
        self.errors[kind] += 1

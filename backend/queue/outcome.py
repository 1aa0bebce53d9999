"""How a job ended."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """With Label Studio's prediction, or with a failure {field, message, remedy}; with neither, nothing was needed."""

    prediction: dict[str, Any] | None = None
    failure: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; unlike `asdict` it copies no masks."""
        return {"prediction": self.prediction, "failure": self.failure}

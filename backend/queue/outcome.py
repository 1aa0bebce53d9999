"""How a job ended."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """With Label Studio's prediction, or with a failure {field, message, remedy}; with neither, nothing was needed.

    nothing: {field, message, remedy, mark} where nothing was found that a task asks for; mark: of its question, see
        backend.label_studio.region_ids. An empty prediction beside it says so in Label Studio.
    """

    prediction: dict[str, Any] | None = None
    failure: dict[str, str] | None = None
    nothing: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can hold; unlike `asdict` it copies no masks. Releases that know nothing of `nothing` read
        what has none."""
        told = {} if self.nothing is None else {"nothing": self.nothing}
        return {"prediction": self.prediction, "failure": self.failure, **told}

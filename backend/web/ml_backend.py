"""The plug-in: what label-studio-ml asks, in its words."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from backend.label_studio.label_config import read_label_config
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import load_settings
from backend.web.answers import Answer, Answering
from backend.web.ml_base import LabelStudioMLBase

__all__ = ["RefAMBackend"]


class RefAMBackend(LabelStudioMLBase):  # type: ignore[misc]
    """RefAM as a Label Studio ML backend. Works under label-studio-ml 1.0.9 and 2.x."""

    def __init__(self, *args: Any, answering: Answering | None = None, **kwargs: Any) -> None:
        """Arguments are those of the installed label-studio-ml, and `answering`, from the environment if absent.

        Raises LabelConfigError if the label config cannot be used.
        """
        self._answering = answering or _from_environment()
        given = inspect.signature(LabelStudioMLBase.__init__).bind_partial(self, *args, **kwargs).arguments
        if given.get("label_config") is not None:
            read_label_config(given["label_config"])  # before the base class, which would resolve entities
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Called by label-studio-ml 2.x: say what answers."""
        self.set("model_version", self._answering.settings.model_version)

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any] | list[Any]]:
        """Predictions for `tasks`, one entry each: a prediction, or `[]` if it is not ready or failed."""
        return self.answer(tasks, context).results

    def answer(self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None) -> Answer:
        """As `predict`, and with the reasons where there is no prediction."""
        return self._answering.answer(self.label_config or "", tasks, context)


@cache
def _from_environment() -> Answering:
    settings = load_settings()
    return Answering(SharedState.over(connect(settings), settings), settings)

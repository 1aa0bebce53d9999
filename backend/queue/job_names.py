"""What jobs are called. Jobs wait in Redis through an upgrade, so the names are a wire format: see CHANGELOG.md."""

from enum import StrEnum

__all__ = ["JobName", "name_of"]


class JobName(StrEnum):
    """The jobs that there are. A worker binds each to what does it: see backend.worker.main."""

    PREDICT = "predict"
    FETCH_TASKS = "fetch_tasks"
    POST_PREDICTION = "post_prediction"
    ADOPT_TASKS = "adopt_tasks"
    LOOK_THROUGH = "look_through"
    LOOK_AGAIN = "look_again"


def name_of(function: str | None) -> JobName | None:
    """The job that RQ has stored under this name; None if it is none of ours."""
    return next((name for name in JobName if name == function), None)

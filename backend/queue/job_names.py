"""What jobs are called. Jobs wait in Redis through an upgrade, while old and new processes run side by side, so the
names are a wire format: see CHANGELOG.md.

A release reads the names of the one before, and writes those that the one before reads, too.
"""

from enum import StrEnum
from typing import NamedTuple

__all__ = ["JobName", "StoredName", "name_of", "stored_name"]


class JobName(StrEnum):
    """The jobs that there are. A worker binds each to what does it: see backend.worker.main."""

    PREDICT = "predict"
    FETCH_TASKS = "fetch_tasks"
    POST_PREDICTION = "post_prediction"


class StoredName(NamedTuple):
    """A job's name as RQ stores it: what to call, and what to call when that failed."""

    function: str
    on_failure: str


# Release 0.1 called jobs by where their functions were, and its workers refuse every other name. Written until 0.3.
OF_0_1 = {
    JobName.PREDICT: StoredName("backend.jobs.run", "backend.jobs.on_failure"),
    JobName.FETCH_TASKS: StoredName("backend.studio_jobs.read", "backend.studio_jobs.on_read_failure"),
    JobName.POST_PREDICTION: StoredName("backend.studio_jobs.write", "backend.studio_jobs.on_write_failure"),
}
READ = {str(name): name for name in JobName} | {stored.function: name for name, stored in OF_0_1.items()}


def stored_name(name: JobName) -> StoredName:
    """How this release stores the name of a job."""
    return OF_0_1[name]


def name_of(function: str | None) -> JobName | None:
    """What a stored job is called, in this release's words or in those of 0.1; None if it is none of ours."""
    return READ.get(function or "")

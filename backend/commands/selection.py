"""Which tasks of a project a command is about."""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from backend.label_studio.client import PAGE, Studio

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """Tasks of a project.

    view: those of this tab of the Data Manager.
    limit: that many at most, not counting those that are skipped.
    only_unlabelled: without those that somebody has annotated.
    """

    project: str
    view: int | None = None
    limit: int | None = None
    only_unlabelled: bool = False

    def excludes(self, task: Mapping[str, Any]) -> bool:
        """Whether a task of project and tab is none of the selection."""
        return self.only_unlabelled and bool(task.get("total_annotations"))

    def tasks(self, studio: Studio) -> Iterator[Mapping[str, Any]]:
        """The tasks of project and tab. A tab is listed first, since tasks may leave it as they get predictions."""
        everything = chain.from_iterable(studio.pages(self.project, view=self.view))
        if self.view is None:
            yield from everything
            return
        ids = array("q", (task["id"] for task in everything))  # 8 bytes a task
        for start in range(0, len(ids), PAGE):
            yield from studio.tasks(self.project, ids=ids[start : start + PAGE])

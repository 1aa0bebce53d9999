"""RQ's job, held to this project's own functions.

A job in Redis names what to call, and RQ calls it, whatever it is: JSON in place of pickle does not keep anyone who
reaches Redis from running `os.system` in a worker. This does.
"""

from collections.abc import Callable
from typing import Any

from rq.job import Job

__all__ = ["KnownJob"]

FUNCTIONS = frozenset({"backend.jobs.run", "backend.studio_jobs.read", "backend.studio_jobs.write"})
CALLBACKS = frozenset(
    {"backend.jobs.on_failure", "backend.studio_jobs.on_read_failure", "backend.studio_jobs.on_write_failure"}
)


class KnownJob(Job):
    """A job that runs none but FUNCTIONS and CALLBACKS, and calls nobody's webhook."""

    @property
    def func(self) -> Any:
        """What to run. Raises ValueError if it is none of FUNCTIONS."""
        if self.func_name not in FUNCTIONS or self.instance:
            raise ValueError("the job asks for a function that is not this backend's")
        return super().func

    @property
    def failure_callback(self) -> Callable[..., Any] | None:
        """What to call when it fails; nothing if it is none of CALLBACKS."""
        return super().failure_callback if self._failure_callback_name in CALLBACKS else None

    @property
    def success_callback(self) -> None:
        """None: this backend's jobs have no such callback."""

    @property
    def stopped_callback(self) -> None:
        """None: this backend's jobs have no such callback."""

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: this backend's jobs have no webhooks."""

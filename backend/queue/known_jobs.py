"""RQ's job, held to this project's own functions.

A job in Redis names what to call, and RQ calls it, whatever it is: JSON in place of pickle does not keep anyone who
reaches Redis from running `os.system` in a worker. This does.
"""

from collections.abc import Callable
from typing import Any

from rq.job import Job
from rq.utils import import_attribute

__all__ = ["KnownJob"]

# What jobs in Redis name, and where it is found. The names stay as they are when code moves: jobs outlive upgrades.
FUNCTIONS = {
    "backend.jobs.run": "backend.worker.predict.run",
    "backend.studio_jobs.read": "backend.worker.studio_jobs.read",
    "backend.studio_jobs.write": "backend.worker.studio_jobs.write",
}
CALLBACKS = {
    "backend.jobs.on_failure": "backend.worker.predict.on_failure",
    "backend.studio_jobs.on_read_failure": "backend.worker.studio_jobs.on_read_failure",
    "backend.studio_jobs.on_write_failure": "backend.worker.studio_jobs.on_write_failure",
}


class KnownJob(Job):
    """A job that runs none but FUNCTIONS and CALLBACKS, and calls nobody's webhook."""

    @property
    def func(self) -> Any:
        """What to run. Raises ValueError if it is none of FUNCTIONS."""
        if self.func_name not in FUNCTIONS or self.instance:
            raise ValueError("the job asks for a function that is not this backend's")
        return import_attribute(FUNCTIONS[self.func_name])

    @property
    def failure_callback(self) -> Callable[..., Any] | None:
        """What to call when it fails; nothing if it is none of CALLBACKS."""
        place = CALLBACKS.get(self._failure_callback_name or "")
        return import_attribute(place) if place else None

    @property
    def success_callback(self) -> None:
        """None: this backend's jobs have no such callback."""

    @property
    def stopped_callback(self) -> None:
        """None: this backend's jobs have no such callback."""

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: this backend's jobs have no webhooks."""

"""Who works, and why others cannot.

Key beside RQ's own:
    refam:problems      hash: device -> JSON {field, message, remedy, at}. Why a worker cannot start
"""

import json
import time
from typing import Any, cast

from redis import Redis
from rq.worker_registration import get_keys

from backend.errors import TaskError
from backend.settings import Settings

__all__ = ["Fleet"]

PROBLEMS = "refam:problems"
PROBLEM_LIFETIME = 300  # seconds; a worker that still cannot start says so again


class Fleet:
    """The workers of all machines."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    def workers(self) -> list[dict[str, str]]:
        """Live workers, as they describe themselves: see RefAMWorker.serialize."""
        with self._connection.pipeline() as pipe:
            for key in get_keys(connection=self._connection):
                pipe.hgetall(key)
            found = pipe.execute()
        entries = [{name.decode(): value.decode() for name, value in entry.items()} for entry in found]
        return [entry for entry in entries if "model_version" in entry and "death" not in entry]

    def report_problem(self, device: str, error: TaskError) -> None:
        """Say why the worker of a device cannot start."""
        self._connection.hset(PROBLEMS, device, json.dumps({**error.as_json(), "at": time.time()}))

    def forget_problem(self, device: str) -> None:
        """The worker of a device has started."""
        self._connection.hdel(PROBLEMS, device)

    def problems(self) -> list[dict[str, Any]]:
        """Why workers cannot start, as far as they said so lately: {device, field, message, remedy, at}."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(PROBLEMS))
        entries = [{"device": device.decode(), **json.loads(entry)} for device, entry in found.items()]
        return [entry for entry in entries if entry["at"] > time.time() - PROBLEM_LIFETIME]

    def obstacles(self) -> list[dict[str, str]]:
        """Why no worker will run a job soon, as {field, message, remedy}; empty if one will."""
        versions = {worker["model_version"] for worker in self.workers()}
        if self._settings.model_version in versions:
            return []
        if problems := self.problems():
            return [{name: problem[name] for name in ("field", "message", "remedy")} for problem in problems]
        if versions:
            message = f"the workers run {', '.join(versions)}, not {self._settings.model_version}."
            error = TaskError("model_version", message, "Start all with the same REFAM_* settings.")
        else:
            error = TaskError("worker", "none is running.", "Start `refam-backend worker`, or `refam-backend up`.")
        return [error.as_json()]

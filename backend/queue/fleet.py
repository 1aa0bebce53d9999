"""Who works, and why others cannot.

Key of one Label Studio, beside RQ's own:
    refam:<studio>:problems     hash: device -> JSON {field, message, remedy, at}. Why a worker cannot start
"""

import json
import time
from typing import Any, cast

from rq.worker_registration import get_keys

from backend.errors import TaskError
from backend.queue.keyspace import Keyspace
from backend.queue.priorities import open_queues
from backend.settings import Settings

__all__ = ["Fleet"]

PROBLEM_LIFETIME = 300  # seconds; a worker that still cannot start says so again


class Fleet:
    """The workers of all machines for one Label Studio."""

    def __init__(self, keyspace: Keyspace, settings: Settings) -> None:
        self._keyspace = keyspace
        self._connection = keyspace.connection
        self._key = keyspace.key("problems")
        self._settings = settings

    def workers(self) -> list[dict[str, str]]:
        """Live workers, as they describe themselves: see RefAMWorker.serialize."""
        return [entry for entry in self._everybody() if entry.get("studio") == self._keyspace.studio]

    def workers_of_0_1(self) -> int:
        """How many live workers of release 0.1 there are, which knew no Label Studio by name."""
        return sum("studio" not in entry for entry in self._everybody())

    def elsewhere(self) -> list[dict[str, Any]]:
        """Other Label Studios in this Redis that have tasks waiting and no worker, as {address, waiting}: their
        backend is down, or its LABEL_STUDIO_URL was changed."""
        served = {entry.get("studio") for entry in self._everybody()}
        waiting = [
            {"address": other.address, "waiting": sum(queue.count for queue in open_queues(other).values())}
            for other in self._keyspace.others()
            if other.studio not in served
        ]
        return [entry for entry in waiting if entry["waiting"]]

    def _everybody(self) -> list[dict[str, str]]:
        with self._connection.pipeline() as pipe:
            for key in get_keys(connection=self._connection):
                pipe.hgetall(key)
            found = pipe.execute()
        entries = [{name.decode(): value.decode() for name, value in entry.items()} for entry in found]
        return [entry for entry in entries if "model_version" in entry and "death" not in entry]

    def report_problem(self, device: str, error: TaskError) -> None:
        """Say why the worker of a device cannot start."""
        self._connection.hset(self._key, device, json.dumps({**error.as_json(), "at": time.time()}))

    def forget_problem(self, device: str) -> None:
        """The worker of a device has started."""
        self._connection.hdel(self._key, device)

    def problems(self) -> list[dict[str, Any]]:
        """Why workers cannot start, as far as they said so lately: {device, field, message, remedy, at}."""
        found = cast(dict[bytes, bytes], self._connection.hgetall(self._key))
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
        elif others := {entry["label_studio"] for entry in self._everybody() if "label_studio" in entry}:
            message = f"all workers are for {', '.join(sorted(others))}; none is for {self._keyspace.address}."
            remedy = "Give web server and workers the same LABEL_STUDIO_URL, or start a worker for this one."
            error = TaskError("LABEL_STUDIO_URL", message, remedy)
        else:
            error = TaskError("worker", "none is running.", "Start `refam-backend worker`, or `refam-backend up`.")
        return [error.as_json()]

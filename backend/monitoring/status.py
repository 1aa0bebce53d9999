"""What the queue and its workers are doing, as one JSON document: GET /status and `refam-backend status`."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from backend.monitoring.limits import limits
from backend.monitoring.projects import project_states
from backend.queue.shared_state import SharedState
from backend.settings import Settings

__all__ = ["collect"]

MOST_FAILURES, MOST_JOBS = 100, 20  # in the document
WORKER_FIELDS = ("name", "state", "device", "model", "model_version", "hostname", "pid")


def collect(shared: SharedState, settings: Settings) -> dict[str, Any]:
    """State of everything: model_version, can_retry, queues, workers, done, failed, problems, and

    projects: how far each is, with its failed tasks; running, waiting: jobs, the next MOST_JOBS of those that wait;
    failures: the newest MOST_FAILURES of failed_tasks; retrying tells that the task is queued again;
    masks: the newest ones, whose pictures are at /thumbnails/<id>.
    """
    backlog, ledger = shared.backlog, shared.ledger
    failed, projects = ledger.failures.per_project(), project_states(shared)
    failures = ledger.failures.newest(MOST_FAILURES)
    retrying = ledger.progress.are_waiting((entry["project"], entry["task"]) for entry in failures)
    return {
        "model_version": settings.model_version,
        "can_retry": settings.writes_back,
        "limits": limits(shared, settings),
        "queues": backlog.depths(),
        "workers": [_worker(entry) for entry in shared.fleet.workers()],
        **shared.counters.totals(),
        "projects": [{**asdict(state), "failed": failed[state.project]} for state in projects],
        "running": [asdict(job) for job in backlog.running()],
        "waiting": [asdict(job) for job in backlog.next_in_line(MOST_JOBS)],
        "failures": [{**_dated(entry), "retrying": still} for entry, still in zip(failures, retrying, strict=True)],
        "failed_tasks": failed.total(),
        "masks": [_dated(entry) for entry in shared.gallery.masks()],
        "problems": [_dated(entry) for entry in shared.fleet.problems()],
    }


def _worker(entry: dict[str, str]) -> dict[str, Any]:
    heartbeat = datetime.fromisoformat(entry["last_heartbeat"])
    age = time.time() - heartbeat.replace(tzinfo=heartbeat.tzinfo or UTC).timestamp()
    return {name: entry.get(name, "") for name in WORKER_FIELDS} | {"heartbeat_seconds_ago": round(age, 1)}


def _dated(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "at": datetime.fromtimestamp(entry["at"], UTC).isoformat(timespec="seconds")}

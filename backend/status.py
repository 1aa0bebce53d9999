"""What the queue and its workers are doing, as one JSON document: GET /status and `refam-backend status`."""

import time
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from backend.queue import JobQueue
from backend.settings import Settings

__all__ = ["collect", "tables"]

LISTED = 20  # failed tasks in a terminal
WORKER_FIELDS = ("name", "state", "device", "model", "model_version", "hostname", "pid")


def collect(queue: JobQueue, settings: Settings) -> dict[str, Any]:
    """State of everything: model_version, queues, workers, done, failed, failures (newest first), problems."""
    return {
        "model_version": settings.model_version,
        "queues": queue.depths(),
        "workers": [_worker(entry) for entry in queue.workers()],
        **queue.counts(),
        "failures": [_dated(entry) for entry in queue.failures()],
        "problems": [_dated(entry) for entry in queue.problems()],
    }


def _worker(entry: dict[str, str]) -> dict[str, Any]:
    heartbeat = datetime.fromisoformat(entry["last_heartbeat"])
    age = time.time() - heartbeat.replace(tzinfo=heartbeat.tzinfo or UTC).timestamp()
    return {name: entry.get(name, "") for name in WORKER_FIELDS} | {"heartbeat_seconds_ago": round(age, 1)}


def _dated(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "at": datetime.fromtimestamp(entry["at"], UTC).isoformat(timespec="seconds")}


def tables(state: dict[str, Any]) -> list[RenderableType]:
    """The document as tables for a terminal."""
    queues = _table("Queue", "Waiting", "Running", "Retrying")
    for name, depth in state["queues"].items():
        queues.add_row(name, *map(str, depth.values()))
    workers = _table("Worker", "State", "Device", "Model version", "Heartbeat")
    for entry in state["workers"]:
        heartbeat = f"{entry['heartbeat_seconds_ago']} s ago"
        workers.add_row(entry["name"], entry["state"], entry["device"], entry["model_version"], heartbeat)
    failures = _table("Project", "Task", "Field", "Reason", "Remedy", "At")
    for entry in state["failures"][:LISTED]:
        failures.add_row(*(escape(entry[name]) for name in ("project", "task", "field", "message", "remedy", "at")))
    lines: list[RenderableType] = [f"Model version {state['model_version']}", queues]
    lines += [workers] if state["workers"] else ["[yellow]No worker is running: start `refam-backend worker`.[/]"]
    lines += [f"[red]{escape(p['device'])}: {escape(p['message'])} {escape(p['remedy'])}[/]" for p in state["problems"]]
    lines.append(f"Done {state['done']}, failed {state['failed']}, tasks that failed last {len(state['failures'])}")
    return [*lines, failures] if state["failures"] else lines


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table

"""`refam-backend status`: backend.monitoring.status as tables for a terminal."""

from datetime import timedelta
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

__all__ = ["tables"]


LISTED = 20  # failed tasks in a terminal


def tables(state: dict[str, Any]) -> list[RenderableType]:
    """The document as tables for a terminal."""
    queues = _table("Queue", "Waiting", "Running", "Retrying")
    for name, depth in state["queues"].items():
        queues.add_row(name, *map(str, depth.values()))
    workers = _table("Worker", "State", "Device", "Model version", "Heartbeat")
    for entry in state["workers"]:
        heartbeat = f"{entry['heartbeat_seconds_ago']} s ago"
        workers.add_row(entry["name"], entry["state"], entry["device"], entry["model_version"], heartbeat)
    projects = _table("Project", "Waiting", "Done", "Nothing found", "Failed", "A minute", "Time left")
    for entry in state["projects"]:
        rate = "" if entry["rate"] is None else f"{entry['rate']:.1f}"
        left = "" if entry["seconds_left"] is None else str(timedelta(seconds=round(entry["seconds_left"])))
        counts = (str(entry[name]) for name in ("waiting", "done", "nothing", "failed"))
        projects.add_row(entry["project"], *counts, rate, left)
    failures = _table("Project", "Task", "Field", "Reason", "Remedy", "At")
    for entry in state["failures"][:LISTED]:
        failures.add_row(*(escape(entry[name]) for name in ("project", "task", "field", "message", "remedy", "at")))
    lines: list[RenderableType] = [
        f"Model version {state['model_version']}, for {escape(state['label_studio'])}",
        queues,
    ]
    lines += [workers] if state["workers"] else ["[yellow]No worker is running: start `refam-backend worker`.[/]"]
    lines += [projects] if state["projects"] else []
    lines += [f"[red]{escape(p['device'])}: {escape(p['message'])} {escape(p['remedy'])}[/]" for p in state["problems"]]
    lines += [
        f"[yellow]{escape(entry['host'])} has not answered since {entry['at']}; tasks of project "
        f"{escape(entry['project'])} whose image is there wait.[/]"
        for entry in state["silent_hosts"]
    ]
    lines += [
        f"[yellow]{entry['waiting']} jobs wait for {escape(entry['address'])}, which no worker serves.[/]"
        for entry in state["elsewhere"]
    ]
    lines += [
        f"[yellow]{number} tasks of project {escape(project)} wait since release 0.1, unknown to this Label Studio: "
        "if they are its own, run `refam-backend prelabel`.[/]"
        for project, number in state["of_release_0_1"].items()
    ]
    lines.append(
        f"Done {state['done']}, nothing found {state['nothing']}, failed {state['failed']}, tasks that failed last "
        f"{state['failed_tasks']}"
    )
    return [*lines, failures] if state["failures"] else lines


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table

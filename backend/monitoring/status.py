"""What the queue and its workers are doing, as one JSON document: GET /status and `refam-backend status`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from backend.delivery.answered import Answered
from backend.delivery.known_projects import KnownProjects
from backend.monitoring.limits import limits
from backend.monitoring.projects import project_states
from backend.queue.progress import ProjectState
from backend.queue.release_0_1 import OldTasks
from backend.queue.shared_state import SharedState
from backend.settings import WEB_ADDRESS, Settings
from refam.tiny import NOTICE, SWITCH

__all__ = ["collect"]

MOST_FAILURES, MOST_GROUPS, MOST_JOBS = 100, 50, 20  # in the document
WORKER_FIELDS = ("name", "state", "device", "model", "model_version", "hostname", "pid")


def collect(shared: SharedState, settings: Settings) -> dict[str, Any]:
    """State of everything: model_version, label_studio, can_retry, queues, workers, done, nothing, failed, problems,
    and

    projects: how far each is, with its failed tasks; running, waiting: jobs, the next MOST_JOBS of those that wait;
    failure_groups: failed tasks by their reason, the MOST_GROUPS largest groups;
    failures: the newest MOST_FAILURES of failed_tasks; retrying tells that the task is queued again;
    nothing_found: the newest MOST_FAILURES of nothing_tasks, for which nothing was found;
    masks: the newest ones, whose pictures are at /thumbnails/<id>;
    silent_hosts: hosts of images that a project's tasks leave alone, since they did not answer, and the time of that;
    elsewhere: other Label Studios in this Redis that have tasks waiting and no worker;
    of_release_0_1: project -> tasks that wait under 0.1's names, and that this Label Studio does not know.
    """
    backlog, ledger = shared.backlog, shared.ledger
    failed, projects = ledger.failures.per_project(), project_states(shared)
    nothing = ledger.nothing.per_project()
    known, outdated = KnownProjects(shared.keyspace), Answered(shared.keyspace).outdated()
    titles, addresses = known.titles(), _addresses(known.hostnames(), settings.label_studio_url, projects)
    failures, groups = ledger.failures.newest(MOST_FAILURES), ledger.failures.groups()[:MOST_GROUPS]
    retrying = ledger.progress.are_waiting((entry["project"], entry["task"]) for entry in failures)
    return {
        "model_version": settings.model_version,
        "label_studio": shared.keyspace.address,
        "notice": f"{NOTICE} {SWITCH}" if settings.refam.is_demonstration else "",
        "can_retry": settings.writes_back,
        "limits": limits(shared, settings),
        "queues": backlog.depths(),
        "workers": [_worker(entry) for entry in shared.fleet.workers()],
        **shared.counters.totals(),
        "projects": [
            {
                **asdict(state),
                "title": titles.get(state.project, ""),
                "address": addresses.get(state.project),
                "failed": failed[state.project],
                "nothing": nothing[state.project],
                "outdated": outdated.get(state.project, 0),
            }
            for state in projects
        ],
        "running": [asdict(job) for job in backlog.running()],
        "waiting": [asdict(job) for job in backlog.next_in_line(MOST_JOBS)],
        "failures": [{**_dated(entry), "retrying": still} for entry, still in zip(failures, retrying, strict=True)],
        "failure_groups": [{**vars(group), "example": _dated(group.example)} for group in groups],
        "failed_tasks": failed.total(),
        "nothing_found": [_dated(entry) for entry in ledger.nothing.newest(MOST_FAILURES)],
        "nothing_tasks": nothing.total(),
        "masks": [_dated(entry) for entry in shared.gallery.masks()],
        "problems": [_dated(entry) for entry in shared.fleet.problems()],
        "silent_hosts": [
            _dated({"project": project, "host": host, "at": since}) for project, host, since in shared.hosts.resting()
        ],
        "elsewhere": shared.fleet.elsewhere(),
        "of_release_0_1": OldTasks(shared.keyspace.connection).counted(),
    }


def _addresses(
    hostnames: Mapping[str, str], studio: str | None, projects: Sequence[ProjectState]
) -> dict[str, str | None]:
    """Where a browser finds each project: at the address that Label Studio gave itself, which may be another one than
    LABEL_STUDIO_URL."""
    found: dict[str, str | None] = {}
    for state in projects:
        hostname = hostnames.get(state.project, "")
        base = hostname if WEB_ADDRESS.fullmatch(hostname) else studio
        found[state.project] = f"{base.rstrip('/')}/projects/{state.project}/data" if base else None
    return found


def _worker(entry: dict[str, str]) -> dict[str, Any]:
    heartbeat = datetime.fromisoformat(entry["last_heartbeat"])
    age = time.time() - heartbeat.replace(tzinfo=heartbeat.tzinfo or UTC).timestamp()
    return {name: entry.get(name, "") for name in WORKER_FIELDS} | {"heartbeat_seconds_ago": round(age, 1)}


def _dated(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "at": datetime.fromtimestamp(entry["at"], UTC).isoformat(timespec="seconds")}

"""What the queue and its workers are doing, as one JSON document: GET /status and `refam-backend status`."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from rq.job import Job

from backend.monitoring.limits import limits
from backend.queue.gallery import Gallery
from backend.queue.job_queue import JobQueue
from backend.settings import Settings

__all__ = ["collect"]

MOST_FAILURES, MOST_JOBS = 100, 20  # in the document
WORKER_FIELDS = ("name", "state", "device", "model", "model_version", "hostname", "pid")


def collect(queue: JobQueue, settings: Settings) -> dict[str, Any]:
    """State of everything: model_version, can_retry, queues, workers, done, failed, problems, and

    projects: how far each is, with its failed tasks; running, waiting: jobs, the next MOST_JOBS of those that wait;
    failures: the newest MOST_FAILURES of failed_tasks; retrying tells that the task is queued again;
    masks: the newest ones, whose pictures are at /thumbnails/<id>.
    """
    failed, projects = queue.failures.per_project(), {state.project: state for state in queue.projects()}
    failures = queue.failures.newest(MOST_FAILURES)
    retrying = queue.progress.are_waiting((entry["project"], entry["task"]) for entry in failures)
    return {
        "model_version": settings.model_version,
        "can_retry": settings.writes_back,
        "limits": limits(queue, settings),
        "queues": queue.depths(),
        "workers": [_worker(entry) for entry in queue.workers()],
        **queue.counts(),
        "projects": [{**asdict(state), "failed": failed[name]} for name, state in projects.items()],
        "running": _jobs(queue, _running(queue), "started_at"),
        "waiting": _jobs(queue, islice(_waiting(queue), MOST_JOBS), "enqueued_at"),
        "failures": [{**_dated(entry), "retrying": still} for entry, still in zip(failures, retrying, strict=True)],
        "failed_tasks": failed.total(),
        "masks": [_dated(entry) for entry in Gallery(queue.connection, settings).masks()],
        "problems": [_dated(entry) for entry in queue.problems()],
    }


def _running(queue: JobQueue) -> Iterator[tuple[str, str]]:
    for priority, each in queue.queues.items():
        for job_id in each.started_job_registry.get_job_ids(cleanup=False):
            yield priority, job_id


def _waiting(queue: JobQueue) -> Iterator[tuple[str, str]]:
    for priority, each in queue.queues.items():
        retrying = each.scheduled_job_registry.get_job_ids(0, MOST_JOBS - 1, cleanup=False)
        yield from ((priority, job_id) for job_id in each.get_job_ids(0, MOST_JOBS) + retrying)


def _jobs(queue: JobQueue, found: Iterator[tuple[str, str]], since: str) -> list[dict[str, Any]]:
    """Jobs as {queue, description, since, project, task}; the latter two are None where it is no task's prediction.

    Only these fields are read: a job's arguments may hold a whole image.
    """
    jobs = list(found)
    with queue.connection.pipeline() as pipe:
        for _, job_id in jobs:
            pipe.hmget(Job.key_for(job_id), ["description", since, "meta"])
        contents = pipe.execute()
    entries = []
    for (priority, _), (description, moment, meta) in zip(jobs, contents, strict=True):
        if description is None:  # it has ended meanwhile
            continue
        ids = json.loads(meta) if meta else {}
        about = {"queue": priority, "description": description.decode(), "since": (moment or b"").decode()}
        entries.append({**about, "project": ids.get("project"), "task": ids.get("task")})
    return entries


def _worker(entry: dict[str, str]) -> dict[str, Any]:
    heartbeat = datetime.fromisoformat(entry["last_heartbeat"])
    age = time.time() - heartbeat.replace(tzinfo=heartbeat.tzinfo or UTC).timestamp()
    return {name: entry.get(name, "") for name in WORKER_FIELDS} | {"heartbeat_seconds_ago": round(age, 1)}


def _dated(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "at": datetime.fromtimestamp(entry["at"], UTC).isoformat(timespec="seconds")}

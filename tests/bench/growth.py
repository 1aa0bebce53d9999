"""What grows with the number of tasks, and what must not."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.delivery.desk import Desk
from backend.delivery.outbox import Outbox
from backend.label_studio.client import PAGE, Studio
from backend.queue.priorities import Priority
from tests.bench.measurement import MIB, Measurement
from tests.bench.stack import PROJECT, Stack, running
from tests.support.rq_queues import rq_queue
from tests.support.tasks import request_of

__all__ = ["BENCHMARKS"]


def growth(toy: bool) -> list[Measurement]:
    """Prelabel's memory, what a queued task takes of Redis, and how fast tasks are queued."""
    few, many, queued = (20, 200, 200) if toy else (1000, 20_000, 100_000)
    small, large = _prelabel_peak(few), _prelabel_peak(many)
    size, rate = _enqueue(queued)
    return [
        Measurement(
            "growth.prelabel", large / MIB, "MiB", f"{few} tasks", small / MIB, large / small,
            f"peak of `prelabel` with {many} tasks; instead of workers a loop notes all tasks as written",
        ),
        Measurement("growth.redis", size, "bytes", conditions=f"of Redis a queued task, mean of {queued}"),
        Measurement(
            "growth.enqueue", rate, "tasks/s", conditions=f"{queued} tasks queued and noted as due, {PAGE} at a time"
        ),
    ]  # fmt: skip


def _prelabel_peak(count: int) -> int:
    """Bytes that the process of `refam-backend prelabel` holds at most."""
    with running() as stack:
        stack.start_studio()
        stack.add_tasks(count, 16)
        process = stack.run("backend", "prelabel", str(PROJECT))
        peak, written = 0, _written(stack)
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            next(written)
            time.sleep(0.02)
        if process.returncode:
            raise RuntimeError(f"prelabel failed:\n{stack.log.read_text()[-5000:]}")
        return peak


def _written(stack: Stack) -> Iterator[None]:
    """At each step, note what is due as written."""
    keyspace = stack.shared.keyspace
    outbox, batch = Outbox(keyspace, stack.shared.jobs), rq_queue(keyspace, Priority.BATCH)
    while True:
        for job in batch.get_job_ids():
            if targets := outbox.due(job):
                for target in targets:
                    outbox.remove(job, target)
                batch.remove(job)
        yield


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except ProcessLookupError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _enqueue(count: int) -> tuple[float, float]:
    """Bytes of Redis a queued task, and tasks queued a second."""
    with running() as stack:
        desk = Desk.over(stack.shared, Studio(stack.settings), stack.settings)
        redis = stack.shared.connection
        before = redis.info("memory")["used_memory"]
        start = time.perf_counter()
        for first in range(1, count + 1, PAGE):
            tasks = map(_task, range(first, first + PAGE))
            desk.queue([request_of(task, stack.settings, project=str(PROJECT)) for task in tasks])
        seconds = time.perf_counter() - start
        if stack.shared.backlog.waiting(Priority.BATCH) != count:
            raise RuntimeError("not all tasks were queued")
        return (redis.info("memory")["used_memory"] - before) / count, count / seconds


def _task(number: int) -> dict[str, Any]:
    """A task as Label Studio lists it, with texts of usual length."""
    image = f"/data/upload/{PROJECT}/0a1b2c3d-street-with-many-things-{number:07}.jpg"
    return {"id": number, "data": {"image": image, "text": "the red mug on the left of the laptop"}}


BENCHMARKS = {"growth": growth}

"""The web process: how much it holds, how soon it is there, and that /health always answers."""

import statistics
import time

import psutil

from tests.bench.measurement import MIB, Measurement
from tests.bench.stack import running

__all__ = ["BENCHMARKS"]

STARTS = 5


def web_process(toy: bool) -> list[Measurement]:
    """Its start, memory, and /health while the worker is busy and tasks wait."""
    queued, asked, seconds = (20, 20, 0.05) if toy else (500, 500, 0.2)
    starts = []
    with running() as stack:
        stack.start_studio()
        stack.start_workers(seconds=seconds)
        for _ in range(1 if toy else STARTS):
            start = time.perf_counter()
            web = stack.start_web()
            starts.append(time.perf_counter() - start)
            stack.stop(web)
        web = stack.start_web()
        for _ in range(0, queued, 100):
            stack.predict(stack.add_tasks(min(queued, 100)))
        waits = []
        for _ in range(asked):
            start = time.perf_counter()
            stack.web.get("/health").raise_for_status()
            waits.append(time.perf_counter() - start)
            time.sleep(0.01)
        resident = psutil.Process(web.pid).memory_info().rss
        waiting = sum(depth["waiting"] for depth in stack.shared.backlog.depths().values())
    busy = f"{queued} tasks queued, {waiting} still waiting at the end, a worker busy with a model of {seconds} s"
    return [
        Measurement("web_process.memory", resident / MIB, "MiB", conditions=f"resident; {busy}"),
        Measurement("web_process.start", statistics.median(starts), "s", conditions=f"median of {len(starts)}"),
        Measurement(
            "web_process.health", 1000 * statistics.quantiles(waits, n=100)[98], "ms",
            conditions=f"p99 of {asked} requests for /health; {busy}",
        ),
    ]  # fmt: skip


BENCHMARKS = {"web_process": web_process}

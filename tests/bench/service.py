"""What the service costs beside the model: HTTP, queue, fetch, decode, encode, write-back."""

import os
import statistics
import time

import psutil

from tests.bench.measurement import Measurement
from tests.bench.stack import Stack, running

__all__ = ["BENCHMARKS"]

SIDE = 512


def service_overhead(toy: bool) -> list[Measurement]:
    """One task that is waited for, and batches that are written back, with a model that answers at once."""
    single, batch, rounds = (3, 5, 1) if toy else (100, 200, 3)
    with running() as stack:
        stack.start_studio()
        stack.start_web()
        (worker,) = stack.start_workers(core=min(os.sched_getaffinity(0)))
        _write_back(stack, 5)  # connections and modules
        waits = [_wait_for_one(stack) for _ in range(single)]
        process = psutil.Process(worker.pid)
        before = _cpu_seconds(process)
        seconds = [_write_back(stack, batch) / batch for _ in range(rounds)]
        cpu = (_cpu_seconds(process) - before) / batch / rounds
    task = statistics.median(seconds)
    where = f"{SIDE} x {SIDE} PNG fetched over HTTP, brush mask; one worker on one core, the other processes beside it"
    batches = f"{where}; {rounds} retrieves of {batch} tasks, from the request until all are stored"
    return [
        Measurement(
            "service_overhead.opened", 1000 * statistics.median(waits), "ms",
            conditions=f"p50 of {single} tasks opened one by one, from the request to the mask in the answer; {where}",
        ),
        Measurement("service_overhead.retrieved", 1000 * task, "ms", conditions=f"a task, median; {batches}"),
        Measurement("service_overhead.rate", 1 / task, "tasks/s", conditions=f"median; {batches}"),
        Measurement("service_overhead.worker", 1000 * cpu, "ms", conditions=f"CPU of the worker a task; {batches}"),
    ]  # fmt: skip


def device_busy(toy: bool) -> list[Measurement]:
    """The share of the time in which the device works, from the first image of a batch to the last."""
    count, side, seconds = (5, 64, 0.02) if toy else (100, 1024, 0.1)
    with running() as stack:
        stack.start_studio()
        stack.start_web()
        stack.start_workers(seconds=seconds, core=min(os.sched_getaffinity(0)))
        _write_back(stack, 5)  # connections and modules
        stack.busy.unlink()
        _write_back(stack, count, side)
        lines = [line.split() for line in stack.busy.read_text().splitlines()]
    spans = sorted((float(start), float(end)) for start, end in lines)
    share = sum(end - start for start, end in spans) / (spans[-1][1] - spans[0][0])
    where = f"{count} PNGs of {side} x {side} fetched over HTTP, brush masks written back; one worker on one core"
    conditions = f"a model that sleeps {seconds} s an image, REFAM_BACKEND_PREFETCH={stack.settings.prefetch}; {where}"
    return [Measurement("device_busy", share, "", conditions=conditions)]


def _wait_for_one(stack: Stack) -> float:
    tasks = stack.add_tasks(1, SIDE)
    start = time.perf_counter()
    (result,) = stack.predict(tasks)
    seconds = time.perf_counter() - start
    if not result:
        raise RuntimeError("the mask did not come in time")
    return seconds


def _write_back(stack: Stack, count: int, side: int = SIDE) -> float:
    tasks, stored = stack.add_tasks(count, side), stack.stored()
    start = time.perf_counter()
    stack.predict(tasks)
    stack.until(lambda: stack.stored() == stored + count)
    return time.perf_counter() - start


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


BENCHMARKS = {"service_overhead": service_overhead, "device_busy": device_busy}

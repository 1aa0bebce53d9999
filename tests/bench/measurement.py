"""What a benchmark reports, and how times and memory are compared."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "Benchmark",
    "Comparison",
    "Measurement",
    "compare_times",
    "machine",
    "median_time",
    "peak_memory",
    "peak_memory_apart",
]

MIB = 1024**2


@dataclass(frozen=True)
class Measurement:
    """One row of the table.

    Attributes:
        name: such as "capture_overhead.time".
        value: None where it was not measured; `conditions` then says why.
        unit: of `value` and `baseline_value`, such as "s" or "MiB"; "" for a plain number.
        baseline: what it is compared with, in words; None where it stands alone.
        baseline_value: the same quantity of the baseline, measured side by side.
        ratio: value / baseline_value; of times, the median over the rounds.
        conditions: sizes, settings and number of rounds.
    """

    name: str
    value: float | None
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None
    ratio: float | None = None
    conditions: str = ""


Benchmark = Callable[[bool], list[Measurement]]
"""A function of one argument, `toy`: whether to run at the smallest size that still runs every line."""


@dataclass(frozen=True)
class Comparison:
    """Medians of two quantities measured in turn, and the median of their ratios."""

    value: float
    baseline_value: float
    ratio: float


def compare_times(work: Callable[[], object], baseline: Callable[[], object], *, rounds: int) -> Comparison:
    """Seconds of both, run in turn A B A B .., so that a slow spell of the machine falls on both. The first round is
    a warm-up and does not count."""
    pairs = [(_seconds(work), _seconds(baseline)) for _ in range(rounds + 1)][1:]
    values, baselines = zip(*pairs, strict=True)
    ratio = statistics.median(value / base for value, base in pairs)
    return Comparison(statistics.median(values), statistics.median(baselines), ratio)


def median_time(work: Callable[[], object], *, rounds: int) -> float:
    """Median of the seconds that `work` takes, after one warm-up."""
    return statistics.median([_seconds(work) for _ in range(rounds + 1)][1:])


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> int:
    """Bytes by which this process grows, at most, while it runs `prepare(*arguments)()`, on top of what it holds before
    `prepare`, without what `prepare` itself needs for a moment. Linux only."""
    before = _status("VmRSS")
    work = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to VmRSS
    work()
    return max(_status("VmHWM") - before, 0)


def peak_memory_apart(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> int:
    """`peak_memory` in a new process, which has freed nothing yet that could be used again.

    `prepare` is a function of a module; it and its arguments are pickled. It should import what it needs before it is
    called (at the top of its module), so that libraries do not count.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(peak_memory, prepare, *arguments).result()


def machine() -> str:
    """Processor, cores, threads that torch uses, and the load, this program's own included, for `conditions`."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    threads, load = torch.get_num_threads(), os.getloadavg()[1]
    return f"{len(os.sched_getaffinity(0))} cores of {name}, {threads} threads for torch, load {load:.1f}"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _status(field: str) -> int:
    """A figure of this process from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))

"""FLUX.1-dev's real shape with random weights on a GPU: milliseconds and memory of a pass, a full one beside it."""

from collections.abc import Callable
from functools import partial

import torch

from tests.bench.flux_shape import Shape, prepare
from tests.bench.measurement import Measurement, median_time

SHAPE = Shape(head=128, side=64)
ROUNDS = 5
CONDITIONS = f"{SHAPE}, bf16, median of {ROUNDS} rounds"
WIDTH, DOUBLE_BLOCKS, MATRIX = 24 * 128, 18, 8192


def flux1(_toy: bool) -> list[Measurement]:
    """Time, memory and share of the matmul rate; rows without values where there is no GPU."""
    names = "flux1.heatmap", "flux1.memory", "flux1.matmul_rate"
    if not torch.cuda.is_available():
        return [
            Measurement(name, None, unit, conditions="no GPU was there")
            for name, unit in zip(names, ("ms", "GB", "TFLOP/s"), strict=True)
        ]
    (time, memory), (full_time, full_memory) = (_measured(run) for run in ("captured", "plain"))
    rate, best = _operations() / time / 1e12, _matmul_rate() / 1e12
    conditions = f"{torch.cuda.get_device_name()}; {CONDITIONS}"
    return [
        Measurement(names[0], 1000 * time, "ms", "full plain pass", 1000 * full_time, time / full_time, conditions),
        Measurement(names[1], memory, "GB", "full plain pass", full_memory, memory / full_memory, conditions),
        Measurement(names[2], rate, "TFLOP/s", f"matmul of {MATRIX} x {MATRIX}", best, rate / best, conditions),
    ]


def _measured(run: str) -> tuple[float, float]:
    """Seconds of a pass, and gigabytes at its peak, weights included."""
    torch.cuda.empty_cache()
    work = _synchronised(prepare(run, SHAPE, "cuda"))
    seconds = median_time(work, rounds=ROUNDS)
    torch.cuda.reset_peak_memory_stats()
    work()
    return seconds, torch.cuda.max_memory_allocated() / 1e9


def _operations() -> float:
    """Multiplications and additions of the blocks before the last one read, which are nearly all of the pass."""
    tokens = SHAPE.side**2 + SHAPE.text
    return DOUBLE_BLOCKS * tokens * (24 * WIDTH**2 + 4 * tokens * WIDTH)


def _matmul_rate() -> float:
    """Operations a second in a large bf16 product."""
    matrix = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16)
    return 2 * MATRIX**3 / median_time(_synchronised(partial(torch.mm, matrix, matrix)), rounds=20)


def _synchronised(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run


BENCHMARKS = {"flux1": flux1}

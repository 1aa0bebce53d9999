"""What RefAM's pass through the transformer costs, on a CPU, beside other passes through the same weights."""

from tests.bench.flux_shape import Shape, passes, prepare
from tests.bench.measurement import MIB, Measurement, compare_times, peak_memory, peak_memory_apart

TOY = Shape(head=6, side=4, padded=32)
CPU = Shape(head=16, side=32)


def heatmap_vs_full_pass(toy: bool) -> list[Measurement]:
    """RefAM's pass over one full plain pass."""
    return [_time("heatmap_vs_full_pass", "captured", "plain", "full plain pass, the same text", toy=toy)]


def capture_overhead(toy: bool) -> list[Measurement]:
    """RefAM's pass over the same pass without reading."""
    name, baseline = "capture_overhead", "same stopped pass without capture"
    return [
        _time(f"{name}.time", "captured", "stopped", baseline, toy=toy, rounds=7),
        _memory(f"{name}.memory", "captured", "stopped", baseline, toy=toy),
    ]


def vs_materialised(toy: bool) -> list[Measurement]:
    """RefAM's pass over the usual way of attention tools."""
    name, baseline = "vs_materialised", "full pass, 512 text tokens, attention matrices materialised"
    return [
        _time(f"{name}.time", "captured", "materialised", baseline, toy=toy),
        _memory(f"{name}.memory", "captured", "materialised", baseline, toy=toy),
    ]


def _time(name: str, work: str, baseline: str, words: str, *, toy: bool, rounds: int = 3) -> Measurement:
    shape = TOY if toy else CPU
    run = passes(shape)
    times = compare_times(run[work], run[baseline], rounds=1 if toy else rounds)
    conditions = f"{shape}, fp32, blocks 10-18, median of {rounds} rounds"
    return Measurement(name, times.value, "s", words, times.baseline_value, times.ratio, conditions)


def _memory(name: str, work: str, baseline: str, words: str, *, toy: bool) -> Measurement:
    shape = TOY if toy else CPU
    measure = peak_memory if toy else peak_memory_apart
    value, base = (measure(prepare, run, shape) / MIB for run in (work, baseline))
    conditions = f"{shape}, fp32; weights that the pass needs and activations, peak of a process of its own"
    return Measurement(name, value, "MiB", words, base, value / base if base else None, conditions)


BENCHMARKS = {
    "heatmap_vs_full_pass": heatmap_vs_full_pass,
    "capture_overhead": capture_overhead,
    "vs_materialised": vs_materialised,
}

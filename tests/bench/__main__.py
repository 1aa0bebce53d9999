"""`python -m tests.bench [NAME ..]`: runs all benchmarks, or those named, and writes build/bench.json and bench.md."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.measurement import Benchmark, Measurement, machine

MODULES = (
    "tests.bench.flux_pass",
    "tests.bench.flux_weights",
    "tests.bench.embedded",
    "tests.bench.photo",
    "tests.bench.flux_rate",
    "tests.bench.flux_gpu",
    "tests.bench.service",
    "tests.bench.scale",
    "tests.bench.growth",
    "tests.bench.web",
)  # each has BENCHMARKS: names and functions
COLUMNS = ("name", "value", "baseline", "ratio", "conditions")
FOLDER = Path("build")
console = Console()


def main(arguments: Sequence[str]) -> int:
    """Run benchmarks; 1 if one of them failed. Whether a goal is met decides nothing."""
    known = registered()
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(known)}; default: all")
    names = parser.parse_args(arguments).names or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    measurements, failed = [], []
    for name in names:
        console.print(f"[bold]{name}[/bold] ..")
        start = time.perf_counter()
        try:
            measurements += known[name](False)
        except Exception:  # noqa: BLE001 - the others are still worth running
            traceback.print_exc()
            failed.append(name)
        console.print(f"   {time.perf_counter() - start:.0f} s", highlight=False)
    FOLDER.mkdir(exist_ok=True)
    where = machine()
    rows = [asdict(row) | {"conditions": f"{row.conditions}; {where}"} for row in measurements]
    (FOLDER / "bench.json").write_text(json.dumps(rows, indent=2) + "\n")
    (FOLDER / "bench.md").write_text(f"{where}\n\n{markdown(measurements)}")
    console.print(table(measurements))
    console.print(f"{where}. Written: {FOLDER / 'bench.json'} and bench.md", highlight=False)
    if failed:
        console.print(f"[red]failed: {', '.join(failed)}[/red]")
    return 1 if failed else 0


def registered() -> dict[str, Benchmark]:
    """All benchmarks by name."""
    return {name: function for module in MODULES for name, function in import_module(module).BENCHMARKS.items()}


def table(measurements: Sequence[Measurement]) -> Table:
    """The measurements for a terminal."""
    shown = Table(*COLUMNS)
    for measurement in measurements:
        shown.add_row(*cells(measurement))
    return shown


def markdown(measurements: Sequence[Measurement]) -> str:
    """The measurements as a Markdown table."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, measurements)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def cells(measurement: Measurement) -> tuple[str, ...]:
    """One row's texts."""
    baseline = ""
    if measurement.baseline is not None:
        baseline = f"{quantity(measurement.baseline_value, measurement.unit)} ({measurement.baseline})"
    ratio = "" if measurement.ratio is None else f"{measurement.ratio:.3f}"
    value = quantity(measurement.value, measurement.unit)
    return measurement.name, value, baseline, ratio, measurement.conditions


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit, to four digits."""
    if value is None:
        return "not measured"
    return f"{value:,.0f} {unit}".strip() if abs(value) >= 1000 else f"{value:.4g} {unit}".strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

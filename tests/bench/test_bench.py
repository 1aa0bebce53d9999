"""The benchmarks run, at a toy size. What they measure is for `make bench`."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest

from tests.bench.__main__ import main, markdown, registered
from tests.bench.measurement import MIB, Measurement, compare_times, peak_memory_apart

pytestmark = pytest.mark.process


@pytest.mark.parametrize("name", registered())
def test_every_benchmark_runs_at_a_toy_size(name):
    measurements = registered()[name](True)
    assert measurements
    for measurement in measurements:
        assert measurement.name.split(".")[0] == name
        assert measurement.conditions
        assert measurement.value is None or measurement.value >= 0
        json.dumps(asdict(measurement), allow_nan=False)


def test_times_are_compared_side_by_side():
    comparison = compare_times(lambda: time.sleep(0.05), lambda: time.sleep(0.1), rounds=3)
    assert comparison.value >= 0.05
    assert comparison.baseline_value >= 0.1
    assert 0.25 < comparison.ratio < 0.9


def prepare_array(mebibytes):
    return lambda: np.ones(mebibytes * MIB // 8).sum()


def test_memory_is_that_of_the_work_alone():
    assert 60 * MIB <= peak_memory_apart(prepare_array, 64) < 96 * MIB  # the kernel counts in batches of pages


def test_an_unknown_benchmark_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "no such benchmark: nonsense" in capsys.readouterr().err


def test_the_table_shows_ratios_conditions_and_what_was_not_measured():
    rows = markdown(
        [
            Measurement("a.time", 0.5, "s", "full pass", 2.0, 0.25, "3 rounds"),
            Measurement("b", None, "ms", conditions="no GPU"),
        ]
    ).splitlines()
    assert rows[2] == "| a.time | 0.5 s | 2 s (full pass) | 0.250 | 3 rounds |"
    assert rows[3] == "| b | not measured |  |  | no GPU |"

"""docs/bounds.md is what the code says, and each bound has its test."""

from pathlib import Path

import pytest

from backend.settings import defaults
from tests.bounds import BOUNDS, TABLE, Bound, table

ROOT = Path(__file__).parents[1]
BOUNDING = ("_MAX_", "MAX_", "_TIMEOUT", "_WAITERS")


def test_the_table_is_up_to_date():
    assert TABLE.read_text() == table(), "run `python -m tests.bounds`"


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.of)
def test_each_bound_has_its_test(bound: Bound):
    path, _, name = bound.test.partition("::")
    file = ROOT / (path if path.startswith("tests/") else f"tests/backend/{path}")
    assert f"def {name}" in file.read_text()


def test_every_setting_that_bounds_something_is_in_it():
    settings = {name for name in defaults() if any(part in name for part in BOUNDING)}
    assert settings <= {bound.bound for bound in BOUNDS}

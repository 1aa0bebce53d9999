"""`make chaos` in short: every task ends as exactly one prediction or in the list of failures, whatever dies."""

import pytest

from tests.chaos.run import Plan, run

pytestmark = pytest.mark.process

SHORT = Plan(
    seed=7,
    tasks=60,
    workers=2,
    kills=2,
    hangs=0,
    redis_restarts=1,
    redis_outage=0,
    web_kills=1,
    deaths=0,
    full_disks=0,
    silent_rate=0,
    broken_rate=0.1,
    slow=1.5,
    gaps=(1, 3),
    patience=3,
    life=6,
    seconds=600,
)


def test_nothing_is_lost_and_nothing_doubled():
    result = run(SHORT)
    figures = {name: result[name] for name in ("lost", "duplicated", "good_failed", "broken_predicted")}
    assert figures == {"lost": 0, "duplicated": 0, "good_failed": [], "broken_predicted": 0}, result["log"]
    assert result["predicted"] + result["failed_listed"] == result["tasks"] == SHORT.tasks
    assert result["worker_kills"] == SHORT.kills
    assert result["redis_restarts"] == SHORT.redis_restarts
    assert result["studio_errors"]

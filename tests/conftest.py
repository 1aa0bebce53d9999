"""Property tests try the same inputs each time, and take the time that they need. Models run on one thread."""

import os
import signal

import pytest
from hypothesis import settings

# Before torch is imported, here or in a child: on a busy machine, the threads of a small model spin waiting for each
# other, which takes fifty times as long as the work
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl+C, and so would the programs under test
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

PROCESSES = {"redis_socket", "redis_of_0_1", "processes"}  # fixtures that start processes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make check` leaves out what is marked `process`: by itself, or here by what it needs."""
    for item in items:
        if PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")

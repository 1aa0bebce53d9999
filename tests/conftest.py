"""Property tests try the same inputs each time, and take the time that they need. Models run on one thread."""

import os
import signal

from hypothesis import settings

# Before torch is imported, here or in a child: on a busy machine, the threads of a small model spin waiting for each
# other, which takes fifty times as long as the work
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl+C, and so would the programs under test
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

"""Training time."""

import time


class Budget:
    """Minutes of training spent, out of the minutes given; pauses (rendering) can be left out with `resume`."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.spent, self._last = minutes, 0.0, time.monotonic()

    def resume(self) -> None:
        """Leave out the time since the last look at the clock."""
        self._last = time.monotonic()

    def progress(self) -> float:
        """Share of the budget that is spent: 0 at the start, 1 or more at the end."""
        now = time.monotonic()
        self.spent, self._last = self.spent + (now - self._last) / 60, now
        return self.spent / self.minutes

"""How long to wait before something that died is started again."""

__all__ = ["Pauses"]

FIRST, LONGEST = 1.0, 60.0  # seconds
STEADY = 60  # seconds of life after which it counts as healthy, and its pauses start over


class Pauses:
    """Each is twice as long as the one before, while deaths follow quickly."""

    def __init__(self) -> None:
        self._next = FIRST

    def next(self, lived: float) -> float:
        """Seconds to wait for what died after so many seconds."""
        pause = FIRST if lived > STEADY else self._next
        self._next = min(pause * 2, LONGEST)
        return pause

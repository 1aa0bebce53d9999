"""Those who bring tasks, each in one way."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from tests.chaos.studio import ChaosStudio, patiently
from tests.chaos.tasks import Data, Task
from tests.support.processes import ROOT

__all__ = ["Users"]

T = TypeVar("T")


@dataclass
class Users:
    """They ask again where they were not answered, and never where they were.

    tasks: what is broken about each task that they made, by its number.
    """

    studio: ChaosStudio
    environment: dict[str, str]
    chance: random.Random
    say: Callable[[str], None]
    tasks: dict[int, str | None] = field(default_factory=dict)

    def retrieve(self, project: int, tasks: Sequence[Task]) -> None:
        """Select some tasks and retrieve predictions, or open one."""
        for numbers in self._handfuls(self._made(self.studio.import_tasks, project, tasks)):
            patiently(lambda numbers=numbers: self.studio.ask(project, numbers), httpx.HTTPError)
        self.say("all are retrieved")

    def announce(self, project: int, tasks: Sequence[Task]) -> None:
        """Import tasks, which Label Studio announces."""
        for some in self._handfuls(tasks):
            self._made(self.studio.announce, project, some)
        self.say("all are announced")

    def prelabel(self, project: int, tasks: Sequence[Task]) -> None:
        """Run the command, and run it again where it gave up."""
        self._made(self.studio.import_tasks, project, tasks)
        command = [sys.executable, "-m", "tests.chaos.program", "prelabel", str(project)]
        while True:
            ended = subprocess.run(
                command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            last = ended.stdout.decode(errors="replace").strip().rpartition("\n")[2]
            self.say(f"prelabel ended with {ended.returncode}: {last}")
            if last.startswith("done"):
                return
            time.sleep(1)

    def _made(self, make: Callable[[int, list[Data]], list[int]], project: int, tasks: Sequence[Task]) -> list[int]:
        numbers = make(project, [task.data for task in tasks])
        self.tasks |= {number: task.broken for number, task in zip(numbers, tasks, strict=True)}
        return numbers

    def _handfuls(self, found: Sequence[T]) -> Iterator[Sequence[T]]:
        while found:
            size = 1 if self.chance.random() < 0.3 else self.chance.randint(10, 60)
            yield found[:size]
            found = found[size:]
            time.sleep(self.chance.uniform(0, 4))

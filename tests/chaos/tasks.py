"""The tasks of a run, drawn from its seed."""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.demo.sample import write_sample
from tests.support.tasks import data_uri, png

__all__ = ["Data", "Task", "draw_tasks"]

Data = dict[str, Any]
PICTURES = 12  # of the sample, for the embedded model
BROKEN: dict[str, Callable[[int], Data]] = {  # what is broken -> the task's data
    "no text": lambda n: {"image": data_uri(png()), "text": ""},
    "no image": lambda n: {"image": "", "text": f"left {n}"},
    "not an image": lambda n: {"image": data_uri(f"no image {n}".encode()), "text": "left"},
}
UNUSABLE: dict[str, dict[str, Callable[[int], Data]]] = {  # the same, by model
    "stub": {
        "no usable word": lambda n: {"image": data_uri(png()), "text": f"unusable {n}"},
        "crashes": lambda n: {"image": data_uri(png()), "text": f"crash {n}"},
    },
    "embedded": {"no usable word": lambda n: {"image": data_uri(png()), "text": "of the"}},
}


@dataclass(frozen=True)
class Task:
    """A task's data, and what is broken about it, if anything."""

    data: Data
    broken: str | None


def draw_tasks(
    model: str,
    number: int,
    broken_rate: float,
    slow: float,
    seed: int,
    silent: Callable[[int], str],
    silent_rate: float,
) -> list[Task]:
    """So many tasks for a model, "stub" or "embedded".

    slow: seconds that the stub takes for one, on average.
    silent: address of a picture on a host that does not answer for a while, which some of the good ones have.
    """
    chance = random.Random(f"tasks {seed}")  # noqa: S311
    broken, good = BROKEN | UNUSABLE[model], _stub(chance, slow) if model == "stub" else _embedded()
    tasks = []
    for n in range(number):
        kind = chance.choice(list(broken)) if chance.random() < broken_rate else None
        data = broken[kind](n) if kind else good(n)
        if not kind and chance.random() < silent_rate:
            data["image"] = silent(n)
        tasks.append(Task(data, kind))
    return tasks


def _stub(chance: random.Random, slow: float) -> Callable[[int], Data]:
    """Texts that take some time; some share it with others."""

    def make(n: int) -> Data:
        shared = chance.random() < 0.1
        text = f"left {chance.randint(1, 50)}" if shared else f"left {n} slow {chance.uniform(0, 2 * slow):.2f}"
        return {"image": data_uri(png()), "text": text}

    return make


def _embedded() -> Callable[[int], Data]:
    """Pictures and texts of the sample; a number makes each text another one."""
    with tempfile.TemporaryDirectory() as folder:
        sample = [(data_uri(task.picture.read_bytes()), task.text) for task in write_sample(Path(folder), PICTURES)]
    return lambda n: {"image": sample[n % PICTURES][0], "text": f"{sample[n % PICTURES][1]} {n}"}

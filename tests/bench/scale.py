"""How much more workers do more, each with a device of its own: the model sleeps."""

import time

from tests.bench.measurement import Measurement
from tests.bench.stack import Stack, running

__all__ = ["BENCHMARKS"]


def scale_out(toy: bool) -> list[Measurement]:
    """Tasks a second of one, two and four workers, written back."""
    counts, tasks, seconds = ((1, 2), 2, 0.05) if toy else ((1, 2, 4), 20, 0.5)
    rates: dict[int, float] = {}
    with running() as stack:
        stack.start_studio()
        stack.start_web()
        for count in counts:
            stack.start_workers(count - max(rates, default=0), seconds)
            _work_off(stack, 2 * count)  # connections and modules
            rates[count] = count * tasks / _work_off(stack, count * tasks)
    conditions = f"model that sleeps {seconds} s; {tasks} tasks a worker, 512 x 512, until all are stored"
    return [
        Measurement(
            f"scale_out.{count}", rates[count], "tasks/s", "one worker", rates[1], rates[count] / rates[1], conditions
        )
        for count in counts[1:]
    ]


def _work_off(stack: Stack, count: int) -> float:
    tasks, stored = stack.add_tasks(count), stack.stored()
    start = time.perf_counter()
    stack.predict(tasks)
    stack.until(lambda: stack.stored() == stored + count)
    return time.perf_counter() - start


BENCHMARKS = {"scale_out": scale_out}

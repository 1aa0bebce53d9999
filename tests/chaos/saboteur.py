"""What is done to the backend's processes, in an order drawn from the seed, and how long it takes to recover."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from rq.job import Job

from backend.queue.shared_state import SharedState

FROZEN = 75  # seconds that a hanging worker is left hanging: others must take over meanwhile, and claims expire
FULL = 20  # seconds that the disk is full


@dataclass
class Saboteur:
    """Kills, freezes and restarts, until `idle` is set: then nobody works any more. `log` gets a line for each deed.

    gaps: shortest and longest time between two deeds, in seconds.
    deaths: of workers that were frozen for a while.
    full_disks: how often the disk below `disk` is full, if it is a small one of its own.
    """

    shared: SharedState
    seed: int
    kills: int
    hangs: int
    redis_restarts: int
    redis_outage: float
    web_kills: int
    deaths: int
    full_disks: int
    disk: Path | None
    gaps: tuple[float, float]
    log: Callable[[str], None]
    up_pid: int
    idle: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    _watchers: list[threading.Thread] = field(default_factory=list)

    def run(self) -> None:
        """Do everything, and wait until it has been recovered from."""
        chance = random.Random(f"saboteur {self.seed}")  # noqa: S311
        deeds = [self.kill] * self.kills + [self.hang] * self.hangs + [self.restart_redis] * self.redis_restarts
        deeds += [self.kill_web] * self.web_kills + [self.cut_off_redis] * bool(self.redis_outage)
        deeds += [self.freeze_to_death] * self.deaths + [self.fill_disk] * self.full_disks
        chance.shuffle(deeds)
        for deed in deeds:
            if self.idle.wait(chance.uniform(*self.gaps)):
                break
            deed()
        for watcher in self._watchers:
            watcher.join()

    def kill(self) -> None:
        """SIGKILL a worker in the middle of a job."""
        for pid, jobs in self._victims():
            self._send(pid, signal.SIGKILL, "worker_kills")
            self._watch(jobs)

    def hang(self) -> None:
        """Freeze a worker in the middle of a job, and let it go on once others have taken over."""
        self._freeze("worker_hangs", signal.SIGCONT, "worker_resumes")

    def freeze_to_death(self) -> None:
        """Freeze a worker in the middle of a job, and SIGKILL it once others have taken over: what it had sent may
        still arrive, and it never looks."""
        self._freeze("worker_frosts", signal.SIGKILL, "frozen_deaths")

    def fill_disk(self) -> None:
        """Leave Redis no room, for a while."""
        if self.disk is None:
            return
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**20))
        self.done["full_disks"] += 1
        self.log(f"the disk is full (full_disks {self.done['full_disks']})")
        time.sleep(FULL)
        filler.unlink()
        self._patiently(self.shared.connection.ping)

    def restart_redis(self) -> None:
        """SIGKILL Redis, which `up` starts again on the same file."""
        self._send(self._redis_pid(), signal.SIGKILL, "redis_restarts")
        self._patiently(self.shared.connection.ping)

    def cut_off_redis(self) -> None:
        """Freeze Redis for a while."""
        pid = self._redis_pid()
        self._send(pid, signal.SIGSTOP, "redis_outages")
        time.sleep(self.redis_outage)
        with suppress(ProcessLookupError):  # `up` has ended it, and started another one
            os.kill(pid, signal.SIGCONT)

    def kill_web(self) -> None:
        """SIGKILL the web process."""
        for pid in _children(self.up_pid):
            if "serve" in _command(pid):
                self._send(pid, signal.SIGKILL, "web_kills")

    def _freeze(self, name: str, later: signal.Signals, name_later: str) -> None:
        for pid, jobs in self._victims():
            self._send(pid, signal.SIGSTOP, name)
            self._watch(jobs)
            end = threading.Timer(FROZEN, self._send, (pid, later, name_later))
            end.start()
            self._watchers.append(end)

    def _send(self, pid: int, number: signal.Signals, name: str) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        self.done[name] += 1
        self.log(f"{number.name} to {pid} ({name} {self.done[name]})")

    def _victims(self) -> list[tuple[int, dict[str, str]]]:
        """A busy worker beside which another one lives, and its jobs with the name of who runs them; none once idle.

        It is looked for once what the last victim ran is taken over: otherwise, on a slow machine, nobody would live
        who could.
        """
        while not self.idle.is_set():
            workers = [
                worker for worker in self._patiently(self.shared.fleet.workers) if _is_running(int(worker["pid"]))
            ]
            busy = [worker for worker in workers if worker["state"] == "busy"]
            for worker in busy if len(workers) > 1 and not self._is_being_taken_over() else ():
                pid = int(worker["pid"])
                if jobs := [entry.decode().partition(":")[0] for entry in self._executions(worker["name"])]:
                    return [(pid, dict.fromkeys(jobs, worker["name"]))]
            time.sleep(0.02)
        return []

    def _watch(self, jobs: dict[str, str]) -> None:
        thread = threading.Thread(target=self._measure, args=(jobs, time.monotonic()), daemon=True)
        thread.start()
        self._watchers.append(thread)

    def _measure(self, jobs: dict[str, str], since: float) -> None:
        """How long it takes until another worker runs what a dead one ran."""
        for job, worker in jobs.items():
            while True:
                status, runs = self._patiently(
                    lambda job=job: self.shared.connection.hmget(Job.key_for(job), "status", "worker_name")
                )
                if status in (None, b"finished", b"failed", b"scheduled"):
                    break
                if status == b"started" and runs and runs.decode() != worker:
                    self.takeovers.append(time.monotonic() - since)
                    break
                time.sleep(0.1)

    def _redis_pid(self) -> int:
        return int(self._patiently(lambda: self.shared.connection.info("server"))["process_id"])

    def _is_being_taken_over(self) -> bool:
        return any(watcher.is_alive() for watcher in self._watchers if not isinstance(watcher, threading.Timer))

    def _executions(self, worker: str) -> set[bytes]:
        return self._patiently(lambda: self.shared.connection.smembers(f"rq:worker:{worker}:executions"))

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return ask()
            except RedisError:
                time.sleep(0.5)


def _is_running(pid: int) -> bool:
    """Whether there is such a process, neither frozen nor dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("T", "Z")
    except OSError:
        return False


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

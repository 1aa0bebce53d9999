"""One run: the whole backend under `refam-backend up`, tasks by all three ways at once, faults, and the reckoning."""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from backend.errors import QueueUnavailableError
from backend.programs import free_port
from backend.queue import JobQueue
from backend.redis_connection import connect
from backend.settings import Settings, variables
from backend.sweep import TAKEN
from tests.backend.conftest import CONFIG, ROOT, data_uri, png
from tests.backend.label_studio import PAT
from tests.chaos.saboteur import Saboteur
from tests.chaos.studio import FailingStudio

__all__ = ["Plan", "run"]

RETRIEVED, IMPORTED, PRELABELLED = 1, 2, 3  # projects, by the way their tasks come in
BROKEN = {  # what is broken -> the task's data
    "no text": lambda n: {"image": data_uri(png()), "text": ""},
    "no image": lambda n: {"text": f"left {n}"},
    "not an image": lambda n: {"image": data_uri(f"no image {n}".encode()), "text": "left"},
    "no usable word": lambda n: {"image": data_uri(png()), "text": f"unusable {n}"},
    "crashes": lambda n: {"image": data_uri(png()), "text": f"crash {n}"},
}


@dataclass(frozen=True)
class Plan:
    """What a run does. seconds: after which what has not ended counts as lost; slow: seconds that a job takes."""

    seed: int
    tasks: int = 1200
    workers: int = 3
    kills: int = 22
    hangs: int = 2
    redis_restarts: int = 4
    redis_outage: float = 60
    web_kills: int = 3
    error_rate: float = 0.1
    broken_rate: float = 0.04
    slow: float = 0.4
    gaps: tuple[float, float] = (5, 15)
    patience: float = 3
    life: int = 30
    seconds: float = 3000
    model: str = "stub"


def run(plan: Plan, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Run, and report what became of every task. See `report` for the figures."""
    start = time.monotonic()

    def say(line: str) -> None:
        log(f"{time.monotonic() - start:6.1f} s  {line}")

    say(f"seed {plan.seed}")
    studio = FailingStudio(plan.error_rate, plan.patience, plan.seed)
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        _environment(plan, studio, Path(folder)) as environment,
    ):
        settings = Settings()  # type: ignore[call-arg]
        studio.version = settings.model_version
        broken = _fill(studio, plan)
        with _up(environment, Path(folder) / "up.log") as up:
            queue = JobQueue(_patiently(lambda: connect(settings), QueueUnavailableError), settings)
            with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=20, trust_env=False) as web:
                _patiently(lambda: web.get("/health").raise_for_status(), httpx.HTTPError)
                say("ready")
                saboteur = Saboteur(
                    queue,
                    plan.seed,
                    plan.kills,
                    plan.hangs,
                    plan.redis_restarts,
                    plan.redis_outage,
                    plan.web_kills,
                    plan.gaps,
                    say,
                    up_pid=up.pid,
                )
                users = Users(studio, web, environment, random.Random(f"users {plan.seed}"), say)  # noqa: S311
                threads = [
                    threading.Thread(target=work, daemon=True)
                    for work in (users.retrieve, users.announce, users.prelabel, saboteur.run)
                ]
                for thread in threads:
                    thread.start()
                deadline = start + plan.seconds
                while any(thread.is_alive() for thread in threads) or not _is_idle(queue):
                    if time.monotonic() > deadline:
                        say("out of time")
                        break
                    time.sleep(1)
                time.sleep(2 * plan.patience)  # what Label Studio still does late
                failures = {int(entry["task"]): entry for entry in queue.failures.newest()}
            say("stopping")
        log_text = (Path(folder) / "up.log").read_text(errors="replace")
    result = report(plan, studio, broken, failures, saboteur, time.monotonic() - start)
    result["log"] = log_text
    studio.stop()
    return result


def report(  # noqa: PLR0917
    plan: Plan,
    studio: FailingStudio,
    broken: dict[int, str],
    failures: dict[int, Any],
    saboteur: Saboteur,
    seconds: float,
) -> dict[str, Any]:
    """The figures. lost: neither predicted nor listed; duplicated: predictions beyond a task's first."""
    held = studio.per_task()
    predicted = {task for task, _ in held}
    unlisted = [task for task in studio.tasks if task not in predicted and task not in failures]
    takeovers = sorted(saboteur.takeovers)
    return {
        "seed": plan.seed,
        "tasks": len(studio.tasks),
        "predicted": len(predicted),
        "failed_listed": len(failures.keys() - predicted),
        "lost": len(unlisted),
        "duplicated": sum(held.values()) - len(predicted),
        "broken": len(broken),
        "broken_predicted": len(broken.keys() & predicted),
        "good_failed": sorted({f"{e['field']}: {e['message']}" for t, e in failures.items() if t not in broken}),
        "worker_kills": saboteur.done["worker_kills"],
        "worker_hangs": saboteur.done["worker_hangs"],
        "redis_restarts": saboteur.done["redis_restarts"],
        "redis_outages": saboteur.done["redis_outages"],
        "web_kills": saboteur.done["web_kills"],
        "studio_requests": len(studio.requests),
        "studio_errors": sum(studio.errors.values()),
        "studio_errors_by_kind": dict(studio.errors),
        "takeover_seconds": {
            "number": len(takeovers),
            "median": round(statistics.median(takeovers), 1) if takeovers else None,
            "max": round(takeovers[-1], 1) if takeovers else None,
        },
        "seconds": round(seconds, 1),
        "lost_tasks": unlisted[:20],
    }


@dataclass
class Users:
    """Those who bring tasks. They ask again where they were not answered, and never where they were."""

    studio: FailingStudio
    web: httpx.Client
    environment: dict[str, str]
    chance: random.Random
    say: Callable[[str], None]

    def retrieve(self) -> None:
        """Select some tasks and retrieve predictions, or open one."""
        for numbers in self._handfuls(RETRIEVED):
            self._until_answered(lambda numbers=numbers: self.studio.retrieve(self.web, RETRIEVED, numbers))
        self.say("all are retrieved")

    def announce(self) -> None:
        """Import tasks, which Label Studio announces."""
        for numbers in self._handfuls(IMPORTED):
            body = self.studio.webhook(IMPORTED, numbers)
            self._until_answered(lambda body=body: self.web.post("/webhook", json=body).raise_for_status())
        self.say("all are announced")

    def prelabel(self) -> None:
        """Run the command, and run it again where it gave up."""
        command = [sys.executable, "-m", "tests.chaos.program", "prelabel", str(PRELABELLED)]
        while True:
            ended = subprocess.run(
                command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            last = ended.stdout.decode(errors="replace").strip().rpartition("\n")[2]
            self.say(f"prelabel ended with {ended.returncode}: {last}")
            if last.startswith("done"):
                return
            time.sleep(1)

    def _handfuls(self, project: int) -> Iterator[list[int]]:
        numbers = [number for number, task in self.studio.tasks.items() if task["project"] == project]
        while numbers:
            size = 1 if self.chance.random() < 0.3 else self.chance.randint(10, 60)
            yield numbers[:size]
            del numbers[:size]
            time.sleep(self.chance.uniform(0, 4))

    def _until_answered(self, ask: Callable[[], Any]) -> None:
        _patiently(ask, httpx.HTTPError)


def _fill(studio: FailingStudio, plan: Plan) -> dict[int, str]:
    """Make projects and tasks. Returns what is broken, by task."""
    chance, broken = random.Random(f"tasks {plan.seed}"), {}  # noqa: S311
    for project in (RETRIEVED, IMPORTED, PRELABELLED):
        studio.add_project(project, CONFIG)
        for number in range(plan.tasks // 3):
            kind = chance.choice(list(BROKEN)) if chance.random() < plan.broken_rate else None
            shared = chance.randint(1, 50) if chance.random() < 0.1 else number + 1000 * project
            seconds = chance.uniform(0, 2 * plan.slow)
            text = f"left {shared}" if plan.model == "stub" and shared <= 50 else f"left {shared} slow {seconds:.2f}"
            data = BROKEN[kind](number) if kind else {"image": data_uri(png()), "text": text}
            (task,) = studio.add_tasks(project, [data])
            if kind:
                broken[task] = kind
    return broken


def _is_idle(queue: JobQueue) -> bool:
    """Whether nothing waits, runs, or is due."""
    try:
        if any(number for depth in queue.depths().values() for number in depth.values()):
            return False
        return not queue.connection.zcard(TAKEN) and next(queue.connection.scan_iter("refam:due:*", 1000), None) is None
    except RedisError:
        return False


@contextmanager
def _environment(plan: Plan, studio: FailingStudio, folder: Path) -> Iterator[dict[str, str]]:
    own = {
        "REFAM_BACKEND_STATE_DIR": str(folder / "state"),
        "REFAM_BACKEND_PORT": str(free_port()),
        "REFAM_BACKEND_DEVICES": ",".join(["cpu"] * plan.workers),
        "REFAM_BACKEND_RETRY_DELAYS": "1,3,10",
        "REFAM_BACKEND_WRITE_DELAYS": "2,5,10,20,30,60,60",
        "REFAM_BACKEND_CLAIM_SECONDS": "30",
        "REFAM_BACKEND_INLINE_SECONDS": "5",
        "REFAM_BACKEND_LOG_LEVEL": "WARNING",
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": PAT,
        "CHAOS_MODEL": plan.model,
        "CHAOS_LIFE": str(plan.life),
        "CHAOS_STUDIO_TIMEOUT": str(plan.patience),
    }
    kept = {
        name: value for name, value in os.environ.items() if name not in variables() and not name.startswith("REFAM")
    }
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(kept | own)
    try:
        yield kept | own
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _up(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.program", "up"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()


def _patiently(ask: Callable[[], Any], *failures: type[Exception], seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except failures:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def save(result: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON, and the backend's log beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".log").write_text(result.pop("log"))
    path.write_text(json.dumps(result, indent=2) + "\n")

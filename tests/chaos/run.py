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
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from backend.demo.programs import free_port
from backend.errors import QueueUnavailableError
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import Settings, variables
from tests.chaos.real_studio import real_studio
from tests.chaos.saboteur import Saboteur
from tests.chaos.studio import ChaosStudio, Faults, patiently, stand_in
from tests.chaos.tasks import draw_tasks
from tests.chaos.users import Users
from tests.support.processes import ROOT
from tests.support.silent_host import HOST, SilentHost, silent_host

__all__ = ["PLANS", "Plan", "run", "save"]

DISK = "256m"  # `up` starts Redis once 64 MiB of it are free


@dataclass(frozen=True)
class Plan:
    """What a run does.

    seconds: after which what has not ended counts as lost. slow: that a job takes. gaps: shortest and longest between
    two deeds. patience: after which the backend gives a request up. life: after which a worker counts as dead.
    silent_rate: tasks whose image is on a host that does not answer for `silence` seconds. deaths: of frozen workers.
    studio: "stand-in" or "real". model: "stub" or "embedded".
    """

    seed: int
    tasks: int = 1200
    workers: int = 3
    kills: int = 22
    hangs: int = 2
    redis_restarts: int = 4
    redis_outage: float = 60
    web_kills: int = 3
    deaths: int = 2
    full_disks: int = 1
    silent_rate: float = 0.05
    silence: float = 120
    error_rate: float = 0.1
    broken_rate: float = 0.04
    slow: float = 2
    gaps: tuple[float, float] = (5, 15)
    patience: float = 3
    life: int = 30
    seconds: float = 3000
    studio: str = "stand-in"
    model: str = "stub"


PLANS = {  # for each kind of Label Studio, what a run does unless told otherwise
    "stand-in": Plan(0),
    "real": Plan(
        0, tasks=60, workers=2, kills=4, hangs=1, redis_restarts=1, redis_outage=0, web_kills=1, deaths=1, silence=60,
        error_rate=0.2, broken_rate=0.1, slow=3, patience=10, life=15, studio="real",
    ),
}  # fmt: skip


def run(plan: Plan, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Run, and report what became of every task. See `report` for the figures."""
    start = time.monotonic()

    def say(line: str) -> None:
        log(f"{time.monotonic() - start:6.1f} s  {line}")

    say(f"seed {plan.seed}")
    faults = Faults(plan.error_rate, plan.patience, plan.seed)
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        _small_disk(Path(folder) / "state") as disk,
        silent_host() as host,
        _studio(plan, faults) as studio,
        _environment(plan, studio, Path(folder)) as environment,
    ):
        settings = Settings()  # type: ignore[call-arg]
        users = Users(studio, environment, random.Random(f"users {plan.seed}"), say)  # noqa: S311
        with _up(environment, Path(folder) / "up.log") as up:
            shared = SharedState.over(patiently(lambda: connect(settings), QueueUnavailableError), settings)
            with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=20, trust_env=False) as web:
                patiently(lambda: web.get("/health").raise_for_status(), httpx.HTTPError)
                studio.connect(web, settings.model_version)
                say("ready")
                saboteur = Saboteur(
                    shared,
                    plan.seed,
                    plan.kills,
                    plan.hangs,
                    plan.redis_restarts,
                    plan.redis_outage,
                    plan.web_kills,
                    plan.deaths,
                    plan.full_disks,
                    disk,
                    plan.gaps,
                    say,
                    up_pid=up.pid,
                )
                bringing = _bring_tasks(users, plan, host)
                answering = threading.Timer(plan.silence, setattr, (host, "answers", True))
                answering.start()
                sabotage = threading.Thread(target=saboteur.run, daemon=True)
                for thread in [*bringing, sabotage]:
                    thread.start()
                deadline = start + plan.seconds
                while any(thread.is_alive() for thread in bringing) or not _is_idle(shared):
                    if time.monotonic() > deadline:
                        say("out of time")
                        break
                    time.sleep(1)
                saboteur.idle.set()
                answering.cancel()
                sabotage.join(plan.seconds)
                time.sleep(2 * plan.patience)  # what Label Studio still does late
                failures = {int(entry["task"]): entry for entry in shared.ledger.failures.newest()}
            say("stopping")
        log_text = (Path(folder) / "up.log").read_text(errors="replace")
        result = report(plan, studio, faults, users.tasks, failures, saboteur, time.monotonic() - start)
    return result | {"log": log_text}


def _bring_tasks(users: Users, plan: Plan, host: SilentHost) -> list[threading.Thread]:
    """Threads, each of which brings its share of the tasks, in a project of its own."""
    tasks = draw_tasks(plan.model, plan.tasks, plan.broken_rate, plan.slow, plan.seed, host.picture, plan.silent_rate)
    ways = (users.retrieve, users.announce, users.prelabel)
    shares = [(way, users.studio.new_project(), tasks[n :: len(ways)]) for n, way in enumerate(ways)]
    return [threading.Thread(target=way, args=(project, share), daemon=True) for way, project, share in shares]


def report(
    plan: Plan,
    studio: ChaosStudio,
    faults: Faults,
    tasks: dict[int, str | None],
    failures: dict[int, Any],
    saboteur: Saboteur,
    seconds: float,
) -> dict[str, Any]:
    """The figures. lost: neither predicted nor listed; duplicated: predictions beyond a task's first."""
    held = studio.per_task()
    predicted = {task for task, _ in held}
    broken = {task for task, kind in tasks.items() if kind}
    unlisted = [task for task in tasks if task not in predicted and task not in failures]
    takeovers = sorted(saboteur.takeovers)
    return {
        "seed": plan.seed,
        "studio": plan.studio,
        "model": plan.model,
        "tasks": plan.tasks,
        "predicted": len(predicted),
        "failed_listed": len(failures.keys() - predicted),
        "lost": len(unlisted) + plan.tasks - len(tasks),
        "duplicated": sum(held.values()) - len(predicted),
        "broken": len(broken),
        "broken_predicted": len(broken & predicted),
        "good_failed": sorted({f"{e['field']}: {e['message']}" for t, e in failures.items() if t not in broken}),
        "worker_kills": saboteur.done["worker_kills"],
        "worker_hangs": saboteur.done["worker_hangs"],
        "frozen_deaths": saboteur.done["frozen_deaths"],
        "full_disks": saboteur.done["full_disks"],
        "redis_restarts": saboteur.done["redis_restarts"],
        "redis_outages": saboteur.done["redis_outages"],
        "web_kills": saboteur.done["web_kills"],
        "studio_requests": len(studio.requests),
        "studio_errors": sum(faults.errors.values()),
        "studio_errors_by_kind": dict(faults.errors),
        "takeover_seconds": {
            "number": len(takeovers),
            "median": round(statistics.median(takeovers), 1) if takeovers else None,
            "max": round(takeovers[-1], 1) if takeovers else None,
        },
        "seconds": round(seconds, 1),
        "lost_tasks": unlisted[:20],
    }


def _is_idle(shared: SharedState) -> bool:
    """Whether nothing waits, runs, or is due."""
    try:
        if any(number for depth in shared.backlog.depths().values() for number in depth.values()):
            return False
        redis = shared.connection
        return (
            not redis.zcard(shared.keyspace.key("taken"))
            and not redis.zcard(shared.keyspace.key("claimed"))
            and next(redis.scan_iter("refam:*:due:*", 1000), None) is None
        )
    except RedisError:
        return False


def _studio(plan: Plan, faults: Faults) -> AbstractContextManager[ChaosStudio]:
    return real_studio(faults) if plan.studio == "real" else stand_in(faults)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own at a folder, where this process may mount one."""
    folder.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={DISK}", "tmpfs")
    mounted = subprocess.run(["mount", *options, str(folder)], stderr=subprocess.DEVNULL, check=False).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _environment(plan: Plan, studio: ChaosStudio, folder: Path) -> Iterator[dict[str, str]]:
    own = {
        "REFAM_BACKEND_STATE_DIR": str(folder / "state"),
        "REFAM_BACKEND_PORT": str(free_port()),
        "REFAM_BACKEND_DEVICES": ",".join(["cpu"] * plan.workers),
        "REFAM_BACKEND_RETRY_DELAYS": "1,3,10",
        "REFAM_BACKEND_WRITE_DELAYS": "2,5,10,20,30,60,60",
        "REFAM_BACKEND_CLAIM_SECONDS": "30",
        "REFAM_BACKEND_INLINE_SECONDS": "5",
        "REFAM_BACKEND_LOG_LEVEL": "WARNING",
        "REFAM_BACKEND_IMAGE_HOSTS": HOST,
        "REFAM_BACKEND_IMAGE_TIMEOUT": str(plan.patience),
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
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


def save(result: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON, and the backend's log beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".log").write_text(result.pop("log"))
    path.write_text(json.dumps(result, indent=2) + "\n")

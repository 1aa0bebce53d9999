"""`refam-backend up`: Redis where there is none, the web server and the workers, started and stopped together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from types import FrameType

import httpx
from redis.exceptions import RedisError

from backend.exclusive import PORT_REMEDY, hold_folder, listen
from backend.queue.connection import connect
from backend.queue.fleet import Fleet
from backend.queue.keyspace import Keyspace
from backend.settings import Settings
from backend.supervisor.pauses import Pauses
from backend.supervisor.redis_keeper import RedisKeeper
from backend.supervisor.redis_server import RedisServer
from refam.tiny import NOTICE, SWITCH

__all__ = ["up"]

PROGRAM = (sys.executable, "-m", "backend")
LOOK = 0.2  # seconds between two looks at the processes
Say = Callable[[str], None]


@dataclass
class Child:
    """One process of ours, started again when it dies.

    listener: a socket that it inherits, so that whoever connects is never refused, nor reaches anybody else.
    """

    name: str
    command: list[str]
    listener: socket.socket | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restart_at: float | None = None
    pauses: Pauses = field(default_factory=Pauses)

    def start(self) -> None:
        """Start it in a session of its own: Ctrl+C reaches `up` alone, which stops all in order.

        Its standard input is a pipe that nothing is written to: see backend.supervisor.lifeline.
        """
        arguments = [*PROGRAM, *self.command, "--end-with-parent"]
        inherited = [self.listener.fileno()] if self.listener else []
        arguments += [f"--listener={descriptor}" for descriptor in inherited]
        if self.process and self.process.stdin:
            self.process.stdin.close()
        self.process = subprocess.Popen(  # noqa: S603  # our own program, our own arguments
            arguments,
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            pass_fds=inherited,
            start_new_session=True,
        )
        self.started, self.restart_at = time.monotonic(), None

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def keep_alive(self, say: Say) -> None:
        """Start it again if it died, after a pause that doubles with each quick death."""
        now = time.monotonic()
        if self.is_alive():
            return
        if self.restart_at is None:
            code, pause = self.process.returncode if self.process else None, self.pauses.next(now - self.started)
            say(f"{self.name} stopped (exit code {code}); starting it again in {pause:g} s")
            self.restart_at = now + pause
        elif now >= self.restart_at:
            self.start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM: a worker finishes its job first."""
        if self.process and self.is_alive():
            self.process.terminate()

    def end(self) -> None:
        """End it at once, if it still runs."""
        if self.process:
            self.process.kill()
            self.process.wait()


def up(settings: Settings, say: Say) -> int:
    """Run everything until SIGINT or SIGTERM; a second signal ends it at once. Returns the exit code.

    say: called with each line of progress.
    Raises SettingsError where others could reach it without a password, ProgramError if the port or the state folder is
    in use, and QueueUnavailableError if there is no Redis.
    """
    settings.require_password()
    stop, force = threading.Event(), threading.Event()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        (force if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    one_folder = hold_folder(settings.state_dir, "Stop the other `refam-backend up`, or set REFAM_BACKEND_STATE_DIR.")
    with one_folder, closing(listen(settings.host, settings.port, PORT_REMEDY)) as listener:
        redis = None if settings.redis_url else RedisServer(settings)
        children = [Child("web", ["serve"], listener), *_workers(settings)]
        try:
            if redis:
                redis.start()
            fleet = Fleet(Keyspace.over(connect(settings), settings), settings)
            if settings.refam.is_demonstration:
                say(f"note    {NOTICE}\n        {SWITCH}")
            say(f"redis   ready   {'private, in ' + str(settings.state_dir) if redis else 'REDIS_URL'}")
            for child in children:
                child.start()
            if not _announce(settings, fleet, children, stop, say):
                return 1
            keeper = RedisKeeper(redis, settings.state_dir, say) if redis else None
            while not stop.wait(LOOK):
                if keeper:
                    keeper.keep_alive()
                for child in children:
                    child.keep_alive(say)
        finally:
            if stop.is_set():
                say("stopping; running jobs finish first, Ctrl+C again to end them")
            _stop(children, settings, force)
            if redis:
                redis.stop()
            say("stopped")
    return 0


def _workers(settings: Settings) -> list[Child]:
    if not settings.devices:
        return [Child("worker", ["worker"])]
    return [Child(f"worker {device}", ["worker"], environment={"REFAM_DEVICE": device}) for device in settings.devices]


def _announce(settings: Settings, fleet: Fleet, children: list[Child], stop: threading.Event, say: Say) -> bool:
    """Say what is ready. False if the web server cannot start."""
    web, *workers = children
    address = settings.address
    while not _is_healthy(address):
        if stop.is_set():
            return True
        if not web.is_alive():
            say("web     failed  see above")
            return False
        time.sleep(LOOK)
    say(f"web     ready   {address}")
    pids = {str(worker.process.pid) for worker in workers if worker.process}
    while not stop.wait(LOOK):
        ready = [entry for entry in _registered(fleet) if entry["pid"] in pids]
        if len(ready) == len(workers):
            for entry in ready:
                say(f"worker  ready   {entry['model_version']} on {entry['device']}")
            say(f"Ready. In Label Studio: Settings > Model > Connect Model, URL {address}. Ctrl+C stops.")
            break
        if not all(worker.is_alive() for worker in workers):
            say("worker  failed  see above; it is tried again, and tasks wait in the queue")
            break
    return True


def _registered(fleet: Fleet) -> list[dict[str, str]]:
    try:
        return fleet.workers()
    except RedisError:
        return []


def _is_healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=1, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _stop(children: list[Child], settings: Settings, force: threading.Event) -> None:
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + settings.stop_seconds
    while any(child.is_alive() for child in children) and time.monotonic() < deadline and not force.is_set():
        time.sleep(LOOK)
    for child in children:
        child.end()

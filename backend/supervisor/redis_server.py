"""The private Redis, for those who run none: a server on a unix socket.

The data survives restarts (append-only file), and nobody but the user can connect: the socket's folder is closed to
others and no port is opened.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from enum import Enum

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from backend.errors import QueueUnavailableError
from backend.settings import Settings
from backend.supervisor.server_programs import ServerProgram, choose_program, note_writer

__all__ = ["RedisServer"]

LONGEST_SOCKET_PATH = 100  # the kernel's limit is 107 bytes
SPARE = 2  # times what tasks may fill: jobs that run still end, and are noted
ANSWER_SECONDS = 2
START_SECONDS = 30  # a long append-only file takes a while to read


class State(Enum):
    """What a look finds: one that answers, one that still reads its file, one that says nothing, or none."""

    ANSWERS, READS, SILENT, GONE = range(4)


class RedisServer:
    """Starts and stops the private server of one state folder."""

    def __init__(self, settings: Settings) -> None:
        self._socket = settings.redis_socket.absolute()
        self._folder = self._socket.parent
        self._fsync = settings.redis_fsync
        self._max_bytes = settings.redis_max_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._left_behind = 0  # process number of a server that was taken over

    def start(self) -> None:
        """Start the server, or take over one that an earlier `up` left behind, and wait until it answers.

        Raises QueueUnavailableError if no program can serve the data in the folder, or it does not start.
        """
        if len(bytes(self._socket)) > LONGEST_SOCKET_PATH:
            raise QueueUnavailableError(
                f"{self._socket} is too long for a socket. Set REFAM_BACKEND_STATE_DIR shorter."
            )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if self._answers():
            self._left_behind = int(self._client().info("server")["process_id"])
            return
        program = choose_program(self._folder)
        note_writer(self._folder, program)
        self._process = subprocess.Popen(  # noqa: S603  # the server that was chosen, our own arguments
            self._command(program), stdin=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise QueueUnavailableError(f"{program} does not start. See {self._folder / 'redis.log'}.")
            time.sleep(0.02)

    def is_alive(self) -> bool:
        """Whether the server runs."""
        return self._process.poll() is None if self._process else self._state() is not State.GONE

    def is_frozen(self) -> bool:
        """Whether it takes connections and does not answer."""
        return self._state() is State.SILENT

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        if self._process:
            self._process.kill()
            self._process.wait()
        elif self._left_behind:
            with suppress(ProcessLookupError):
                os.kill(self._left_behind, signal.SIGKILL)

    def stop(self) -> None:
        """Write everything to disk and stop."""
        if self._answers():
            self._client(patient=True).shutdown()
        else:
            self.kill()
        if self._process:
            self._process.wait()

    def _command(self, program: ServerProgram) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory": str(SPARE * self._max_bytes),
            "maxmemory-policy": "noeviction",
            # A queued job is a hash with a field of some hundred bytes; as a compact one it takes half the memory.
            "hash-max-ziplist-value": "1024",
            "logfile": str(self._folder / "redis.log"),
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [program.path, *flags]

    def _client(self, *, patient: bool = False) -> Redis:
        """patient: it takes its time to write everything to disk; a look must not take long."""
        seconds = None if patient else ANSWER_SECONDS
        return Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0), socket_timeout=seconds)

    def _answers(self) -> bool:
        return self._state() is State.ANSWERS

    def _state(self) -> State:
        try:
            self._client().ping()
        except BusyLoadingError:
            return State.READS
        except RedisTimeoutError:
            return State.SILENT
        except (RedisConnectionError, OSError):
            return State.GONE
        return State.ANSWERS

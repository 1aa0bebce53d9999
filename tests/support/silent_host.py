"""A host of pictures that takes connections and says nothing, until it does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from tests.support.tasks import png

__all__ = ["HOST", "SilentHost", "silent_host"]

HOST = "127.0.0.1"


class SilentHost:
    """asked: connections so far. answers: whether it does by now."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = False
        self._server = socket.create_server((HOST, 0), backlog=100)
        self._open: list[socket.socket] = []

    def picture(self, number: int) -> str:
        """Address of a picture."""
        return f"http://{HOST}:{self._server.getsockname()[1]}/{number}.png"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.asked += 1
            self._open.append(connection)  # a socket that nobody holds is closed
            if self.answers:
                with suppress(OSError):
                    connection.recv(10_000)
                    picture = png()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(picture), picture))

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            connection.close()


@contextmanager
def silent_host() -> Iterator[SilentHost]:
    host = SilentHost()
    thread = Thread(target=host.serve, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.close()
        thread.join()

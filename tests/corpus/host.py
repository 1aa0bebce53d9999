"""A host that means no good, over real HTTP. Label Studio's media paths lie on it, too."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.tasks import png

__all__ = ["running"]


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        with suppress(OSError):  # clients that have enough leave
            BEHAVIOUR.get(self.path, missing)(self)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def missing(handler: Handler) -> None:
    handler.answer(404, b"no such file")


def redirect(location: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(302, Location=location)


def drip(handler: Handler) -> None:
    handler.answer(200, Content_Length="100000")
    while True:
        time.sleep(0.2)
        handler.wfile.write(b"x")


BEHAVIOUR: dict[str, Callable[[Handler], None]] = {
    "/good.png": lambda handler: handler.answer(200, png()),
    "/to-metadata.png": redirect("http://169.254.169.254/latest/meta-data/iam/"),
    "/to-file.png": redirect("file:///etc/passwd"),
    "/to-nowhere.png": redirect("http://[::1"),
    "/to-no-host.png": redirect("http:127.0.0.1:1/"),
    "/to-data.png": redirect("data:image/png;base64,AAAA"),
    "/to-password.png": redirect("https://user:hush@example.com/a.png"),
    "/round.png": redirect("/round.png"),
    "/forbidden.png": lambda handler: handler.answer(403),
    "/broken.png": lambda handler: handler.answer(500, b"Traceback"),
    "/half.png": lambda handler: handler.answer(200, png()[:20], Content_Length="99999"),
    "/drip.png": drip,
    "/endless.png": lambda handler: handler.answer(200, bytes(2_000_000)),
    "/packed.png": lambda handler: handler.answer(
        200, gzip.compress(bytes(999), mtime=0)[:24], Content_Encoding="gzip"
    ),
    "/page.png": lambda handler: handler.answer(200, b"<html>please log in</html>", Content_Type="image/png"),
    "/data/upload/1/private.png": redirect("/user/login/?next=/data/upload/1/private.png"),
}


@contextmanager
def running() -> Iterator[tuple[int, list[str]]]:
    """While this lasts, the host answers at a port of loopback; yields the port, and the paths that are asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (Handler,), {"asked": asked}))
    server.daemon_threads = True
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()

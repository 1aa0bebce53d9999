"""A Label Studio under a subpath, behind a proxy that takes the subpath away: http://host/ls."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from backend.demo.local_studio import LocalStudio, studio_running
from backend.demo.programs import backend_running, free_port
from backend.label_studio.client import Studio
from backend.settings import PREFIX, Settings
from refam.evaluate import intersection_over_union
from tests.e2e.editor import read_mask
from tests.e2e.running import CONFIG, eventually, run_command

SUBPATH = "/ls"
PASSED_ON = ("authorization", "content-type", "accept", "cookie")


@contextmanager
def proxy(target: str) -> Iterator[str]:
    """A reverse proxy, as nginx with `location /ls/ { proxy_pass http://target/; }`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(f"{SUBPATH}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            path = self.path.removeprefix(SUBPATH)
            answer = httpx.request(
                self.command, target + path, headers=headers, content=body, timeout=60, trust_env=False
            )
            self.send_response(answer.status_code)
            for name in ("content-type", "location"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = do_DELETE = pass_on  # noqa: N815  # names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{SUBPATH}"
        server.shutdown()


def copied(studio: LocalStudio, folder: Path) -> Path:
    """What a running Label Studio keeps, in another folder: its first start took a minute."""
    (folder / "data").mkdir(parents=True)
    for name in ("password", "token"):
        shutil.copy(studio.files.parent / name, folder / name)
    database = "label_studio.sqlite3"
    with (
        closing(sqlite3.connect(studio.files.parent / "data" / database)) as source,
        closing(sqlite3.connect(folder / "data" / database)) as copy,
    ):
        source.backup(copy)
    return folder


@pytest.fixture
def below(studio, tmp_path) -> Iterator[tuple[Studio, dict[str, str]]]:
    """A Label Studio under the subpath, asked through the proxy, and the backend's settings for it."""
    port = free_port()
    with (
        proxy(f"http://127.0.0.1:{port}") as address,
        studio_running(copied(studio, tmp_path / "studio"), port, LABEL_STUDIO_HOST=address) as moved,
    ):
        variables = {
            "LABEL_STUDIO_URL": address,
            "LABEL_STUDIO_API_KEY": moved.token,
            f"{PREFIX}STATE_DIR": str(tmp_path / "backend"),
        }
        with closing(Studio(Settings.model_validate(variables), timeout=60)) as api:
            yield api, variables


def test_uploads_and_static_files_are_read_and_masks_written(below, tmp_path, sample, refam):
    studio, variables = below
    project = str(studio.post("/api/projects/", {"title": "below", "label_config": CONFIG})["id"])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for entry in sample[:2]:
        (folder / entry.picture.name).write_bytes(entry.picture.read_bytes())
        (folder / entry.picture.with_suffix(".txt").name).write_text(entry.text)
    assert run_command(variables, "import", project, str(folder))[0] == 0
    _, second = studio.tasks(project)
    renamed = {
        **second["data"],
        "image": SUBPATH + second["data"]["image"],
    }  # as Label Studio itself names uploads there
    studio.post(f"/api/projects/{project}/import", [{"data": renamed}])
    with backend_running(variables, tmp_path / "backend.log"):
        code, said = run_command(variables, "prelabel", project)
        assert code == 0, said
    tasks = studio.tasks(project)
    eventually(lambda: all(task["total_predictions"] == 1 for task in studio.tasks(project)))
    for task, entry in zip(tasks, (sample[0], sample[1], sample[1]), strict=True):
        (prediction,) = studio.predictions(str(task["id"]))
        mask = read_mask(prediction["result"][0])
        assert intersection_over_union(mask, refam.segment(entry.image, entry.text).mask) >= 0.99

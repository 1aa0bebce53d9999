"""A stand-in for Label Studio 1.23: its tasks, predictions and tokens over real HTTP, and what it asks a backend.

Like Label Studio it removes no duplicates, drops predictions that do not fit the label config without a word, refuses a
whole import for one unknown task, answers 404 behind the last page, and stores what /predict answers.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

PAT, ACCESS = "a.good.token", "a.short-lived.token"
Answer = tuple[int, Any]
DROPPED: Answer = 0, None  # the connection is closed without an answer


class Truncated(bytes):
    """Content after which the connection breaks, though more was announced."""


class LabelStudio:
    """One Label Studio with projects, on `port`, or on a free one.

    fault: called with method and path of each request; what it returns, if anything, is answered instead.
    after: the same, called once the request has been carried out.
    version: the model version that the backend's /setup answers.
    """

    def __init__(self, port: int = 0) -> None:
        self.configs: dict[int, str] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.predictions: dict[int, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.annotations: dict[int, list[int | dict[str, Any]]] = {}
        self.views: dict[int, Callable[[dict[str, Any]], bool]] = {}
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], Answer | None] = lambda *_: None
        self.after: Callable[[str, str], Answer | None] = lambda *_: None
        self.version = ""
        self._lock = threading.RLock()
        self._server = serve(_handler(self), port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_project(self, project: int, config: str) -> None:
        self.configs[project] = config

    def add_tasks(self, project: int, entries: list[dict[str, Any]]) -> list[int]:
        with self._lock:
            start = max(self.tasks, default=0) + 1
            for number, data in enumerate(entries, start):
                self.tasks[number] = {"id": number, "project": project, "data": data}
            return list(range(start, start + len(entries)))

    def per_task(self) -> Counter[tuple[int, str]]:
        """How often each (task, model version) is stored."""
        return Counter((entry["task"], entry["model_version"]) for entry in self.predictions.values())

    def store(self, task: int, prediction: dict[str, Any]) -> None:
        with self._lock:
            number = max(self.predictions, default=0) + 1
            self.predictions[number] = {"id": number, "task": task, **prediction}

    def task(self, number: int) -> dict[str, Any]:
        total = sum(entry["task"] == number for entry in self.predictions.values())
        annotations = len(self.annotations.get(number, []))
        return {**self.tasks[number], "total_predictions": total, "total_annotations": annotations}

    def retrieve(self, backend: httpx.Client, project: int, numbers: list[int]) -> Any:
        """What "Retrieve predictions", or opening a task, does; the answer's results are stored."""
        held = {task for task, stored in self.per_task() if stored == self.version}
        tasks = [self.task(number) for number in numbers if number not in held]
        if not tasks:
            return None
        params = {"login": None, "password": None, "context": None}
        body = {"tasks": tasks, "project": f"{project}.1795", "label_config": self.configs[project], "params": params}
        results = backend.post("/predict", json=body).raise_for_status().json()["results"]
        assert len(results) == len(tasks)
        for task, result in zip(tasks, results, strict=True):
            if isinstance(result, dict):
                self.store(task["id"], result)
        return results

    def webhook(self, project: int, numbers: list[int]) -> dict[str, Any]:
        """Body of TASKS_CREATED."""
        tasks = [self.task(number) for number in numbers]
        return {
            "action": "TASKS_CREATED",
            "tasks": tasks,
            "project": {"id": project, "label_config": self.configs[project]},
        }

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        with self._lock:
            for verb, pattern, action in ROUTES:
                if verb == method and (match := re.fullmatch(pattern, path)):
                    return action(self, *map(int, match.groups()), query=query, body=body)
        return 404, {"detail": "Not found."}

    def import_tasks(self, project: int, query: dict[str, str], body: Any, **_: Any) -> Answer:
        """JSON makes tasks. A file is kept, also where the answer is an error: the config shows more than a picture."""
        if isinstance(body, list):
            numbers = self.add_tasks(project, [entry["data"] for entry in body])
            for number, entry in zip(numbers, body, strict=True):
                self.tasks[number]["meta"] = entry.get("meta") or {}
            return 201, {"task_count": len(body)}
        assert query == {"commit_to_project": "false"}
        name, content = body
        stored = f"upload/{project}/{len(self.uploads):08x}-{name}"
        self.uploads[f"/data/{stored}"] = content
        if self.configs[project].count('value="$') > 1:
            reason = "Your label config has more than one data key and direct file upload supports only one data key."
            text = f"Failed to parse input file {stored.rpartition('/')[2]}: {reason}"
            return 400, {"detail": "Validation error", "validation_errors": {"non_field_errors": [text]}}
        return 201, {"file_upload_ids": [len(self.uploads)], "task_count": 0}

    def get_upload(self, number: int, **_: Any) -> Answer:
        return 200, {"id": number, "file": list(self.uploads)[number - 1].removeprefix("/data/")}

    def get_project(self, project: int, **_: Any) -> Answer:
        if project not in self.configs:
            return 404, {"detail": "Not found."}
        number = sum(task["project"] == project for task in self.tasks.values())
        about = {"id": project, "title": f"project {project}", "label_config": self.configs[project]}
        return 200, {**about, "task_number": number}

    def list_tasks(self, query: dict[str, str], **_: Any) -> Answer:
        if "filters" in query.get("query", ""):
            return self.list_predicted(query)
        assert query["fields"] == "task_only"
        assert query["resolve_uri"] == "false"
        tasks = [self.task(n) for n, t in sorted(self.tasks.items()) if t["project"] == int(query["project"])]
        if "view" in query:
            tasks = [task for task in tasks if self.views[int(query["view"])](task)]
        elif "query" in query:
            selected = json.loads(query["query"])["selectedItems"]
            tasks = [task for task in tasks if selected["all"] or task["id"] in selected["included"]]
        size = int(query["page_size"])
        page = tasks[size * (int(query["page"]) - 1) :][:size]
        if not page and query["page"] != "1":
            return 404, {"detail": "Invalid page."}
        return 200, {"tasks": page, "total": len(tasks)}

    def list_predicted(self, query: dict[str, str]) -> Answer:
        """Tasks that have a prediction of some version, by number."""
        asked = json.loads(query["query"])
        (wanted,) = asked["filters"]["items"]
        assert (wanted["filter"], wanted["operator"]) == ("filter:tasks:predictions_model_versions", "contains")
        held = {
            entry["task"]
            for entry in self.predictions.values()
            if any(part in entry["model_version"] for part in wanted["value"])
        }
        found = [n for n in asked["selectedItems"]["included"] if n in held and n in self.tasks]
        ids = [{"id": n} for n in sorted(found) if self.tasks[n]["project"] == int(query["project"])]
        return 200, {"tasks": ids, "total": len(ids)}

    def list_predictions(self, query: dict[str, str], **_: Any) -> Answer:
        return 200, [entry for entry in self.predictions.values() if entry["task"] == int(query["task"])]

    def list_annotations(self, task: int, **_: Any) -> Answer:
        entries = self.annotations.get(task, [])
        return 200, [entry if isinstance(entry, dict) else {"id": entry} for entry in entries]

    def import_predictions(self, project: int, body: list[dict[str, Any]], **_: Any) -> Answer:
        known = {number for number, task in self.tasks.items() if task["project"] == project}
        if any(entry["task"] not in known for entry in body):
            return 400, {"detail": "Validation error", "validation_errors": ["tasks not found"]}
        fitting = [entry for entry in body if all(_fits(region, self.configs[project]) for region in entry["result"])]
        for entry in fitting:
            self.store(entry["task"], {name: value for name, value in entry.items() if name != "task"})
        return 201, {"created": len(fitting)}

    def add_prediction(self, body: dict[str, Any], **_: Any) -> Answer:
        if body["task"] not in self.tasks:
            return 400, {"detail": "Validation error"}
        self.store(body["task"], {name: value for name, value in body.items() if name != "task"})
        return 201, {}

    def delete_prediction(self, number: int, **_: Any) -> Answer:
        return (204, None) if self.predictions.pop(number, None) else (404, {"detail": "Not found."})


ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", r"/api/projects/(\d+)/", LabelStudio.get_project),
    ("GET", r"/api/tasks", LabelStudio.list_tasks),
    ("GET", r"/api/tasks/(\d+)/annotations/", LabelStudio.list_annotations),
    ("GET", r"/api/predictions/", LabelStudio.list_predictions),
    ("POST", r"/api/predictions/", LabelStudio.add_prediction),
    ("DELETE", r"/api/predictions/(\d+)/", LabelStudio.delete_prediction),
    ("POST", r"/api/projects/(\d+)/import/predictions", LabelStudio.import_predictions),
    ("POST", r"/api/projects/(\d+)/import", LabelStudio.import_tasks),
    ("GET", r"/api/import/file-upload/(\d+)", LabelStudio.get_upload),
]


class Replier(BaseHTTPRequestHandler):
    """Answers each request with what `answer` makes of its body."""

    wbufsize = -1  # head and body in one packet: a second one would wait 40 ms until the first is acknowledged

    def answer(self, raw: bytes) -> Answer:
        raise NotImplementedError

    def file(self, raw: bytes) -> tuple[str, bytes]:
        """Name and content of the file in a form."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        (part,) = BytesParser(policy=HTTP).parsebytes(head + raw).iter_parts()
        return str(part.get_filename()), bytes(part.get_payload(decode=True))

    def handle_any(self) -> None:
        status, content = self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        if (status, content) == DROPPED:
            return
        if not isinstance(content, bytes):
            content = b"" if content is None else json.dumps(content).encode()
        with suppress(ConnectionError):  # nobody may wait any more
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) * (2 if isinstance(content, Truncated) else 1)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815  # names that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


def serve(handler: type[Replier], port: int = 0) -> ThreadingHTTPServer:
    """Serve in threads, at `port` of the loopback address, or at a free one."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _fits(region: dict[str, Any], config: str) -> bool:
    """Whether an import takes a region: of labels that a task itself brings it knows nothing where there are others."""
    labels = region["value"].get(region.get("type", ""), [])
    known = "<Label " not in config or all(f'"{label}"' in config for label in labels)
    return f'"{region["from_name"]}"' in config and known


def _handler(studio: LabelStudio) -> type[Replier]:
    class Handler(Replier):
        def answer(self, raw: bytes) -> Answer:
            url = urlsplit(self.path)
            body = (
                self.file(raw)
                if "multipart" in self.headers.get("Content-Type", "")
                else json.loads(raw)
                if raw
                else None
            )
            studio.requests.append((self.command, self.path))
            if url.path == "/api/token/refresh/":
                return (200, {"access": ACCESS}) if body == {"refresh": PAT} else (401, {"detail": "Token is invalid"})
            if self.headers["Authorization"] != f"Bearer {ACCESS}":
                return 401, {"detail": "Authentication credentials were not provided."}
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            found = studio.fault(self.command, url.path) or studio.answer(self.command, url.path, query, body)
            return studio.after(self.command, url.path) or found

    return Handler


@contextmanager
def running() -> Iterator[LabelStudio]:
    studio = LabelStudio()
    try:
        yield studio
    finally:
        studio.stop()

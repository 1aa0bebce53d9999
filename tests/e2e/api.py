"""Label Studio's API, as its own pages and users' scripts call it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from backend.demo.local_studio import LocalStudio

__all__ = ["Api", "api_of"]


class Api:
    """The API of a Label Studio, asked by `client`."""

    def __init__(self, studio: LocalStudio, client: httpx.Client) -> None:
        self._studio = studio
        self._client = client

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        response = self._client.request(method, path, json=content)
        assert response.is_success, f"{response.status_code} {response.text[:500]}"
        return response.json() if response.content else None

    def refused(self, method: str, path: str, content: Any) -> tuple[int, str]:
        """Status and detail of a request that Label Studio refuses."""
        response = self._client.request(method, path, json=content)
        return response.status_code, response.json().get("detail", "")

    def add_tasks(self, project: int, entries: list[tuple[str, str]]) -> list[int]:
        """Import (picture's name, text); returns the tasks' numbers."""
        return self.import_tasks(
            project, [{"image": self._studio.file_address(picture), "text": text} for picture, text in entries]
        )

    def import_tasks(self, project: int, data: list[dict[str, Any]]) -> list[int]:
        """Import tasks with these data; returns their numbers."""
        known = {task["id"] for task in self.tasks(project)}
        self.ask("POST", f"/api/projects/{project}/import", [{"data": entry} for entry in data])
        return sorted(task["id"] for task in self.tasks(project) if task["id"] not in known)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        # "task_only" keeps Label Studio from asking the backend for predictions
        path = f"/api/tasks?project={project}&page_size=1000&fields=task_only&resolve_uri=false"
        return list(self.ask("GET", path)["tasks"])

    def predictions(self, task: int) -> list[dict[str, Any]]:
        return list(self.ask("GET", f"/api/predictions/?task={task}"))

    def per_task(self, project: int) -> list[int]:
        """How many predictions each task has."""
        return [task["total_predictions"] for task in self.tasks(project)]

    def retrieve(self, project: int, tasks: list[int]) -> Any:
        """What Actions > Retrieve predictions does."""
        content = {"selectedItems": {"all": False, "included": tasks}}
        return self.ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", content)

    def backend_state(self, project: int) -> dict[str, Any]:
        """What Settings > Model shows; Label Studio asks the backend anew."""
        # Where its SQLite is locked, Label Studio repeats a request, and has the backend twice
        return dict(self.ask("GET", f"/api/ml?project={project}")[0])


@contextmanager
def api_of(studio: LocalStudio, timeout: float) -> Iterator[Api]:
    """The API, with the account's legacy token; `timeout` in seconds."""
    headers = {"Authorization": f"Token {studio.token}"}
    with httpx.Client(base_url=studio.url, headers=headers, timeout=timeout, trust_env=False) as client:
        yield Api(studio, client)

"""Label Studio's API. The only module that sends the service's token anywhere, and only to Label Studio."""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import httpx

from backend.errors import RefusedError, TaskError, TemporaryError
from backend.json_bytes import JSONBytes
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["PAGE", "Studio", "is_personal_token"]

logger = logging.getLogger(__name__)

ACCESS_LIFETIME = 240  # seconds; Label Studio's access tokens live for 300
PAGE = 100  # tasks
VERSIONS = "predictions_model_versions"  # a column of Label Studio's Data Manager
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY_REQUESTS = 401, 403, 404, 429
UPLOADED = re.compile(r"Failed to parse input file ([^\s\"\\\\/:]+): Your label config has more than one data key")
TOKEN_REMEDY = "Create a personal access token under Account & Settings in Label Studio and set LABEL_STUDIO_API_KEY."  # noqa: S105


def is_personal_token(token: str) -> bool:
    """Whether `token` is a personal access token, which is a JWT; legacy tokens are 40 hex digits."""
    return token.count(".") == 2


class Studio:
    """Access to one Label Studio. Threads may share it.

    transport: replaces the network in tests.
    timeout: seconds that it may take to answer.
    patience: seconds before each further try to read what could not be read for now. A worker needs none: its job is
        tried again.
    """

    def __init__(
        self,
        settings: Settings,
        transport: httpx.BaseTransport | None = None,
        *,
        timeout: float = Timings().request,
        patience: Sequence[float] = (),
    ) -> None:
        self.url = settings.label_studio_url
        self._token = settings.label_studio_api_key
        self._client = httpx.Client(timeout=timeout, trust_env=False, transport=transport)
        self._access: tuple[str, float] | None = None
        self._patience = tuple(patience)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def owns(self, url: httpx.URL) -> bool:
        """Whether `url` has Label Studio's own scheme, host, port, and subpath, if it has one."""
        if self.url is None:
            return False
        own = httpx.URL(self.url)
        return _origin(url) == _origin(own) and url.path.startswith(f"{own.path.rstrip('/')}/")

    def authorization(self) -> dict[str, str]:
        """The header that lets a request in; empty without a token.

        A personal access token is exchanged for a short-lived one. Raises TaskError if Label Studio refuses it, and
        TemporaryError if Label Studio cannot be asked.
        """
        if self._token is None or self.url is None:
            return {}
        token = self._token.get_secret_value()
        if not is_personal_token(token):
            return {"Authorization": f"Token {token}"}
        return {"Authorization": f"Bearer {self._access_token(token)}"}

    def version(self) -> str:
        """Label Studio's release. Raises TemporaryError if there is none at its address."""
        content = _json(self._send("GET", "/api/version"))
        if not isinstance(content, dict) or "release" not in content:
            raise TemporaryError(f"What answers at {self.url} is no Label Studio.")
        return str(content["release"])

    def get(self, path: str) -> Any:
        """The JSON that Label Studio answers to GET `path`. Raises as `authorization` does."""
        return _json(self._request("GET", path))

    def post(self, path: str, content: Any) -> Any:
        """The JSON that Label Studio answers to POST `path`. Raises RefusedError if it refuses the content."""
        response = self._request("POST", path, json=content)
        if not response.is_success:
            raise RefusedError("label_studio", f"it refuses {path}: {_detail(response)}.", "See its log.")
        return _json(response)

    def upload(self, project: str, name: str, content: bytes) -> str:
        """Upload a file to a project, without making a task of it. Returns what a task's data holds for it.

        name: best one that no other file of the project has.
        Label Studio keeps a file that it then refuses to make a task of, because the config shows more than a picture.
        Raises RefusedError if it does not keep it.
        """
        path = f"/api/projects/{project}/import"
        response = self._request("POST", path, params={"commit_to_project": "false"}, files={name: (name, content)})
        if response.is_success:
            (number,) = _json(response)["file_upload_ids"]
            return f"/data/{self.get(f'/api/import/file-upload/{number}')['file']}"
        kept = UPLOADED.search(response.text)
        if kept is None:
            raise RefusedError("label_studio", f"it does not take {name}: {_detail(response)}.", "See its log.")
        return f"/data/upload/{project}/{kept[1]}"

    def import_tasks(self, project: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Make tasks, as {data, meta}. Raises RefusedError if Label Studio refuses one of them."""
        self.post(f"/api/projects/{project}/import", list(tasks))

    def refusal(self, backend: str) -> str | None:
        """Why Label Studio refuses to connect a backend at this address; None if it does not.

        It says so of connection and webhook before it finds that these requests are incomplete: nothing is changed.
        """
        for path in ("/api/ml", "/api/webhooks/"):
            content = {"url": backend, "actions": ["NONE"]}
            response = self._send("POST", path, headers=self.authorization(), json=content)
            if response.status_code == FORBIDDEN:
                return _detail(response)
        return None

    def project(self, project: str) -> dict[str, Any]:
        """A project: its label_config, task_number, .. Raises RefusedError if there is no such project."""
        response = self._request("GET", f"/api/projects/{project}/")
        if response.status_code == NOT_FOUND:
            raise RefusedError("project", f"Label Studio has no project {project}.", "Give the number in its address.")
        return dict(_json(response))

    def tasks(
        self, project: str, page: int = 1, *, view: int | None = None, ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """One page of a project's tasks, PAGE at most, as {id, data, total_annotations, total_predictions, ..}.

        page: from 1; an empty list is answered behind the last one.
        view: only the tasks of this tab of the Data Manager, in its order; otherwise by id.
        ids: only these; those that do not exist, or are another project's, are left out.
        The data is raw, as /predict gets it: a task has the same job id on both ways.
        """
        params: dict[str, Any] = {"project": project, "page": page, "page_size": PAGE, "fields": "task_only"}
        params |= {"resolve_uri": "false"} | ({"view": view} if view is not None else {})
        if ids is not None:
            params["query"] = json.dumps({"selectedItems": {"all": False, "included": list(ids)}})
        response = self._request("GET", "/api/tasks", params=params)
        return [] if response.status_code == NOT_FOUND else list(_json(response)["tasks"])

    def pages(self, project: str, *, view: int | None = None) -> Iterator[list[dict[str, Any]]]:
        """All pages of `tasks`."""
        for number in count(1):
            page = self.tasks(project, number, view=view)
            if not page:
                return
            yield page

    def predicted(self, project: str, ids: Sequence[int], versions: str) -> set[int]:
        """Those of some tasks, PAGE at most, that have a prediction whose model version contains a text.

        As it is now: the counter `total_predictions` may lag behind. Unlike `tasks` this makes Label Studio call
        /predict for none, since it does that for tasks without predictions.
        """
        wanted = {"filter": f"filter:tasks:{VERSIONS}", "operator": "contains", "type": "List", "value": [versions]}
        selected = {"all": False, "included": list(ids)}
        query = {"selectedItems": selected, "filters": {"conjunction": "and", "items": [wanted]}}
        params = {"project": project, "page": 1, "page_size": PAGE, "include": "id"}
        params |= {"resolve_uri": "false", "query": json.dumps(query)}
        response = self._request("GET", "/api/tasks", params=params)
        return {int(task["id"]) for task in _json(response)["tasks"]}

    def predictions(self, task: str) -> list[dict[str, Any]]:
        """All predictions of a task; none if there is no such task.

        Not asked of the task itself: where a task lacks predictions, reading it makes Label Studio call /predict.
        """
        return list(_json(self._request("GET", "/api/predictions/", params={"task": task})))

    def annotations(self, task: str) -> list[dict[str, Any]]:
        """All annotations of a task, as {id, result, was_cancelled, parent_prediction, ..}."""
        return list(_json(self._request("GET", f"/api/tasks/{task}/annotations/")))

    def has_annotations(self, task: str) -> bool:
        """Whether somebody has annotated the task."""
        return bool(self.annotations(task))

    def post_predictions(self, project: str, predictions: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
        """Store predictions, each with the number of its task. Returns whether Label Studio takes them all; otherwise
        it may have stored some."""
        response = self._import_predictions(project, predictions)
        return response.is_success and _json(response).get("created") == len(predictions)

    def post_prediction(self, project: str, task: str, prediction: Mapping[str, Any]) -> None:
        """Store a prediction. Raises RefusedError if Label Studio does not take it, or does not know the task."""
        response = self._import_predictions(project, [(task, prediction)])
        if response.is_success and _json(response).get("created") == 1:
            return
        if not self.tasks(project, ids=[int(task)]):
            raise self.unknown_task(project, task)
        reason = "it does not fit the label config" if response.is_success else _detail(response)
        remedy = "If the label config was changed meanwhile, ask for the task again."
        raise RefusedError("label_studio", f"Label Studio did not store the prediction: {reason}.", remedy)

    def add_prediction(self, task: str, prediction: Mapping[str, Any]) -> None:
        """Store a prediction that Label Studio does not check against the label config, whose import knows no labels of
        the task's own where the config has some, too. Slower. Raises RefusedError if it does not take it."""
        self.post("/api/predictions/", {"task": int(task), **prediction})

    def unknown_task(self, project: str, task: str) -> RefusedError:
        """What is said of a task that Label Studio does not know."""
        message = f"the Label Studio at {self.url} has no task {task} in project {project}."
        remedy = "If it was deleted there, nothing needs to be done. Otherwise correct LABEL_STUDIO_URL."
        return RefusedError("label_studio", message, remedy)

    def delete_prediction(self, prediction: int) -> None:
        """Delete a prediction, if it is still there."""
        self._request("DELETE", f"/api/predictions/{prediction}/")

    def _import_predictions(self, project: str, predictions: Sequence[tuple[str, Mapping[str, Any]]]) -> httpx.Response:
        entries = [{"task": int(task), **prediction} for task, prediction in predictions]
        return self._request("POST", f"/api/projects/{project}/import/predictions", json=entries)

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Ask with the token, and again with patience, but only what changes nothing."""
        for seconds in self._patience if method == "GET" else ():
            try:
                return self._ask(method, path, **content)
            except TemporaryError as error:
                logger.warning("%s Trying again in %g s.", error, seconds)
                time.sleep(seconds)
        return self._ask(method, path, **content)

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Ask with the token; once more with a new one where the short-lived one is refused."""
        response = self._send(method, path, headers=self.authorization(), **content)
        if response.status_code == UNAUTHORIZED and self._access:
            self._access = None
            response = self._send(method, path, headers=self.authorization(), **content)
        if response.status_code in (UNAUTHORIZED, FORBIDDEN):
            raise TaskError("LABEL_STUDIO_API_KEY", f"Label Studio refuses it ({_detail(response)}).", TOKEN_REMEDY)
        return response

    def _access_token(self, refresh: str) -> str:
        access = self._access  # another thread may forget it at any moment
        if access is None or access[1] < time.monotonic():
            response = self._send("POST", "/api/token/refresh/", json={"refresh": refresh})
            if response.is_client_error:
                message = f"Label Studio refuses the personal access token ({_detail(response)})."
                raise TaskError("LABEL_STUDIO_API_KEY", message, TOKEN_REMEDY)
            self._access = access = str(_json(response)["access"]), time.monotonic() + ACCESS_LIFETIME
        return access[0]

    def _send(self, method: str, path: str, *, json: Any = None, **content: Any) -> httpx.Response:
        if json is not None:
            content["content"] = JSONBytes.dumps(json)
            content["headers"] = {**content.get("headers", {}), "Content-Type": "application/json"}
        try:
            response = self._client.request(method, f"{self.url}{path}", **content)
        except httpx.HTTPError as error:
            raise TemporaryError(f"Label Studio at {self.url} does not answer ({type(error).__name__}).") from None
        if response.is_server_error or response.status_code == TOO_MANY_REQUESTS:
            raise TemporaryError(f"Label Studio at {self.url} answers {response.status_code} to {path}.")
        return response


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx drops a scheme's default port


def _json(response: httpx.Response) -> Any:
    try:
        return JSONBytes.loads(response.content)
    except ValueError:
        raise TemporaryError(
            f"{response.url.path} of Label Studio answers no JSON. Is LABEL_STUDIO_URL right?"
        ) from None


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"

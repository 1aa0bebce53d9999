"""The routes, asked as Label Studio 1.23.2 asks them (fixtures/label_studio_requests.json was recorded from it)."""

import base64
import gzip
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from backend.delivery.known_projects import KnownProjects
from backend.queue.shared_state import SharedState
from backend.web.app import create_app
from tests.support.processes import eventually
from tests.support.tasks import CONFIG, data_uri, png, task

RECORDED = {
    entry["name"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "fixtures" / "label_studio_requests.json").read_text())
}
PREDICT = [name for name, entry in RECORDED.items() if entry["path"] == "/predict"]
WEBHOOKS = [name for name, entry in RECORDED.items() if entry["path"] == "/webhook"]


def send(client, name):
    entry = RECORDED[name]
    return client.request(entry["method"], entry["path"], headers=entry["headers"], json=entry["body"])


def body(*tasks, config=CONFIG, context=None):
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": "7.1795393738", "label_config": config, "params": params}


def error(response, status):
    assert response.status_code == status, response.text
    found = response.json()["error"]
    assert set(found) == {"field", "message", "remedy"}
    assert all(found.values())
    assert "Traceback" not in response.text
    return found


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health(client, path):
    assert client.get(path).json() == {"status": "UP", "model_class": "RefAMBackend"}


def test_setup_answers_the_version_that_predictions_have(client, settings):
    assert send(client, "setup").json() == {"model_version": settings.model_version}
    assert send(client, "setup_basic_auth").json() == {"model_version": settings.model_version}


def test_versions(client, settings):
    assert send(client, "versions").json() == {"versions": [settings.model_version]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("<View/>", "image tag"),
        ("<View", "well-formed"),
        ('<!DOCTYPE v [<!ENTITY a "b">]><View>&a;</View>', "entities"),
    ],
)
def test_setup_refuses_a_config_that_cannot_be_used(client, config, message):
    found = error(client.post("/setup", json={"project": "1.2", "schema": config}), 422)
    assert found["field"] == "label_config"
    assert message in found["message"]


@pytest.mark.parametrize("name", PREDICT)
def test_every_recorded_prediction_request_gets_one_entry_a_task(client, name):
    response = send(client, name)
    assert response.status_code == 200
    entry = RECORDED[name]["body"]
    results = response.json()["results"]
    assert len(results) == len(entry["tasks"])
    if entry["params"]["context"] is None:
        assert results == [[]]
    else:
        assert [region["type"] for region in results[0]["result"]] == ["textarea"] * bool(
            entry["params"]["context"].get("result")
        )  # the reason, since no worker runs


@pytest.mark.parametrize("name", WEBHOOKS)
def test_every_recorded_webhook_is_accepted(client, name):
    response = send(client, name)
    assert response.status_code == 200
    assert response.json()["status"] == ("queued" if name == "tasks_created" else "ignored")


def test_new_tasks_are_queued(client, backlog):
    entry = json.loads(json.dumps(RECORDED["tasks_created"]["body"]))
    entry["project"]["label_config"] = CONFIG
    assert client.post("/webhook", json=entry).status_code == 200
    eventually(lambda: backlog.depths()["batch"]["waiting"] == len(entry["tasks"]))


def test_a_batch_is_answered_at_once_and_filled_by_the_next_request(client, run_jobs, settings):
    tasks = [task(number, f"left {number}") for number in range(5)]
    assert client.post("/predict", json=body(*tasks)).json() == {"results": [[]] * 5, "errors": []}
    run_jobs()
    results = client.post("/predict", json=body(*tasks)).json()["results"]
    assert [entry["model_version"] for entry in results] == [settings.model_version] * 5
    assert all(isinstance(entry["score"], float) for entry in results)


def test_old_predictions_and_annotations_are_not_kept(client, connection):
    old = {**task(1, "left"), "predictions": [{"result": ["bulk" * 1000]}], "annotations": [{"result": []}]}
    client.post("/predict", json=body(old, task(2, "right")))
    stored = b"".join(b"".join(connection.hvals(key)) for key in connection.scan_iter("rq:job:*"))
    assert len(stored) < 5000


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (task(2, ""), "text"),
        (task(2, None), "text"),
        (task(2, 5), "text"),
        (task(2, "x" * 5000), "text"),
        (task(2, "left", image=" "), "image"),
        (task(2, {"text": "left", "label": "Whale"}), "label"),
    ],
)
def test_a_bad_task_is_explained_in_answer_and_status(client, bad, field):
    answer = client.post("/predict", json=body(task(1, "left"), bad)).json()
    assert answer["results"] == [[], []]
    (entry,) = answer["errors"]
    assert (entry["task"], entry["field"]) == ("2", field)
    assert entry["message"]
    assert entry["remedy"]
    state = client.get("/status").json()
    assert [(failure["task"], failure["field"]) for failure in state["failures"]] == [("2", field)]
    assert state["queues"]["batch"]["waiting"] == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (data_uri(b"no image"), "no readable image"),
        (data_uri(png()[:40]), "no readable image"),
        (data_uri(png())[:-3], "base64 is broken"),
        ("http://127.0.0.1:1/a.png", "private address"),
        ("s3://bucket/a.png", "LABEL_STUDIO_URL"),
        ("/data/upload/1/a.png", "LABEL_STUDIO_URL"),
    ],
)
def test_a_bad_image_is_explained_in_answer_and_status(client, run_jobs, image, message):
    tasks = [task(1, "left"), task(2, "left", image=image)]
    client.post("/predict", json=body(*tasks))
    run_jobs()
    answer = client.post("/predict", json=body(*tasks)).json()
    assert answer["results"][0]["result"]
    assert answer["results"][1] == []
    (entry,) = answer["errors"]
    assert entry["field"] == "image"
    assert message in entry["message"] + entry["remedy"]
    (failure,) = client.get("/status").json()["failures"]
    assert (failure["task"], failure["message"]) == ("2", entry["message"])


@pytest.mark.parametrize("context", [None, {"result": []}])
def test_an_unusable_config_fails_every_task_with_its_reason(client, context):
    answer = client.post("/predict", json=body(task(1, "left"), config="<View/>", context=context)).json()
    assert answer["results"][0] == [] if context is None else answer["results"][0]["result"] == []
    assert answer["errors"][0]["field"] == "label_config"
    assert client.get("/status").json()["failures"][0]["field"] == "label_config"


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize("raw", [b"", b"{", b"nothing", b"\xff\xfe", b'{"other": ' + b"[" * 100_000])
def test_malformed_json_is_a_bad_request(client, path, raw):
    assert error(client.post(path, content=raw), 400)["field"] == "body"


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("/setup", {}, "schema"),
        ("/setup", {"schema": 5}, "schema"),
        ("/predict", [], "body"),
        ("/predict", {"label_config": CONFIG}, "tasks"),
        ("/predict", {"label_config": CONFIG, "tasks": {}}, "tasks"),
        ("/predict", {"label_config": None, "tasks": []}, "label_config"),
        ("/predict", {"label_config": CONFIG, "tasks": [{"id": 1}]}, "tasks.0.data"),
        ("/predict", {"label_config": CONFIG, "tasks": [{"id": 1, "data": "x"}]}, "tasks.0.data"),
        ("/predict", body(task(1, "left"), context={"result": 5}), "params.context.result"),
        ("/webhook", {}, "action"),
        ("/webhook", {"action": "TASKS_CREATED", "tasks": [{"id": 1}]}, "tasks.0.data"),
    ],
)
def test_wrong_shapes_are_named(client, path, content, field):
    assert error(client.post(path, json=content), 422)["field"] == field


def test_no_tasks_no_results(client):
    assert client.post("/predict", json=body()).json() == {"results": [], "errors": []}


def test_too_large_a_body_is_refused(configure, connection):
    settings = configure(REQUEST_MAX_BYTES=1000)
    client = TestClient(create_app(SharedState.over(connection, settings), settings))
    found = error(client.post("/predict", content=b"x" * 1001), 413)
    assert "REFAM_BACKEND_REQUEST_MAX_BYTES" in found["remedy"]


def test_large_bodies_are_welcome(client):
    old = [{"id": 1, "result": [{"value": {"rle": [0, 255] * 1_000_000}}]}]
    response = client.post("/predict", json=body({**task(1, "left"), "predictions": old}, task(2, "right")))
    assert response.json()["results"] == [[], []]


def test_password(configure, connection):
    settings = configure(BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p\u00e4ss")
    client = TestClient(create_app(SharedState.over(connection, settings), settings))
    assert client.get("/health").status_code == 200
    right = {"Authorization": "Basic " + base64.b64encode("u:p\u00e4ss".encode()).decode()}
    wrong = [{}, {"Authorization": "Basic dTpw"}, {"Authorization": "Basic !"}, {"Authorization": "Bearer x"}]
    for path in ("/setup", "/predict", "/webhook", "/versions", "/status"):
        method = "GET" if path in ("/versions", "/status") else "POST"
        for headers in wrong:
            response = client.request(method, path, headers=headers, json={})
            assert error(response, 401)["field"] == "Authorization"
            assert response.headers["www-authenticate"].startswith("Basic")
        assert client.request(method, path, headers=right, json={}).status_code != 401


def test_redis_that_is_gone_is_said_and_health_answers(configure):
    settings = configure()
    gone = SharedState.over(Redis(port=1, retry=None), settings)
    client = TestClient(create_app(gone, settings), raise_server_exceptions=False)
    assert client.get("/health").status_code == 200
    assert error(client.post("/predict", json=body(task(1, "left"))), 503)["field"] == "REDIS_URL"


def test_a_bug_shows_no_traceback(client, queue, monkeypatch):
    monkeypatch.setattr(queue, "submit", lambda *_, **__: 1 / 0)
    found = error(client.post("/predict", json=body(task(1, "left"))), 500)
    assert "ZeroDivisionError" in found["message"]


def test_other_paths_and_methods(client):
    assert client.get("/nothing").status_code == 404
    assert client.get("/predict").status_code == 405


@pytest.mark.parametrize("origin", ["https://evil.example", "http://testserver.evil.example", "null"])
def test_requests_from_other_sites_are_refused(client, origin):
    found = error(client.post("/predict", json=body(task(1, "left")), headers={"Origin": origin}), 403)
    assert found["field"] == "Origin"
    assert client.get("/status", headers={"Origin": "http://testserver"}).status_code == 200


@pytest.mark.parametrize("identifier", [-1, 2**63, 10**400, "a\nb", "a\n", "x" * 101, "a/b"])
def test_a_task_needs_a_number_or_a_short_name(client, identifier):
    found = error(client.post("/predict", json=body({**task(1, "left"), "id": identifier})), 422)
    assert found["field"].startswith("tasks.0.id")


@pytest.mark.parametrize(
    ("number", "status"),
    [
        *((each, 200) for each in ("9" * 400, '"x"', "null", "[]", "true")),
        *((each, 422) for each in ("1e999", "-1e999")),
        *((each, 400) for each in ("NaN", "Infinity")),
    ],
)
def test_odd_numbers_in_what_an_annotator_drew_are_no_bug(client, number, status):
    value = '{"x": 1, "y": 1, "width": 5, "height": 5, "rotation": NUMBER, "rectanglelabels": ["Object"]}'
    shape = '{"type": "rectanglelabels", "from_name": "rect", "original_width": NUMBER, "value": ' + value + "}"
    drafts = '[{"id": NUMBER, "updated_at": NUMBER, "result": [SHAPE]}, {"id": 1, "result": []}]'
    raw = json.dumps(body({**task(1, "left"), "drafts": "DRAFTS"}, context={"result": ["SHAPE"]}))
    raw = raw.replace('"DRAFTS"', drafts).replace('"SHAPE"', "SHAPE").replace("SHAPE", shape).replace("NUMBER", number)
    assert client.post("/predict", content=raw).status_code == status


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_compressed_bodies_are_not_unpacked(client, encoding):
    content = gzip.compress(json.dumps(body(task(1, "left"))).encode())
    assert error(client.post("/predict", content=content, headers={"Content-Encoding": encoding}), 400)


def test_a_body_in_chunks_is_counted(configure, connection):
    settings = configure(REQUEST_MAX_BYTES=1000)
    client = TestClient(create_app(SharedState.over(connection, settings), settings))
    assert error(client.post("/predict", content=(b"x" * 100 for _ in range(11))), 413)["field"] == "body"


def test_projects_that_connect_leave_only_their_numbers(client, connection, shared):
    for project in ("7.1795", "", "x" * 100_000, "7/../8"):
        body = {"project": project, "schema": CONFIG, "hostname": "http://localhost:8080"}
        assert client.post("/setup", json=body).status_code == 200
    assert KnownProjects(shared.keyspace).hostnames() == {"7": "http://localhost:8080"}

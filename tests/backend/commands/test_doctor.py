"""What doctor finds; Label Studio is a small server that answers like it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.commands import doctor
from backend.settings import load_settings

PAT, DEAD_PAT, LEGACY = "a.good.token", "a.dead.token", "0123456789abcdef0123456789abcdef01234567"


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


REFUSED = {"/api/ml": "http://127.0.0.8:9090", "/api/webhooks/": "http://127.0.0.9:9090"}


@pytest.fixture(scope="module")
def label_studio():
    """Address of a server that answers what doctor asks, as Label Studio 1.23 does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/api/version":
                self.answer(200, {"release": "1.23.2"})
            elif self.headers["Authorization"] == "Bearer short":
                self.answer(200, {"username": "ann@example.com"})
            else:
                self.answer(401, {"detail": "Authentication token no longer valid: legacy token authentication"})

        def do_POST(self):
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "url" in sent:
                return self.answer(
                    403 if sent["url"] == REFUSED.get(self.path) else 400,
                    {"detail": "URL resolves to a reserved network address"},
                )
            good = sent["refresh"] == PAT
            status = 200 if good else 401
            return self.answer(status, {"access": "short"} if good else {"detail": "Token is blacklisted"})

        def answer(self, status, content):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def findings(check, *arguments):
    return {finding.subject: finding for finding in check(*arguments)}


@pytest.mark.parametrize(
    ("token", "verdict", "message"),
    [
        (PAT, "ok", "ann@example.com"),
        (DEAD_PAT, "wrong", "blacklisted"),
        (LEGACY, "wrong", "legacy token, which Label Studio switches off"),
        (None, "wrong", "not set"),
    ],
)
def test_doctor_tries_the_token(configure, label_studio, token, verdict, message):
    settings = configure(LABEL_STUDIO_URL=label_studio, **({"LABEL_STUDIO_API_KEY": token} if token else {}))
    found = findings(doctor._label_studio, settings)
    assert "1.23.2" in found["label studio"].message
    assert ("connecting" in found) == (verdict == "ok")
    assert found["token"].verdict == verdict
    assert message in found["token"].message
    assert (found["token"].remedy == "") == (verdict == "ok")


@pytest.mark.parametrize("address", REFUSED.values())
def test_doctor_sees_that_label_studio_refuses_the_backends_address(configure, label_studio, address):
    host = address.removeprefix("http://").removesuffix(":9090")
    given = configure(LABEL_STUDIO_URL=label_studio, LABEL_STUDIO_API_KEY=PAT, HOST=host)
    refused = findings(doctor._label_studio, given)["connecting"]
    assert refused.verdict == "wrong"
    assert f"{address}: URL resolves to a reserved network address" in refused.message
    assert "USE_DEFAULT_BANNED_SUBNETS=false" in refused.remedy
    accepted = findings(doctor._label_studio, configure(HOST="127.0.0.1"))["connecting"]
    assert accepted.verdict == "ok"


def test_doctor_sees_that_there_is_no_label_studio(configure):
    (finding,) = doctor._label_studio(configure(LABEL_STUDIO_URL="http://127.0.0.1:1"))
    assert finding.verdict == "wrong"
    assert "does not answer" in finding.message


def test_doctor_sees_that_something_else_answers(configure, label_studio, monkeypatch):
    (finding,) = doctor._label_studio(configure(LABEL_STUDIO_URL=label_studio + "/elsewhere"))
    assert finding.verdict == "wrong"


def test_doctor_explains_the_queue(queue, settings, connection):
    found = findings(doctor._redis, settings)
    assert found["redis"].verdict == "ok"
    assert (found["worker"].verdict, found["worker"].remedy) == (
        "wrong", "Start `refam-backend worker`, or `refam-backend up`.",
    )  # fmt: skip


def test_doctor_warns_of_the_redis_of_0_1(redis_of_0_1, configure, tmp_path):
    with redis_of_0_1(tmp_path):
        found = list(doctor._redis(configure(REDIS_URL=f"unix://{tmp_path}/redis.sock")))
    (note,) = [finding for finding in found if finding.verdict == "note"]
    assert "CVE-2025-49844" in note.message
    assert "Install redis-server" in note.remedy


def test_doctor_warns_of_a_redis_that_forgets(queue, settings, connection):
    connection.config_set("appendonly", "no")
    connection.config_set("maxmemory", "100mb")
    connection.config_set("maxmemory-policy", "allkeys-lru")
    try:
        messages = [finding.message for finding in doctor._redis(settings)]
    finally:
        connection.config_set("appendonly", "yes")
        connection.config_set("maxmemory", "0")
        connection.config_set("maxmemory-policy", "noeviction")
    assert any("append-only" in message for message in messages)
    assert any("allkeys-lru" in message for message in messages)


@pytest.mark.parametrize(
    ("variable", "value", "check", "message"),
    [
        ("REFAM_MODEL", "/nowhere/at all", doctor._model, "neither a folder nor a hub id"),
        ("REFAM_MODEL", "somebody/something", doctor._model, "offline"),
        ("REFAM_SAM", "/nowhere/sam.pth", doctor._sam, "no checkpoint"),
        ("REFAM_DEVICE", "cuda:63", doctor._torch, "cuda"),
    ],
)
def test_doctor_explains_what_the_model_lacks(environment, variable, value, check, message):
    environment.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    environment.setenv(variable, value)
    finding = check(load_settings().refam)
    assert finding.verdict == "wrong"
    assert message in finding.message
    assert finding.remedy


def test_doctor_recognises_a_broken_torchvision(monkeypatch, tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor._torchvision()
    assert finding.verdict == "wrong"
    assert "nms does not exist" in finding.message
    assert "pip uninstall torchvision" in finding.remedy


def test_doctor_exits_with_1_if_something_is_wrong(configure, connection):
    configure()
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "worker" in result.output
    assert "Start `refam-backend worker`" in result.output


def test_doctor_starts_with_the_settings(environment):
    environment.setenv("REFAM_BACKEND_PORT", "x")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "REFAM_BACKEND_PORT" in result.output

"""What doctor finds; Label Studio is a small server that answers like it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from typer.testing import CliRunner

from backend.cli import app
from backend.commands.doctor import model, services, studio
from backend.commands.doctor.examination import examine
from backend.delivery.known_projects import KnownProjects
from backend.queue.keyspace import Keyspace
from backend.settings import load_settings
from refam.tiny import NOTICE, SWITCH
from tests.support.published import write_published

PAT, DEAD_PAT, LEGACY = "a.good.token", "a.dead.token", "0123456789abcdef0123456789abcdef01234567"


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


KNOWN = {
    "/api/current-user/whoami": (200, {"username": "ann@example.com"}),
    "/api/projects/3/": (200, {"title": "Street", "label_config": ""}),
    "/api/ml?project=3": (200, [{"url": "http://localhost:9090", "is_interactive": True}]),
    "/api/projects/4/": (200, {"title": "Desk", "label_config": ""}),
    "/api/ml?project=4": (200, [{"url": "http://localhost:9090", "is_interactive": False}]),
    "/api/projects/5/": (200, {"title": "Left", "label_config": ""}),
    "/api/ml?project=5": (200, []),
}
REFUSED = {"/api/ml": "http://127.0.0.8:9090", "/api/webhooks/": "http://127.0.0.9:9090"}


@pytest.fixture(scope="module")
def label_studio():
    """Address of a server that answers what doctor asks, as Label Studio 1.23 does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/api/version":
                self.answer(200, {"release": "1.23.2"})
            elif self.headers["Authorization"] == "Bearer short":
                self.answer(*KNOWN.get(self.path, (404, {"detail": "Not found."})))
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
    found = findings(studio.label_studio, settings)
    assert "1.23.2" in found["label studio"].message
    assert ("connecting" in found) == (verdict == "ok")
    assert found["token"].verdict == verdict
    assert message in found["token"].message
    assert (found["token"].remedy == "") == (verdict == "ok")


@pytest.mark.parametrize("address", REFUSED.values())
def test_doctor_sees_that_label_studio_refuses_the_backends_address(configure, label_studio, address):
    host = address.removeprefix("http://").removesuffix(":9090")
    given = configure(LABEL_STUDIO_URL=label_studio, LABEL_STUDIO_API_KEY=PAT, HOST=host)
    refused = findings(studio.label_studio, given)["connecting"]
    assert refused.verdict == "wrong"
    assert f"{address}: URL resolves to a reserved network address" in refused.message
    assert "USE_DEFAULT_BANNED_SUBNETS=false" in refused.remedy
    accepted = findings(studio.label_studio, configure(HOST="127.0.0.1"))["connecting"]
    assert accepted.verdict == "ok"


def test_doctor_sees_that_there_is_no_label_studio(configure):
    (finding,) = studio.label_studio(configure(LABEL_STUDIO_URL="http://127.0.0.1:1"))
    assert finding.verdict == "wrong"
    assert "does not answer" in finding.message


def test_doctor_sees_that_something_else_answers(configure, label_studio, monkeypatch):
    (finding,) = studio.label_studio(configure(LABEL_STUDIO_URL=label_studio + "/elsewhere"))
    assert finding.verdict == "wrong"


def test_doctor_explains_the_queue(queue, settings, connection):
    found = findings(services.redis, settings)
    assert found["redis"].verdict == "ok"
    assert (found["worker"].verdict, found["worker"].remedy) == (
        "wrong", "Start `refam-backend worker`, or `refam-backend up`.",
    )  # fmt: skip


def test_doctor_warns_of_the_redis_of_0_1(redis_of_0_1, configure, tmp_path):
    with redis_of_0_1(tmp_path):
        found = list(services.redis(configure(REDIS_URL=f"unix://{tmp_path}/redis.sock")))
    (note,) = [finding for finding in found if finding.verdict == "note"]
    assert "CVE-2025-49844" in note.message
    assert "Install redis-server" in note.remedy


def test_doctor_warns_of_a_redis_that_forgets(queue, settings, connection):
    connection.config_set("appendonly", "no")
    connection.config_set("maxmemory", "100mb")
    connection.config_set("maxmemory-policy", "allkeys-lru")
    try:
        messages = [finding.message for finding in services.redis(settings)]
    finally:
        connection.config_set("appendonly", "yes")
        connection.config_set("maxmemory", "0")
        connection.config_set("maxmemory-policy", "noeviction")
    assert any("append-only" in message for message in messages)
    assert any("allkeys-lru" in message for message in messages)


@pytest.mark.parametrize(
    ("variable", "value", "check", "message"),
    [
        ("REFAM_MODEL", "/nowhere/at all", model.model, "there is no folder"),
        ("REFAM_MODEL", "somebody/something", model.model, "it has not been downloaded"),
        ("REFAM_SAM", "/nowhere/sam.pth", lambda config: next(model.sam(config)), "no checkpoint"),
        ("REFAM_DEVICE", "cuda:63", model.device, "cuda"),
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
    finding = model.torchvision()
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


def test_doctor_says_where_it_is_connected_and_what_is_missing_there(configure, label_studio, connection):
    settings = configure(LABEL_STUDIO_URL=label_studio, LABEL_STUDIO_API_KEY=PAT)
    projects = KnownProjects(Keyspace.over(connection, settings))
    (nothing,) = [found for found in studio.label_studio(settings) if found.subject == "projects"]
    assert "none has connected" in nothing.message
    for project in "3456":
        projects.add(project, label_studio)
    said = [found for found in studio.label_studio(settings) if found.subject in ("projects", "address")]
    assert [(found.verdict, found.message.partition(",")[0]) for found in said] == [
        ("ok", "project 3 (Street) has connected this backend"),
        ("wrong", "project 4 (Desk) has connected this backend"),
        ("note", "project 5 (Left) has connected this backend"),
        ("note", "project 6 connected this backend"),
    ]
    assert "Interactive preannotations" in said[1].remedy


@pytest.mark.parametrize(("hostname", "fits"), [("localhost", True), ("studio.org", False)])
def test_doctor_sees_that_label_studio_calls_itself_otherwise(configure, label_studio, connection, hostname, fits):
    settings = configure(LABEL_STUDIO_URL=label_studio, LABEL_STUDIO_API_KEY=PAT)
    port = label_studio.rpartition(":")[2]
    KnownProjects(Keyspace.over(connection, settings)).add("3", f"http://{hostname}:{port}")
    found = [found for found in studio.label_studio(settings) if found.subject == "address"]
    assert bool(found) == (not fits)
    assert fits or f"http://{hostname}:{port}" in found[0].message


def test_doctor_says_that_the_embedded_model_is_a_demonstration(environment):
    finding = model.model(load_settings().refam)
    assert finding.verdict == "note"
    assert NOTICE in finding.message
    assert finding.remedy == SWITCH


@pytest.mark.parametrize("error", [OSError("no network"), TimeoutError("too slow")])
def test_a_hub_that_cannot_be_reached_is_a_finding(environment, error):
    environment.setenv("REFAM_MODEL", "somebody/something")
    environment.setattr("refam.model_files.hf_hub_download", raising(error))
    finding = model.model(load_settings().refam)
    assert f"'somebody/something' cannot be read: {error}" in finding.message


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def test_room_for_what_is_downloaded(environment, tmp_path):
    environment.setenv("REFAM_SAM", "vit_h")
    environment.setenv("TORCH_HOME", str(tmp_path / "not" / "yet"))
    (finding,) = model.disk_space(load_settings().refam)
    assert "vit_h takes 2.6 GB" in finding.message
    environment.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**9))
    (finding,) = model.disk_space(load_settings().refam)
    assert finding.verdict == "wrong"
    assert "1.0 GB are free" in finding.message


@pytest.mark.parametrize(
    ("variables", "memory", "verdict"),
    [
        ({}, 32, "ok"),
        ({}, 24, "wrong"),
        ({"REFAM_QUANTIZE": "int8"}, 24, "ok"),
        ({"REFAM_TEXT_ENCODER": "cpu"}, 24, "ok"),
    ],
)
def test_gpu_memory_against_what_the_model_needs(environment, tmp_path, variables, memory, verdict):
    """By FLUX.1's configurations."""
    write_published(tmp_path, "FLUX.1")
    for name, value in {
        "REFAM_MODEL": str(tmp_path),
        "REFAM_DEVICE": "cuda",
        "REFAM_SAM": "vit_h",
        **variables,
    }.items():
        environment.setenv(name, value)
    environment.setattr("torch.cuda.device_count", lambda: 1)
    properties = SimpleNamespace(total_memory=memory * 10**9)
    environment.setattr("torch.cuda.get_device_properties", lambda _: properties)
    finding = model.gpu_memory(load_settings().refam)
    assert finding.verdict == verdict
    assert (verdict == "ok") == ("One of these would fit: REFAM_TEXT_ENCODER=cpu" not in finding.remedy)


VALUES = {
    "REFAM_MODEL": ["tiny", "/nowhere", "somebody/something", "~nobody/x", "a b"],
    "REFAM_SAM": ["tiny", "none", "vit_h", "/nowhere", "\x00".replace("\x00", "%")],
    "REFAM_DEVICE": ["auto", "cuda", "cuda:63", "mps"],
    "REFAM_QUANTIZE": ["none", "int8"],
    "HF_ENDPOINT": ["http://127.0.0.1:1"],
    "REDIS_URL": [
        "redis://127.0.0.1:1",
        "unix:///nowhere",
        "rediss://127.0.0.1:1",
        "redis://nobody:x@nowhere.invalid/9",
    ],
    "LABEL_STUDIO_URL": ["http://127.0.0.1:1", "http://nowhere.invalid", "https://127.0.0.1:1/ls", "ftp://x"],
    "LABEL_STUDIO_API_KEY": [PAT, LEGACY],
    "BASIC_AUTH_USER": ["a"],
    "REFAM_BACKEND_HOST": ["127.0.0.1", "::1", "0.0.0.0", "nowhere.invalid"],  # noqa: S104
    "REFAM_BACKEND_PORT": ["1", "65535"],
    "REFAM_BACKEND_STATE_DIR": ["/proc/nowhere", "/dev/null", "~nobody/x"],
}


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}))
@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_settings_end_in_a_traceback(environment, variables):
    with environment.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
        found = list(examine())
    assert found
    assert all(finding.remedy or finding.subject == "redis" for finding in found if finding.verdict == "wrong")

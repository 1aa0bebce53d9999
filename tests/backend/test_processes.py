"""Real processes: uvicorn, workers that are killed, `refam-backend up`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from backend.errors import QueueUnavailableError
from backend.queue.connection import connect
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.queue.takeover import MAX_DEATHS
from backend.settings import load_settings
from tests.support.processes import ROOT, eventually, free_port
from tests.support.tasks import CONFIG, body, requests_of, task

pytestmark = pytest.mark.process


def test_the_web_process_holds_neither_torch_nor_flask_nor_the_model():
    code = "import backend.web.app, backend.cli, backend.label_studio.label_config as config, json, sys; "
    code += "config.read_label_config(sys.argv[1]); "
    code += "print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code, CONFIG], check=True, cwd=ROOT, capture_output=True, text=True)
    modules = set(json.loads(found.stdout))
    assert "label_studio_ml.model" in modules
    heavy = ("torch", "flask", "werkzeug", "diffusers", "transformers", "numpy", "PIL", "cv2", "scipy", "jsf", "faker")
    assert modules.isdisjoint({*heavy, "refam.pipeline", "backend.worker.predict", "backend.worker.main"})


def test_a_single_task_is_answered_inline(web, processes, fleet):
    processes.stub_worker(fleet)
    answer = web.post("/predict", json=body(task(1, "left"))).json()
    assert answer["results"][0]["result"][0]["type"] == "brushlabels"
    context = {"result": [{"type": "textarea", "from_name": "prompt", "value": {"text": ["right"]}}]}
    prompted = web.post("/predict", json=body(task(1, "left"), context=context)).json()
    assert prompted["results"][0]["result"][0]["type"] == "brushlabels"


def test_bad_input_is_answered_inline_with_its_reason(web, processes, fleet):
    processes.stub_worker(fleet)
    answer = web.post("/predict", json=body(task(1, "unusable"))).json()
    assert answer["results"] == [[]]
    assert answer["errors"][0]["field"] == "text"


def test_health_and_setup_answer_while_the_worker_is_busy_and_many_wait(web, processes, fleet, backlog):
    """Label Studio shows "Disconnected" where /health takes longer than 1 s or /setup longer than 3 s."""
    processes.stub_worker(fleet)
    with ThreadPoolExecutor(60) as pool:
        requests = [body(task(0, "slow 4"))] + [body(task(number, f"left {number}")) for number in range(1, 60)]
        answers = [pool.submit(web.post, "/predict", json=request) for request in requests]
        eventually(lambda: backlog.depths()["interactive"]["running"] == 1)
        seconds = []
        for _ in range(20):
            for path, content in (("/health", None), ("/setup", {"schema": CONFIG})):
                start = time.monotonic()
                assert web.request("POST" if content else "GET", path, json=content).is_success
                seconds.append(time.monotonic() - start)
            time.sleep(0.05)
        assert max(seconds) < 1
        assert backlog.depths()["interactive"]["running"] == 1, "the worker was not busy all the time"
        assert all(answer.result().is_success for answer in answers)


def test_a_huge_request_keeps_health_answering(web):
    large = json.dumps(body({**task(1, "left"), "predictions": [{"rle": [0, 255] * 6_000_000}]}, task(2, "left")))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(web.post, "/predict", content=large)
        while not answer.done():
            start = time.monotonic()
            assert web.get("/health").is_success
            assert time.monotonic() - start < 1
    assert answer.result().json()["results"] == [[], []]


def test_a_stopped_web_server_lets_those_go_who_wait(web, processes, fleet, backlog):
    processes.stub_worker(fleet)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(web.post, "/predict", json=body(task(0, "slow 8")))
        eventually(lambda: backlog.depths()["interactive"]["running"] == 1)
        start = time.monotonic()
        web.process.terminate()
        assert answer.result().json()["results"] == [[]]
        assert web.process.wait(10) in (0, -signal.SIGTERM)
        assert time.monotonic() - start < 5


def test_sigterm_finishes_the_job_then_stops(processes, queue, settings, fleet, backlog):
    worker = processes.stub_worker(fleet)
    requests = requests_of(settings, "slow 2", "left")
    queue.submit(requests, Priority.BATCH)
    eventually(lambda: backlog.depths()["batch"]["running"])
    worker.terminate()
    assert worker.wait(15) == 0
    first, second = queue.submit(requests, Priority.BATCH)
    assert first.prediction
    assert second is None
    assert fleet.workers() == []


def test_a_killed_workers_job_is_taken_over(processes, queue, settings, fleet, backlog):
    worker = processes.stub_worker(fleet, STUB_LIFE="3")
    requests = requests_of(settings, "slow 2")
    queue.submit(requests, Priority.BATCH)
    eventually(lambda: backlog.depths()["batch"]["running"])
    worker.kill()
    processes.stub_worker(fleet, STUB_LIFE="3")
    eventually(lambda: queue.submit(requests, Priority.BATCH)[0], 25)
    assert queue.submit(requests, Priority.BATCH)[0].prediction


@pytest.mark.parametrize(("text", "timeout"), [("hang holding the interpreter", 600), ("hang beyond signals", 1)])
def test_a_worker_that_hangs_ends_itself_and_its_job_is_listed(
    processes, settings, text, timeout, ledger, fleet, connection
):
    """Neither reaches its time limit by the alarm signal, as a job that sleeps would."""
    worker = processes.stub_worker(fleet, STUB_LIFE="3", STUB_OVERDUE="1")
    impatient = SharedState.over(connection, settings.model_copy(update={"job_timeout": timeout})).jobs
    impatient.submit(requests_of(settings, text), Priority.BATCH)
    assert worker.wait(60) == 1
    assert "Timeout" in processes.log.read_text()
    for _ in range(MAX_DEATHS):  # the last one finds that it was enough, and lives
        other = processes.start("-m", "tests.support.stub_worker", STUB_LIFE="3", STUB_OVERDUE="1")
        eventually(lambda other=other: ledger.failures.newest() or other.poll() is not None, 60)
        if ledger.failures.newest():
            break
    (failure,) = ledger.failures.newest()
    assert "died again and again" in failure["message"] or "longer than" in failure["message"]


def test_a_job_that_kills_every_worker_is_listed(processes, queue, settings, ledger, fleet):
    requests = requests_of(settings, "die")
    queue.submit(requests, Priority.BATCH)
    for _ in range(MAX_DEATHS):
        processes.start("-m", "tests.support.stub_worker", STUB_LIFE="2").wait(120)
    processes.stub_worker(fleet, STUB_LIFE="2")
    (failure,) = eventually(ledger.failures.newest, 60)
    assert "died again and again" in failure["message"]
    outcome = eventually(lambda: queue.submit(requests, Priority.BATCH)[0])  # it is listed a moment before it ends
    assert outcome.failure["message"] == failure["message"]


def test_a_long_job_lives_by_its_heartbeat_and_retries_come_back(processes, queue, settings, ledger, counters, fleet):
    processes.stub_worker(fleet, STUB_LIFE="2")
    processes.stub_worker(fleet, STUB_LIFE="2")  # would take over what it believes dead
    requests = requests_of(settings, "slow 6", "crash")
    queue.submit(requests, Priority.BATCH)
    eventually(lambda: [entry["state"] for entry in fleet.workers()].count("busy"))
    eventually(lambda: all(queue.submit(requests, Priority.BATCH)), 30)
    assert (counters.totals()["done"], counters.totals()["failed"]) == (1, 1)
    assert "RuntimeError" in ledger.failures.newest()[0]["message"]


def test_a_missing_model_is_said_and_tasks_wait_for_a_worker_that_has_it(processes, web, fleet):
    broken = processes.start("-m", "tests.support.stub_worker", STUB_LOAD="fail")
    assert broken.wait(30) == 1
    answer = web.post("/predict", json=body(task(1, "left"))).json()
    assert answer["results"] == [[]]
    assert answer["errors"][0]["field"] == "REFAM_MODEL"
    assert "Set it to a folder" in answer["errors"][0]["message"]
    state = web.get("/status").json()
    assert [problem["field"] for problem in state["problems"]] == ["REFAM_MODEL"]
    assert state["failures"] == []
    processes.stub_worker(fleet)
    assert web.post("/predict", json=body(task(1, "left"))).json()["results"][0]["result"]
    assert web.get("/status").json()["problems"] == []


@pytest.fixture
def secret_key(environment):
    """A token for a Label Studio that is not there."""
    environment.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:1")
    environment.setenv("LABEL_STUDIO_API_KEY", "hush-key")
    return "hush-key"


def test_credentials_are_not_logged(processes, secret_key, web, fleet):
    secrets = ("hush-user", "hush-query", secret_key)
    processes.stub_worker(fleet, REFAM_BACKEND_LOG_LEVEL="DEBUG")
    for image in (f"https://{secrets[0]}@example.invalid/a.png", f"http://127.0.0.1:2/a.png?token={secrets[1]}"):
        web.post("/predict", json=body(task(1, "left", image=image)))
    log = processes.log.read_text()
    assert "failed" in log
    assert not [secret for secret in secrets if secret in log]


@pytest.fixture
def running_up(processes, environment, tmp_path):
    """`refam-backend up` with a private Redis, whose model is missing: the worker dies again and again."""
    environment.delenv("REDIS_URL", raising=False)
    environment.setenv("REFAM_BACKEND_PORT", str(free_port()))
    environment.setenv("REFAM_MODEL", str(tmp_path / "none"))
    process = processes.start("-m", "backend", "up")
    eventually(lambda: "worker  failed" in processes.log.read_text() or process.poll() is not None, 60)
    assert process.poll() is None, processes.log.read_text()
    return process


def test_up_starts_all_restarts_what_dies_and_stops_all(processes, running_up, environment):
    settings = load_settings()
    log = processes.log.read_text()
    assert "redis   ready" in log
    assert "web     ready" in log
    assert settings.redis_socket.parent.stat().st_mode & 0o777 == 0o700
    connection = connect(settings)
    shared = SharedState.over(connection, settings)
    assert shared.fleet.problems()[0]["field"] == "REFAM_MODEL"
    shared.jobs.submit(requests_of(settings, "left"), Priority.BATCH)

    second = processes.start("-m", "backend", "up")
    assert second.wait(20) == 1
    assert "in use by another one. Stop the other `refam-backend up`" in processes.log.read_text()

    os.kill(connection.info("server")["process_id"], signal.SIGKILL)
    eventually(lambda: "redis stopped; starting it again" in processes.log.read_text())
    eventually(lambda: connect_or_none(settings))
    assert shared.backlog.depths()["batch"]["waiting"] == 1  # it came back from the append-only file
    redis_pid = connection.info("server")["process_id"]

    running_up.send_signal(signal.SIGINT)
    assert running_up.wait(30) == 0
    assert "stopped" in processes.log.read_text()
    assert not Path(f"/proc/{redis_pid}").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{settings.port}/health", trust_env=False)


def test_nothing_outlives_an_up_that_is_killed_but_its_redis(running_up, processes):
    settings = load_settings()
    address = f"http://127.0.0.1:{settings.port}/health"
    assert httpx.get(address, trust_env=False).is_success
    running_up.kill()
    running_up.wait()

    def is_gone():
        try:
            return not httpx.get(address, trust_env=False)
        except httpx.TransportError:
            return True

    eventually(is_gone, 60)
    connect(settings).shutdown()


def connect_or_none(settings):
    try:
        return connect(settings)
    except QueueUnavailableError:
        return None


def test_up_says_that_its_port_is_in_use(processes, environment):
    environment.delenv("REDIS_URL", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment.setenv("REFAM_BACKEND_PORT", str(taken.getsockname()[1]))
        process = processes.start("-m", "backend", "up")
        threading.Thread(target=drop_connections, args=(taken,), daemon=True).start()
        assert process.wait(60) == 1
    assert "REFAM_BACKEND_PORT" in processes.log.read_text()


def drop_connections(listener):
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return

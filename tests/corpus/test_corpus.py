"""Every bad input of cases.json through the whole path: HTTP, Redis, a worker with a stub for the model, and back."""

import os
from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from backend.queue.shared_state import SharedState
from backend.settings import load_settings
from tests.corpus import host
from tests.corpus.cases import CASES, TABLE, expand, table
from tests.corpus.files import FILES
from tests.support.processes import Processes, eventually, free_port
from tests.support.tasks import CONFIG, body, data_uri, png, task

pytestmark = pytest.mark.process

GOOD = 1  # the number of a good task among the bad ones
PARTS = ("field", "message", "remedy")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str, list[str]]]:
    """Addresses of the bad host and of Label Studio, and the paths that they are asked for."""
    with host.running() as (port, asked):
        yield f"localhost:{port}", f"127.0.0.1:{port}", asked


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> Iterator[Processes]:
    processes = Processes(tmp_path_factory.mktemp("corpus"))
    yield processes
    processes.stop_all()


@pytest.fixture(scope="module")
def backend(servers, processes, redis_socket, tmp_path_factory) -> Iterator[httpx.Client]:
    """A client of a real web server with a real worker behind it."""
    port = free_port()
    variables = {
        "REDIS_URL": f"unix://{redis_socket}?db=1",
        "LABEL_STUDIO_URL": f"http://{servers[1]}",
        "REFAM_BACKEND_PORT": str(port),
        "REFAM_BACKEND_STATE_DIR": str(tmp_path_factory.mktemp("state")),
        "REFAM_BACKEND_IMAGE_HOSTS": f"*,{servers[0]}",
        "REFAM_BACKEND_IMAGE_MAX_BYTES": "1000000",
        "REFAM_BACKEND_IMAGE_TIMEOUT": "4",
        "REFAM_BACKEND_REQUEST_MAX_BYTES": "3000000",
        "REFAM_BACKEND_RETRY_DELAYS": "1",
        "REFAM_BACKEND_LOG_LEVEL": "DEBUG",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("REFAM_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        settings = load_settings()
        connection = Redis.from_url(settings.redis_address)
        connection.flushdb()
        fleet = SharedState.over(connection, settings).fleet
        processes.start("-m", "backend", "serve")
        processes.start("-m", "tests.corpus.worker")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=100, trust_env=False) as client, connection:
        eventually(lambda: is_up(client) and fleet.workers(), 300)
        yield client


def is_up(client):
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


def bad_task(number, case, places):
    image = data_uri(FILES[case["file"]]()) if "file" in case else data_uri(png(16, 12))
    data = {name: expand(value, **places) for name, value in case.get("data", {}).items()}
    return {**task(number, "the zebra"), "data": {"image": image, "text": "the zebra", **data}}


def parts(entry):
    return {name: entry[name] for name in PARTS}


def differences(found, cases):
    """Cases that got something else, with what they got."""
    return {case["input"]: got for case, got in zip(cases, found, strict=True) if got != expected(case)}


def expected(case):
    """A case's field, message and remedy; the size of a compressed file is its library's business."""
    if "file" not in case:
        return parts(case)
    return {name: expand(text, size=str(len(FILES[case["file"]]()))) for name, text in parts(case).items()}


def test_bad_tasks_get_their_reasons_and_a_good_one_its_mask(backend, servers, processes):
    cases = CASES["tasks"]
    places = {"host": servers[0], "studio": servers[1]}
    tasks = [bad_task(GOOD, {"data": {"image": "http://{host}/good.png"}}, places)]
    tasks += [bad_task(number, case, places) for number, case in enumerate(cases, GOOD + 1)]

    def ended():
        answer = backend.post("/predict", json=body(*tasks)).raise_for_status().json()
        return answer if len(answer["errors"]) == len(cases) and answer["results"][0] else None

    answer = eventually(ended, 300)
    assert answer["results"][0]["result"][0]["type"] == "brushlabels"
    assert answer["results"][1:] == [[]] * len(cases)
    reasons = {int(error["task"]): parts(error) for error in answer["errors"]}
    failures = {int(failure["task"]): parts(failure) for failure in backend.get("/status").json()["failures"]}
    assert failures == reasons
    assert differences([reasons[number] for number in range(GOOD + 1, GOOD + 1 + len(cases))], cases) == {}
    assert [path for path in servers[2] if "token" in path or "login" in path] == []
    log = processes.log.read_text()
    assert "hush" not in log
    assert not [line for line in log.splitlines() if line.startswith("ERROR forged")]


def test_bad_label_configs_get_their_reasons(backend):
    cases = CASES["configs"]
    answers = [
        backend.post("/predict", json=body(task(1, "left"), config=expand(case["config"]))).json() for case in cases
    ]
    assert [answer["results"] for answer in answers] == [[[]]] * len(cases)
    assert differences([parts(answer["errors"][0]) for answer in answers], cases) == {}


def test_bad_requests_get_their_reasons(backend):
    cases = CASES["requests"]
    answers = [backend.post("/predict", content=expand(case["body"]), headers=case.get("headers")) for case in cases]
    assert differences([parts(answer.json()["error"]) for answer in answers], cases) == {}
    assert [answer.status_code for answer in answers] == [case["status"] for case in cases]
    assert backend.post("/predict", json=body(config=CONFIG)).is_success


def test_no_input_takes_much_memory(backend, processes):
    """Of the worker with its stub, and of the web server, after all of the above: a bound is 2 GiB beside the model."""
    assert max(processes.peaks()) < 2 * 2**30, processes.peaks()


def test_the_corpus_is_large_and_its_table_up_to_date():
    inputs = [case["input"] for cases in CASES.values() for case in cases]
    assert len(set(inputs)) == len(inputs) >= 60
    assert {case["file"] for case in CASES["tasks"] if "file" in case} == set(FILES)
    assert TABLE.read_text() == table(), "run `python -m tests.corpus.cases`"

"""Many large requests at once, over real connections to a real server: memory is bounded, and small ones go on."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
import uvicorn

from backend.queue.shared_state import SharedState
from backend.settings import LARGE_BODIES, SMALL_BODIES, SMALL_BODY
from backend.timings import Timings
from backend.web.app import create_app
from tests.support.processes import eventually
from tests.support.tasks import body, task

LARGEST = 4 * SMALL_BODY


@pytest.fixture
def timings():
    return Timings()


@pytest.fixture
def url_of(connection, timings):
    """Starts the web application with some settings, served by uvicorn as `serve` does; returns its address."""
    with ExitStack() as stack:

        def start(settings):
            app = create_app(SharedState.over(connection, settings), settings, timings)
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            eventually(lambda: server.started, 60)
            return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

        yield start


@pytest.fixture
def url(configure, url_of):
    return url_of(configure(REQUEST_MAX_BYTES=LARGEST))


@pytest.fixture
def client(url):
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def unfinished(client):
    """A function that begins a request of so many bytes and leaves it at that; its connection can end it."""
    with ExitStack() as stack:

        def begin(size, *headers, path="/predict"):
            address = client.base_url.host, client.base_url.port
            connection = stack.enter_context(socket.create_connection(address, timeout=60))
            head = [f"POST {path} HTTP/1.1", "Host: a", *(headers or [f"Content-Length: {size}"]), "", ""]
            connection.sendall("\r\n".join(head).encode())
            return connection

        yield begin


def request(size, number=1):
    """A request of so many bytes; most of them are an old prediction."""
    content = body({**task(number, f"left {number}"), "predictions": ["*"]}, task(0, "right"))
    return json.dumps(content).replace("*", "x" * (size - len(json.dumps(content)) + 1)).encode()


def reason(response):
    return response.json()["error"]["message"]


@pytest.mark.parametrize("timings", [Timings(room=0.5)])
def test_a_large_request_that_finds_no_room_is_told_to_come_back(client, unfinished):
    held = [unfinished(LARGEST) for _ in range(LARGE_BODIES)]
    refused = eventually(lambda: (answer := post(client, LARGEST)).status_code == 503 and answer, 60)
    assert int(refused.headers["Retry-After"]) > 0
    assert "too many large requests" in reason(refused)
    assert client.get("/health").is_success
    assert post(client, 1000).is_success
    assert post(client, SMALL_BODY).is_success
    held[0].close()
    eventually(lambda: post(client, LARGEST).is_success, 60)


def post(client, size):
    return client.post("/predict", content=request(size))


def test_large_requests_wait_for_each_other(client):
    """Together they have three times what is held at once."""
    with ThreadPoolExecutor(3 * LARGE_BODIES) as pool:
        answers = list(pool.map(lambda _: post(client, LARGEST), range(3 * LARGE_BODIES)))
    assert [answer.json()["results"] for answer in answers] == [[[], []]] * len(answers)


@pytest.mark.parametrize("timings", [Timings(room=0.5)])
def test_a_body_in_chunks_has_room_for_the_largest(client, unfinished):
    for _ in range(LARGE_BODIES):
        unfinished(0, "Transfer-Encoding: chunked")
    eventually(lambda: post(client, LARGEST).status_code == 503, 60)


@pytest.mark.parametrize("timings", [Timings(body=0.5)])
def test_a_body_that_does_not_arrive_gives_its_room_back(client, unfinished):
    held = [unfinished(LARGEST) for _ in range(LARGE_BODIES)]
    assert post(client, LARGEST).is_success
    for connection in held:
        answer = b""
        while not answer.endswith(b"}") and (part := connection.recv(65536)):
            answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"took longer than" in answer


@pytest.mark.parametrize("timings", [Timings(room=0.5)])
def test_small_requests_are_bounded_too(client, unfinished):
    for _ in range(SMALL_BODIES):
        unfinished(SMALL_BODY)
    eventually(lambda: post(client, SMALL_BODY).status_code == 503, 60)
    assert client.get("/health").is_success


class TestStrangers:
    """Webhooks bring no password, and whoever can connect may send them."""

    @pytest.fixture
    def url(self, configure, url_of):
        return url_of(
            configure(
                LABEL_STUDIO_URL="http://studio",
                LABEL_STUDIO_API_KEY="0" * 40,
                BASIC_AUTH_USER="u",
                BASIC_AUTH_PASS="p",
            )
        )

    def test_who_announces_much_and_sends_nothing_shuts_nobody_out(self, client, unfinished):
        for _ in range(2 * SMALL_BODIES):
            unfinished(SMALL_BODY, f"Content-Length: {SMALL_BODY}", path="/webhook")
        start = time.monotonic()
        assert client.post("/webhook", json={"action": "OTHER"}).json() == {"status": "ignored"}
        assert client.post("/predict", json=body(task(1, "left")), auth=("u", "p")).is_success
        assert time.monotonic() - start < 5

    @pytest.mark.parametrize("timings", [Timings(room=0.5)])
    def test_what_they_send_is_bounded_together(self, client, unfinished):
        for _ in range(SMALL_BODIES + 1):
            unfinished(2 * SMALL_BODY, path="/webhook").sendall(b" " * SMALL_BODY)
        eventually(lambda: client.post("/webhook", content=b" " * SMALL_BODY).status_code == 503, 60)
        assert client.post("/predict", json=body(task(1, "left")), auth=("u", "p")).is_success


def test_the_bound_is_shown(client):
    assert (
        client.get("/status").json()["limits"]["request"]["together_bytes_max"]
        == 2 * SMALL_BODY * SMALL_BODIES + LARGEST * LARGE_BODIES
    )

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import TaskError, TemporaryError
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.settings import Settings
from tests.support.tasks import data_uri, png

PAT = "eyJh.eyJz.c2ln"
LEGACY = "0123456789abcdef0123456789abcdef01234567"


def loader(settings, handler=None, addresses=None):
    """A loader whose network is `handler` (request -> response) and whose DNS is `addresses` (host -> address)."""
    transport = httpx.MockTransport(handler) if handler else None

    def resolve(host, port, **_):
        if addresses is None or host not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses[host].split()]

    network = {"transport": transport, "resolve": resolve} if handler else {}
    return ImageLoader(settings, Studio(settings, transport), **network)


def refusal(load, reference):
    with pytest.raises(TaskError) as caught:
        load.load(reference, "image", "1")
    assert caught.value.field == "image"
    assert caught.value.remedy
    return str(caught.value)


def streamed(status, content, **headers):
    """A response whose body comes over the network, as real ones do."""
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)


def serve(content=None, status=200, **headers):
    return lambda request: streamed(status, png() if content is None else content, **headers)


def test_data_uri(settings):
    image = loader(settings).load(data_uri(png(5, 3)), "image", "1")
    assert (image.size, image.pixels.mode) == ((5, 3), "RGB")


@pytest.mark.parametrize("uri", ["data:image/png;base64,!!!", "data:image/png,abc", "data:image/png;base64", "data:"])
def test_broken_data_uris_are_refused(settings, uri):
    assert "data URI" in refusal(loader(settings), uri)


def test_large_files_are_refused(configure):
    settings = configure(IMAGE_MAX_BYTES=100)
    assert "larger than 100 bytes" in refusal(loader(settings), data_uri(b"x" * 200))
    load = loader(settings, serve(b"x" * 200), {"a.org": "8.8.8.8"})
    assert "larger than 100 bytes" in refusal(load, "https://a.org/a.png")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("s3://bucket/a.png", "Set LABEL_STUDIO_URL"),
        ("ftp://a.org/a.png", "ftp: URLs"),
        ("file:///etc/passwd", "file: URLs"),
        ("gopher://a.org/", "gopher: URLs"),
        ("a.png", "relative paths"),
        ("//a.org/a.png", "relative paths"),
        ("/data/upload/1/a.png", "Set LABEL_STUDIO_URL"),
        ("http://", "no host"),
        ("http:///etc/passwd", "no host"),
        ("https://user:hush@a.org/a.png", "password"),
        ("http://a.org:port/", "malformed"),
        ("http://a.org:65536/", "malformed"),
        ("http://[::1", "malformed"),
        ("https://user:hush/word@a.org/", "malformed"),
        ("http://a.org/\r\nHost: b.org", "malformed"),
        ("http://a.org\\@b.org/", "password"),
        ("https://nowhere.org/a.png", "no host nowhere.org"),
    ],
)
def test_references_that_cannot_be_followed(settings, reference, message):
    said = refusal(loader(settings, serve(), {"a.org": "8.8.8.8"}), reference)
    assert message in said
    assert "hush" not in said


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"),
    "0.0.0.0",  # noqa: S104
    "168.63.129.16",  # Azure's metadata
    *("::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fec0::1", "ff02::1", "fd00:ec2::254"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8"),
    *("2002:7f00:1::", "2002:808:808::", "2001:0:808:808::"),  # tunnels
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(settings, address):
    load = loader(settings, lambda request: pytest.fail("asked"), {"a.org": address})
    assert "private address" in refusal(load, "http://a.org/latest/meta-data")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses_are_asked(settings, address):
    assert loader(settings, serve(), {"a.org": address}).load("http://a.org/a.png", "image", "1").size == (12, 8)


SPELLINGS = ["2130706433", "017700000001", "0x7f.1", "127.1", "localhost", "[::1]", "[::ffff:7f00:1]", "0"]


@pytest.mark.parametrize("host", SPELLINGS)
def test_other_spellings_of_loopback_are_refused(settings, host):
    assert "private address" in refusal(loader(settings), f"http://{host}:9/a.png")


def test_the_checked_address_is_the_one_that_is_asked(settings):
    """DNS may answer otherwise the second time; so there is no second time."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    asked = []

    def handler(request):
        asked.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        return streamed(200, png())

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    transport = httpx.MockTransport(handler)
    ImageLoader(settings, Studio(settings), transport, resolve).load("https://a.org/a.png", "image", "1")
    assert asked == [("8.8.8.8", "a.org", "a.org")]


def test_a_public_address_beside_a_private_one_is_used(settings):
    load = loader(settings, serve(), {"a.org": "127.0.0.1 8.8.8.8"})
    assert load.load("https://a.org/a.png", "image", "1").size == (12, 8)


def test_redirects_are_checked_like_any_url(settings):
    def handler(request):
        return httpx.Response(302, headers={"location": "http://inside.org/secret"})

    load = loader(settings, handler, {"a.org": "8.8.8.8", "inside.org": "10.0.0.1"})
    assert "inside.org has a private address" in refusal(load, "https://a.org/a.png")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://a.org/", "http://127.0.0.1/"])
def test_redirects_lead_nowhere_else(settings, location):
    load = loader(settings, serve(status=302, location=location), {"a.org": "8.8.8.8", "127.0.0.1": "127.0.0.1"})
    assert refusal(load, "https://a.org/a.png")


@pytest.mark.parametrize(
    "location",
    [
        *("http://[::1", "http://a.org:port/", "//a.org:99999999/", "http://a.org/\x00"),
        *("http:127.0.0.1:1/", "data:image/png;base64,AAAA", "https:a.org"),
    ],
)
def test_redirects_to_malformed_urls_are_refused_for_good(settings, location):
    load = loader(settings, serve(status=302, location=location), {"a.org": "8.8.8.8"})
    assert "malformed" in refusal(load, "https://a.org/a.png")


STARTS = ("", "/", "//", "http:", "data:", "http://", "http://a.org:", "https://a.org/", "http://[")


@given(st.text(max_size=40), st.sampled_from([*STARTS]))
def test_any_redirect_is_followed_or_refused(text, start):
    response = serve(status=302, location=(start + text).encode("utf-8", "ignore"))
    load = loader(Settings(), response, {"a.org": "8.8.8.8"})
    with pytest.raises((TaskError, TemporaryError)) as caught:
        load.load("https://a.org/a.png", "image", "1")
    assert "could not be read" not in str(caught.value)


def test_looking_a_name_up_is_within_the_time_of_a_download(configure):
    def resolve(*_, **__):
        time.sleep(3)
        return []

    settings = configure(IMAGE_TIMEOUT=0.3)
    load = ImageLoader(settings, Studio(settings), resolve=resolve)
    start = time.monotonic()
    with pytest.raises(TemporaryError, match="too slow"):
        load.load("https://slow.org/a.png", "image", "1")
    assert time.monotonic() - start < 2


def test_a_host_that_takes_no_connection_is_given_up_sooner(configure):
    asked = []

    def handler(request):
        asked.append(request.extensions["timeout"])
        return streamed(200, png())

    for seconds, expected in ((30, 10), (4, 4)):
        load = loader(configure(IMAGE_TIMEOUT=seconds), handler, {"a.org": "8.8.8.8"})
        load.load("https://a.org/a.png", "image", "1")
        assert (asked[-1]["connect"], asked[-1]["read"]) == (expected, seconds)


def test_endless_redirects_end(settings):
    load = loader(settings, serve(status=302, location="/again"), {"a.org": "8.8.8.8"})
    assert "redirects too often" in refusal(load, "https://a.org/a.png")


def test_allow_list(configure):
    settings = configure(IMAGE_HOSTS="*.b.org,c.org:8000,d.org")
    addresses = {
        "x.b.org": "8.8.8.8",
        "c.org": "10.0.0.1",
        "d.org": "10.0.0.2",
        "a.org": "8.8.8.8",
        "y.b.org": "10.0.0.3",
    }
    load = loader(settings, serve(), addresses)
    for allowed in ("http://x.b.org/", "http://c.org:8000/", "http://d.org:1234/"):
        assert load.load(allowed, "image", "1")
    assert "a.org is not allowed" in refusal(load, "http://a.org/")
    assert "c.org is not allowed" in refusal(load, "http://c.org/")
    assert "private address" in refusal(load, "http://y.b.org/")  # a pattern is not a name


def test_schemes_can_be_narrowed(configure):
    settings = configure(IMAGE_SCHEMES="https")
    assert "http: URLs" in refusal(loader(settings, serve(), {"a.org": "8.8.8.8"}), "http://a.org/")
    assert "data: URLs" in refusal(loader(settings), data_uri(png()))


@pytest.mark.parametrize(
    ("status", "message"), [(401, "forbidden"), (403, "forbidden"), (404, "no image"), (204, "no image")]
)
def test_final_answers_of_the_host(settings, status, message):
    assert message in refusal(loader(settings, serve(status=status), {"a.org": "8.8.8.8"}), "https://a.org/a.png")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_passing_troubles_of_the_host_are_tried_again(settings, status):
    with pytest.raises(TemporaryError, match=str(status)):
        loader(settings, serve(status=status), {"a.org": "8.8.8.8"}).load("https://a.org/a.png", "image", "1")


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
def test_a_broken_network_is_tried_again(settings, error):
    def handler(request):
        raise error

    with pytest.raises(TemporaryError, match=r"a\.org"):
        loader(settings, handler, {"a.org": "8.8.8.8"}).load("https://a.org/a.png?signature=hush", "image", "1")


def test_a_slow_body_is_given_up(configure):
    settings = configure(IMAGE_TIMEOUT=0.3)

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.1)
                yield b"x"

    load = loader(settings, lambda request: httpx.Response(200, stream=Slow()), {"a.org": "8.8.8.8"})
    with pytest.raises(TemporaryError, match="too slow"):
        load.load("https://a.org/a.png", "image", "1")


def studio_server(seen, token_status=200):
    def handler(request):
        seen.append((request.method, request.url.path, request.headers.get("authorization")))
        if request.url.path == "/api/token/refresh/":
            return httpx.Response(token_status, json={"access": "short", "detail": "Token is blacklisted"})
        return streamed(200, png())

    return handler


@pytest.mark.parametrize("path", ["/data/upload/2/a%20b.png", "/data/local-files/?d=sub/a.png"])
def test_label_studios_files_with_a_personal_token(configure, path):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080", LABEL_STUDIO_API_KEY=PAT)
    seen = []
    load = loader(settings, studio_server(seen), {"studio": "10.0.0.9"})
    load.load(path, "image", "1")
    load.load(f"http://studio:8080{path}", "image", "1")
    media = ("GET", path.partition("?")[0].replace("%20", " "), "Bearer short")
    assert seen == [("POST", "/api/token/refresh/", None), media, media]  # exchanged once


def test_label_studios_files_with_a_legacy_token(configure):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080/", LABEL_STUDIO_API_KEY=LEGACY)
    seen = []
    loader(settings, studio_server(seen), {"studio": "10.0.0.9"}).load("/data/upload/a.png", "image", "1")
    assert seen == [("GET", "/data/upload/a.png", f"Token {LEGACY}")]


@pytest.mark.parametrize(
    "reference",
    [
        "/api/token/",
        "/data/upload/../../api/token/",
        "/data/upload/%2e%2e/%2e%2e/api/token/",
        "/data/upload/..%5c..%5capi/token/",
        "/data/upload/%25252e%25252e/api/token/",
        "/data/uploads.png",
        "http://studio:8080/api/projects/",
        "/user/login/",
    ],
)
def test_the_token_goes_to_media_paths_only(configure, reference):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080", LABEL_STUDIO_API_KEY=PAT)
    seen = []
    assert "no task's image" in refusal(loader(settings, studio_server(seen), {"studio": "10.0.0.9"}), reference)
    assert seen == []


@pytest.mark.parametrize("reference", ["http://studio:81/data/upload/a.png", "https://a.org/data/upload/a.png"])
def test_the_token_goes_to_no_other_host(configure, reference):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080", LABEL_STUDIO_API_KEY=PAT)
    seen = []
    load = loader(settings, studio_server(seen), {"studio": "8.8.4.4", "a.org": "8.8.8.8"})
    load.load(reference, "image", "1")
    assert seen == [("GET", "/data/upload/a.png", None)]


def test_the_token_does_not_follow_a_redirect(configure):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080", LABEL_STUDIO_API_KEY=LEGACY)
    seen = []

    def handler(request):
        seen.append((request.headers["host"], request.headers.get("authorization")))
        if request.headers["host"] == "studio:8080":
            return httpx.Response(303, headers={"location": "https://bucket.org/a.png?signed=1"})
        return streamed(200, png())

    loader(settings, handler, {"studio": "10.0.0.9", "bucket.org": "8.8.8.8"}).load("/data/upload/a.png", "image", "1")
    assert seen == [("studio:8080", f"Token {LEGACY}"), ("bucket.org", None)]


def test_a_redirect_to_the_log_in_page_is_explained(configure):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080")
    load = loader(settings, serve(status=302, location="/user/login/?next=/data"), {"studio": "10.0.0.9"})
    said = refusal(load, "/data/upload/a.png")
    assert "asks for a log-in" in said
    assert "LABEL_STUDIO_API_KEY" in said


def test_a_dead_token_is_named(configure):
    settings = configure(LABEL_STUDIO_URL="http://studio:8080", LABEL_STUDIO_API_KEY=PAT)
    load = loader(settings, studio_server([], token_status=401), {"studio": "10.0.0.9"})
    with pytest.raises(TaskError, match="blacklisted") as caught:
        load.load("/data/upload/a.png", "image", "1")
    assert caught.value.field == "LABEL_STUDIO_API_KEY"
    assert PAT not in str(caught.value)


def test_cookies_of_one_host_reach_no_other_request(settings):
    seen = []

    def handler(request):
        seen.append((request.headers["host"], request.headers.get("cookie")))
        headers = {"set-cookie": "session=hush"}
        if request.headers["host"] == "a.org":
            return httpx.Response(302, headers={**headers, "location": "https://b.org/a.png"})
        return streamed(200, png(), **headers)

    load = loader(settings, handler, {"a.org": "8.8.8.8", "b.org": "8.8.8.8"})
    for _ in range(2):
        load.load("https://a.org/a.png", "image", "1")
    assert seen == [("a.org", None), ("b.org", None)] * 2


def test_a_host_that_drips_bytes_is_given_up(configure):
    """Each byte comes in time; the whole would take hours."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while True:
                    time.sleep(0.1)
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        address = f"localhost:{server.getsockname()[1]}"
        load = loader(configure(IMAGE_HOSTS=address, IMAGE_TIMEOUT=1))
        start = time.monotonic()
        with pytest.raises(TemporaryError, match="too slow"):
            load.load(f"http://{address}/a.png", "image", "1")
        assert time.monotonic() - start < 30  # without the limit, it would go on


def test_over_a_real_network(configure):
    """A real server at a loopback address, which is allowed by its name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/a.png" else 302)
            if self.path != "/a.png":
                self.send_header("Location", "/a.png")
            self.end_headers()
            self.wfile.write(png())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"localhost:{server.server_port}"
        settings = configure(IMAGE_HOSTS=address)
        assert loader(settings).load(f"http://{address}/moved.png", "image", "1").size == (12, 8)
        assert "not allowed" in refusal(loader(settings), f"http://127.0.0.1:{server.server_port}/a.png")
        server.shutdown()

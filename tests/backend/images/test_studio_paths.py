"""Images that lie in Label Studio's storages, under its subpath, or at another spelling of its address."""

import base64

import httpx
import pytest

from backend.errors import TaskError
from backend.images.cache import ImageCache
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from tests.support.tasks import png

TOKEN = "0123456789abcdef0123456789abcdef01234567"
HOSTS = {"studio": "10.0.0.9", "bucket.org": "8.8.8.8", "minio": "10.0.0.7", "127.0.0.1": "127.0.0.1"}


class Network:
    """Answers by (host, path); notes what was asked, and with which token."""

    def __init__(self, **answers):
        self.answers = answers
        self.seen = []

    def __call__(self, request):
        host, path = request.headers["host"], request.url.raw_path.decode()
        self.seen.append((host, path, request.headers.get("authorization")))
        location = self.answers.get(host.partition(":")[0])
        if location and location != "404":
            return httpx.Response(303, headers={"location": location})
        return httpx.Response(404 if location else 200, stream=httpx.ByteStream(png()))


@pytest.fixture
def load(configure):
    def load(reference, network, url="http://studio:8080", task="5", **settings):
        made = configure(LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=TOKEN, **settings)
        transport = httpx.MockTransport(network)
        resolve = lambda host, port, **_: [(2, 1, 6, "", (HOSTS[host], port))]  # noqa: E731
        return ImageLoader(made, Studio(made, transport), transport, resolve).load(reference, "image", task)

    return load


def resolver(uri, task="5", route="resolve"):
    return f"/tasks/{task}/{route}/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"


@pytest.mark.parametrize(
    "uri", ["s3://bucket/ä b?.png", "gs://bucket/a.png", "azure-blob://container/a.png", "S3://b/a"]
)
def test_a_cloud_address_is_read_through_label_studio(load, uri):
    network = Network(studio="https://bucket.org/a.png?signature=1")
    assert load(uri, network).size == (12, 8)
    assert network.seen == [
        ("studio:8080", resolver(uri), f"Token {TOKEN}"),
        ("bucket.org", "/a.png?signature=1", None),
    ]


def test_label_studio_may_answer_with_the_bytes_itself(load):
    network = Network()
    assert load("s3://bucket/a.png", network).size == (12, 8)
    assert len(network.seen) == 1


@pytest.mark.parametrize("route", ["resolve", "presign"])
def test_its_routes_may_stand_in_the_data(load, route):
    for prefix in ("", "http://studio:8080"):
        assert load(prefix + resolver("s3://b/a.png", route=route), network := Network())
        assert network.seen[0][2] == f"Token {TOKEN}"


@pytest.mark.parametrize(
    "reference",
    [
        resolver("s3://b/a.png", task="6"),
        "/tasks/5/resolve",
        "/tasks/5/resolve/more/?fileuri=a",
        "/tasks/5/../6/resolve/?fileuri=a",
        "/tasks/%35/resolve/?fileuri=a",
        "/tasks/05/resolve/?fileuri=a",
        "/projects/5/resolve/?fileuri=a",
        "/api/tasks/5/",
        "/tasks/5/",
        "/static/../api/token/",
        "/static/%2e%2e/api/token/",
    ],
)
def test_no_other_task_and_no_other_route_is_asked(load, reference):
    network = Network()
    with pytest.raises(TaskError, match="no task's image at this path"):
        load(reference, network)
    assert not network.seen


def test_the_redirect_is_followed_under_the_usual_rules(load):
    private = Network(studio="http://minio:9000/bucket/a.png")
    with pytest.raises(TaskError, match="Add minio to REFAM_BACKEND_IMAGE_HOSTS"):
        load("s3://bucket/a.png", private)
    assert load("s3://bucket/a.png", private, IMAGE_HOSTS="*,minio:9000").size == (12, 8)
    assert private.seen[-1] == ("minio:9000", "/bucket/a.png", None)


def test_a_redirect_back_asks_for_no_other_task(load):
    network = Network(studio="https://bucket.org/a.png")
    network.answers["bucket.org"] = "http://studio:8080" + resolver("s3://b/secret.png", task="6")
    with pytest.raises(TaskError, match="no task's image at this path"):
        load("s3://bucket/a.png", network)


def test_a_storage_that_the_project_lacks_is_said(load):
    with pytest.raises(TaskError, match="no storage of the task's project"):
        load("s3://bucket/a.png", Network(studio="404"))


def test_a_task_without_a_number_has_no_storage(load):
    with pytest.raises(TaskError, match="task is not stored"):
        load("s3://bucket/a.png", Network(), task="None")


@pytest.mark.parametrize("reference", ["/ls/data/upload/1/a.png", "/data/upload/1/a.png", "s3://b/a.png"])
def test_under_a_subpath(load, reference):
    network = Network()
    load(reference, network, url="http://studio:8080/ls")
    expected = "/ls" + resolver("s3://b/a.png") if reference.startswith("s3") else "/ls/data/upload/1/a.png"
    assert network.seen == [("studio:8080", expected, f"Token {TOKEN}")]


def test_beside_a_subpath_is_somebody_elses(load):
    network = Network()
    with pytest.raises(TaskError, match="private address"):
        load("http://studio:8080/data/upload/1/a.png", network, url="http://studio:8080/ls")
    assert not network.seen


def test_static_files_are_public(load):
    network = Network()
    load("/static/samples/a.png", network)
    assert network.seen == [("studio:8080", "/static/samples/a.png", None)]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://studio:8080"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "host.docker.internal", "[::1]"])
def test_other_spellings_of_its_address_are_its_own(load, url, host):
    network = Network()
    load(f"http://{host}:8080/data/upload/1/a.png", network, url=url)
    assert network.seen == [(url.removeprefix("http://"), "/data/upload/1/a.png", f"Token {TOKEN}")]


@pytest.mark.parametrize("path", [":8081/data/upload/a.png", ":8080/latest/meta-data", "/data/upload/a.png"])
def test_other_ports_and_paths_of_this_machine_are_not(load, path):
    HOSTS["localhost"] = "127.0.0.1"
    network = Network()
    with pytest.raises(TaskError, match="private address"):
        load(f"http://localhost{path}", network)
    assert not network.seen


def test_what_is_kept_of_a_storage_is_one_tasks_own():
    class Loader:
        asked: list[str]

        def load(self, reference, field, task, project=""):
            self.asked.append(task)
            raise TaskError(field, "no.", "No.")

    loader = Loader()
    cache = ImageCache(loader, 1000)
    for reference, number in (("s3://b/a.png", 2), (resolver("s3://b/a.png"), 2)):
        loader.asked = []
        for task in ("5", "6"):
            with pytest.raises(TaskError):
                cache.load(reference, "image", task)
        assert len(loader.asked) == number

"""The status page's routes: what they show, who may use them, and what retry and cancel do. Redis and HTTP are real."""

import io
import json
import re

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from backend.errors import TaskError
from backend.label_studio.client import PAGE as STUDIO_PAGE
from backend.queue import progress
from backend.queue.gallery import THUMBNAIL_BYTES
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import load_settings
from backend.web.access import ASKED_BY
from backend.web.app import create_app
from backend.web.status_page import PAGE
from tests.support.label_studio import PAT, running
from tests.support.rq_queues import rq_queue
from tests.support.tasks import CONFIG, data_uri, png

IMAGE = data_uri(png())
OURS = {"X-Requested-With": ASKED_BY}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def studio():
    with running() as studio:
        studio.add_project(7, CONFIG)
        studio.add_project(8, CONFIG)
        yield studio


@pytest.fixture
def settings(configure, studio):
    settings = configure(
        RETRY_DELAYS=60, LOG_LEVEL="ERROR", LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=PAT, THUMBNAILS=2
    )
    studio.version = settings.model_version
    return settings


def retrieve(client, studio, project, *texts):
    numbers = studio.add_tasks(project, [{"image": IMAGE, "text": text} for text in texts])
    return retrieve_again(client, studio, project, numbers)


def retrieve_again(client, studio, project, numbers):
    """As one retrieve of several tasks, which waits for none of them."""
    tasks = [{**studio.task(number), "predictions": []} for number in numbers]
    body = {"tasks": tasks, "project": f"{project}.1", "label_config": CONFIG, "params": {"context": None}}
    if len(tasks) > 1:
        client.post("/predict", json=body)
    else:
        client.post("/webhook", json=studio.webhook(project, numbers))
    return numbers


def projects(client):
    return {entry["project"]: entry for entry in client.get("/status").json()["projects"]}


def reasons(client):
    return {(entry["project"], entry["task"]): entry["message"] for entry in client.get("/status").json()["failures"]}


def post(client, path, **target):
    response = client.post(path, params=target, headers=OURS)
    assert response.status_code == 200, response.text
    return response.json()


class TestPage:
    def test_browsers_get_the_page_and_label_studio_its_json(self, client):
        page = client.get("/", headers=BROWSER)
        assert page.headers["content-type"].startswith("text/html")
        assert "RefAM backend" in page.text
        for accept in ("*/*", "application/json", ""):
            answer = client.get("/", headers={"Accept": accept})
            assert answer.json() == {"status": "UP", "model_class": "RefAMBackend"}
            assert answer.headers["vary"] == "Accept"

    def test_no_script_but_its_own_can_run(self, client):
        policy = client.get("/", headers=BROWSER).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert re.search(r"script-src 'sha256-[\w+/]{43}='(;|$)", policy)
        assert "unsafe" not in policy

    def test_it_needs_nothing_from_elsewhere_and_takes_nothing_for_html(self):
        assert not re.findall(r"https?://|//\w", PAGE.replace("// milliseconds", ""))
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", PAGE)

    def test_every_queue_has_a_name_that_an_operator_understands(self):
        names = PAGE.partition("const QUEUES = {")[2].partition("}")[0]
        assert re.findall(r"(\w+): \"", names) == list(Priority)


class TestPassword:
    @pytest.fixture
    def settings(self, settings, configure):
        return configure(BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/"),
            ("GET", "/status"),
            ("GET", "/metrics"),
            ("GET", "/thumbnails/1"),
            ("POST", "/retry"),
            ("POST", "/cancel?project=7"),
            ("GET", "/openapi.json"),
        ],
    )
    def test_everything_asks_for_it(self, client, method, path):
        for auth in (None, ("u", "wrong")):
            answer = client.request(method, path, headers={**BROWSER, **OURS}, auth=auth)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
        assert client.request(method, path, headers={**BROWSER, **OURS}, auth=("u", "p")).status_code in (200, 404)

    def test_label_studios_look_at_the_health_does_not(self, client):
        assert client.get("/").json()["status"] == "UP"


class TestForeignRequests:
    @pytest.mark.parametrize("headers", [{}, {"X-Requested-With": "XMLHttpRequest"}, {"Origin": "http://evil.example"}])
    def test_other_sites_can_change_nothing(self, client, studio, headers):
        retrieve(client, studio, 7, "left", "right")
        for path in ("/retry", "/cancel?project=7"):
            assert client.post(path, headers=headers).status_code == 403
        assert projects(client)["7"]["waiting"] == 2

    def test_no_browser_is_told_that_other_sites_may_send_the_header(self, client):
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        answer = client.options("/cancel", headers={**asked, "Access-Control-Request-Headers": "x-requested-with"})
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]

    def test_what_is_missing_is_said_as_everything_is(self, client):
        answer = client.post("/cancel", headers=OURS)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "project")
        assert answer.json()["error"]["message"] == "Field required."

    @pytest.mark.parametrize("path", ["/retry", "/cancel?project=7"])
    def test_reading_changes_nothing(self, client, path):
        assert client.get(path, headers=OURS).status_code == 405

    @pytest.mark.parametrize(
        "query", ["project=7/8", "project=a", "project=²", "project=7&task=*", "project=" + 30 * "7"]
    )
    def test_only_numbers_are_taken(self, client, query):
        for path in ("/retry", "/cancel"):
            assert client.post(f"{path}?{query}", headers=OURS).status_code == 422


class TestProgress:
    def test_waiting_done_failed_and_masks(self, client, studio, run_jobs):
        retrieve(client, studio, 7, "left", "right", "unusable", "left")  # two tasks share a job
        retrieve(client, studio, 8, "left 8", "right 8")
        before = projects(client)
        assert (before["7"]["waiting"], before["8"]["waiting"]) == (4, 2)
        assert before["7"]["rate"] is None
        state = client.get("/status").json()
        waiting = [(job["project"], job["task"]) for job in state["waiting"]]
        turns = [{("7", "1"), ("8", "5")}, {("7", "2"), ("8", "6")}, {("7", "3")}]
        assert [set(waiting[:2]), set(waiting[2:4]), set(waiting[4:])] == turns
        run_jobs()
        after = projects(client)
        assert {name: (entry["waiting"], entry["done"], entry["failed"]) for name, entry in after.items()} == {
            "7": (0, 3, 1),
            "8": (0, 2, 0),
        }
        assert after["8"]["rate"] > 0
        assert after["8"]["seconds_left"] is None

    def test_thumbnails_are_small_few_and_gone_when_they_are_old(
        self, client, studio, run_jobs, connection, shared, monkeypatch
    ):
        monkeypatch.setattr("backend.worker.predictor.SHOWN_EVERY", 0)
        retrieve(client, studio, 7, "left", "right", "left 3")
        run_jobs()
        masks = client.get("/status").json()["masks"]
        assert [(mask["task"], mask["text"]) for mask in masks] == [("3", "left 3"), ("2", "right")]
        for mask in masks:
            content = client.get(f"/thumbnails/{mask['id']}").content
            assert len(content) <= THUMBNAIL_BYTES
            assert Image.open(io.BytesIO(content)).format == "JPEG"
        assert connection.hlen(shared.keyspace.key("thumbnails")) == 2
        assert client.get("/thumbnails/0").status_code == 404

    def test_tasks_whose_end_nobody_told_are_not_waiting_for_ever(self, client, studio, queue, ledger):
        retrieve(client, studio, 7, "left", "right")
        for _, job in list(ledger.progress.waiting("7")):
            queue.withdraw(job, "none")
        assert projects(client)["7"]["waiting"] == 0

    def test_what_is_kept_is_bounded(self, monkeypatch, ledger, connection, shared):
        monkeypatch.setattr(progress, "MAX_PROJECTS", 3)
        monkeypatch.setattr(progress, "PACE", 4)

        class Request:
            task, job_id = "1", staticmethod(lambda: "job")

        for number in range(10):
            Request.project = str(number)
            ledger.progress.begin([Request])
        assert ledger.progress.projects() == ["9", "8", "7"]
        assert len(connection.keys("refam:*:waiting:*")) == 3
        for number in range(8):
            Request.task = str(number % 6)
            ledger.progress.begin([Request])
            ledger.end([("9", Request.task, Outcome(prediction={}))])
        assert ledger.progress.state("9").done == 6, "each task once"
        assert connection.llen(shared.keyspace.key("pace", "9")) == 4
        assert all(connection.ttl(key) > 0 for key in connection.keys("refam:*:[wmp]*:*"))

    def test_hostile_ids_make_no_keys(self, client, studio, ledger):
        tasks = [{"id": name, "project": name, "data": {"image": IMAGE, "text": "left"}} for name in ("a/b", "²", "")]
        client.post("/predict", json={"tasks": tasks, "label_config": CONFIG})
        assert ledger.progress.projects() == []


class TestCancel:
    def test_a_project(self, client, studio, run_jobs, connection):
        numbers = retrieve(client, studio, 7, "left", "right", "left")
        others = retrieve(client, studio, 8, "left", "left 8")  # the first shares a job with project 7
        assert post(client, "/cancel", project="7") == {"cancelled": 3}
        assert reasons(client) == {("7", str(number)): "cancelled." for number in numbers}
        assert (projects(client)["7"]["waiting"], projects(client)["7"]["rate"]) == (0, None)
        run_jobs()
        assert studio.per_task() == {(number, studio.version): 1 for number in others}
        assert reasons(client) == {("7", str(number)): "cancelled." for number in numbers}
        assert not connection.keys("refam:*:due:*")
        assert projects(client)["7"]["waiting"] == 0

    def test_one_task_leaves_those_that_shared_its_job(self, client, studio, run_jobs, connection):
        first, second, third = retrieve(client, studio, 7, "left", "right", "left")
        assert post(client, "/cancel", project="7", task=str(third)) == {"cancelled": 1}
        run_jobs()
        assert studio.per_task() == {(first, studio.version): 1, (second, studio.version): 1}
        assert reasons(client) == {("7", str(third)): "cancelled."}
        assert not connection.keys("refam:*:due:*")

    def test_one_that_waits_for_a_further_try(self, client, studio, run_jobs):
        numbers = retrieve(client, studio, 7, "crash", "left")
        run_jobs()
        assert client.get("/status").json()["queues"]["batch"]["retrying"] == 1
        assert post(client, "/cancel", project="7", task=str(numbers[0])) == {"cancelled": 1}
        assert client.get("/status").json()["queues"]["batch"]["retrying"] == 0
        assert reasons(client) == {("7", str(numbers[0])): "cancelled."}

    def test_announced_tasks_that_have_not_been_read(self, client, studio, run_jobs, connection, shared):
        numbers = studio.add_tasks(7, [{"image": IMAGE, "text": "left"}] * (STUDIO_PAGE + 5))
        client.post("/webhook", json=studio.webhook(7, numbers))
        retrieve(client, studio, 8, "left")
        assert post(client, "/cancel", project="7") == {"cancelled": len(numbers)}
        assert client.get("/status").json()["failed_tasks"] == len(numbers)
        assert rq_queue(shared.keyspace, Priority.HINT).count == 1

    def test_tasks_that_wait_for_a_full_queue_are_cancelled_too(self, client, studio, backlog, run_jobs, monkeypatch):
        monkeypatch.setattr(type(backlog), "is_full", lambda _: True)
        client.post("/webhook", json=studio.webhook(7, studio.add_tasks(7, [{"image": IMAGE, "text": "left"}] * 3)))
        run_jobs()
        assert backlog.depths()["hint"]["retrying"] == 1  # their numbers wait
        assert post(client, "/cancel", project="7") == {"cancelled": 3}
        assert backlog.depths()["studio"]["retrying"] == 0

    def test_what_has_ended_is_not_cancelled(self, client, studio, run_jobs):
        numbers = retrieve(client, studio, 7, "left", "right")
        run_jobs()
        assert post(client, "/cancel", project="7") == {"cancelled": 0}
        assert post(client, "/cancel", project="7", task=str(numbers[0])) == {"cancelled": 0}
        assert reasons(client) == {}

    def test_what_runs_is_finished(self, client, studio, queue, connection, shared):
        retrieve(client, studio, 7, "left", "right")
        (job_id, _), *_ = connection.zpopmin(rq_queue(shared.keyspace, Priority.BATCH).line)  # as a worker takes it
        assert post(client, "/cancel", project="7") == {"cancelled": 1}
        assert connection.exists(f"rq:job:{job_id.decode()}")

    def test_a_cancelled_task_can_be_asked_for_again(self, client, studio, run_jobs):
        numbers = retrieve(client, studio, 7, "left", "right")
        post(client, "/cancel", project="7")
        retrieve_again(client, studio, 7, numbers)
        run_jobs()
        assert studio.per_task() == {(number, studio.version): 1 for number in numbers}
        assert reasons(client) == {}


class TestRetry:
    def test_failed_tasks_are_done_again_at_once(self, client, studio, run_jobs):
        numbers = retrieve(client, studio, 7, "unusable", "too large", "left")
        run_jobs()
        assert len(reasons(client)) == 2
        for number in numbers[:2]:
            studio.tasks[number]["data"]["text"] = "right"
        assert post(client, "/retry", project="7") == {"retried": 2}
        run_jobs()
        assert studio.per_task() == {(number, studio.version): 1 for number in numbers}
        assert reasons(client) == {}

    def test_the_same_request_is_tried_again_though_its_failure_is_remembered(self, client, studio, run_jobs, counters):
        retrieve(client, studio, 7, "unusable", "left")
        run_jobs()
        before = counters.totals()["failed"]
        post(client, "/retry", project="7", task="1")
        run_jobs()
        assert counters.totals()["failed"] == before + 1
        assert list(reasons(client)) == [("7", "1")]

    def test_cancelled_ones_and_other_projects(self, client, studio, run_jobs):
        numbers = retrieve(client, studio, 7, "left", "right")
        retrieve(client, studio, 8, "left 8", "right 8")
        for project in ("7", "8"):
            post(client, "/cancel", project=project)
        assert post(client, "/retry", project="7", task=str(numbers[0])) == {"retried": 1}
        run_jobs()
        assert studio.per_task() == {(numbers[0], studio.version): 1}
        assert post(client, "/retry") == {"retried": 3}
        run_jobs()
        assert len(studio.per_task()) == 4
        assert reasons(client) == {}

    def test_tasks_that_need_nothing_any_more_leave_the_list(self, client, studio, run_jobs):
        numbers = retrieve(client, studio, 7, "left", "right")
        post(client, "/cancel", project="7")
        del studio.tasks[numbers[0]]
        studio.store(numbers[1], {"model_version": studio.version, "result": [], "score": 0.5})
        post(client, "/retry")
        run_jobs()
        (left,) = reasons(client).values()
        assert "has no task 1 in project 7" in left

    def test_a_task_that_is_queued_again_says_so(self, client, studio, connection, shared):
        retrieve(client, studio, 7, "left", "right")
        failure = TaskError("text", "it was bad.", "Mend it.").as_json()
        connection.hset(
            shared.keyspace.key("failure"), "7/1", json.dumps({"project": "7", "task": "1", **failure, "at": 1.0})
        )
        connection.zadd(shared.keyspace.key("failures"), {"7/1": 1.0})
        (entry,) = client.get("/status").json()["failures"]
        assert entry["retrying"]

    def test_without_label_studio_the_other_way_is_told(self, environment, connection):
        environment.delenv("LABEL_STUDIO_API_KEY")
        settings = load_settings()
        client = TestClient(create_app(SharedState.over(connection, settings), settings))
        answer = client.post("/retry", headers=OURS)
        assert answer.status_code == 409
        assert "Retrieve predictions" in answer.json()["error"]["remedy"]
        assert not client.get("/status").json()["can_retry"]


def test_failures_are_grouped_by_reason_and_a_group_is_retried_with_one_button(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, [{"image": IMAGE, "text": text} for text in ("", "x" * 1001, "x" * 1002, "", "left")])
    studio.retrieve(client, 7, numbers)
    groups = client.get("/status").json()["failure_groups"]
    assert [(group["count"], group["projects"], group["example"]["field"]) for group in groups] == [
        (2, {"7": 2}, "text"), (2, {"7": 2}, "text"),
    ]  # fmt: skip
    long = next(group for group in groups if "characters" in group["example"]["message"])
    for number in numbers[:4]:
        studio.tasks[number]["data"]["text"] = "right"
    assert post(client, "/retry", reason=long["name"]) == {"retried": 2}
    run_jobs()
    assert reasons(client) == {("7", str(number)): "the text is empty." for number in (numbers[0], numbers[3])}


def test_projects_have_titles_and_addresses(client, studio, run_jobs, settings):
    retrieve(client, studio, 7, "left", "right")
    assert projects(client)["7"]["address"] == f"{studio.url}/projects/7/data"
    for hostname, expected in (
        ("http://labels.org/ls/", "http://labels.org/ls"),
        ("javascript:alert(1)//", studio.url),
    ):
        client.post("/setup", json={"project": "7.1", "schema": CONFIG, "hostname": hostname})
        run_jobs()
        assert projects(client)["7"]["address"] == f"{expected}/projects/7/data"
    assert projects(client)["7"]["title"] == "project 7"


def test_masks_that_were_ready_count_as_done(client, studio, run_jobs):
    retrieve(client, studio, 7, "left", "left")
    run_jobs()
    assert projects(client)["7"]["done"] == 2
    retrieve(client, studio, 7, "left", "left")  # answered at once
    assert projects(client)["7"]["done"] == 4
    assert projects(client)["7"]["waiting"] == 0


def test_many_failures_are_counted_and_the_newest_listed(client, ledger):
    reason = Outcome(failure=TaskError("text", "it is empty.", "Write one.").as_json())
    ledger.end([("7", str(number), reason) for number in range(150)])
    state = client.get("/status").json()
    assert len(state["failures"]) == 100
    assert state["failed_tasks"] == 150


def test_metrics_are_what_prometheus_reads(client, studio, run_jobs, settings):
    retrieve(client, studio, 7, "left", "unusable", "right")
    run_jobs()
    retrieve(client, studio, 7, "left 4", "left 5")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["refam_jobs", "batch", "waiting"] == 2
    assert samples["refam_jobs_ended_total", "done"] == 2
    assert samples["refam_jobs_ended_total", "failed"] == 1
    assert samples["refam_heatmaps_total",] == 2
    assert samples["refam_project_waiting_tasks", "7"] == 2
    assert samples["refam_project_masked_tasks_total", "7"] == 2
    assert samples["refam_project_failed_tasks", "7"] == 1
    assert samples["refam_failed_tasks",] == 1
    assert samples["refam_info", settings.model_version] == 1

"""TASKS_CREATED: what is believed, and what is done about it."""

import time

import pytest

from backend.label_studio.client import PAGE
from backend.queue.priorities import Priority
from tests.support.deliveries import once, texts
from tests.support.tasks import CONFIG


@pytest.fixture
def settings(studio_settings):
    return studio_settings


def test_large_retrieves_and_webhooks_are_answered_at_once_and_read_page_by_page(client, studio, backlog):
    numbers = studio.add_tasks(7, texts(*(f"left {number}" for number in range(5000))))
    body = studio.webhook(7, numbers)
    sends = {
        Priority.HINT: lambda: client.post("/webhook", json=body),
        Priority.STUDIO: lambda: studio.retrieve(client, 7, numbers),
    }
    for queue, send in sends.items():
        start = time.monotonic()
        send()
        assert time.monotonic() - start < 1.5
        assert backlog.waiting(queue) == 5000 / PAGE
        assert backlog.depths()["batch"]["waiting"] == 0


def test_new_tasks_are_read_and_bad_ones_listed(client, studio, run_jobs, ledger):
    numbers = studio.add_tasks(7, texts("left", "", "right"))
    body = studio.webhook(7, [*numbers, *studio.add_tasks(8, texts("left"))])
    for task in body["tasks"]:
        task["data"] = {"image": "http://169.254.169.254/", "text": "what the webhook says is not believed"}
    assert client.post("/webhook", json=body).json() == {"status": "queued"}
    run_jobs()
    once(studio, [1, 3])  # the other project's task is left alone
    assert {(entry["task"], entry["field"]) for entry in ledger.failures.newest()} == {("2", "text")}


def test_whoever_makes_tasks_up_fills_no_list(client, studio, run_jobs, ledger):
    body = studio.webhook(7, studio.add_tasks(7, texts("left", "")))
    body["tasks"] += [{"id": number} for number in range(100, 1100)]
    assert client.post("/webhook", json=body).json() == {"status": "queued"}
    run_jobs()
    assert [entry["task"] for entry in ledger.failures.newest()] == ["2"]
    studio.configs[7] = "<View/>"
    assert client.post("/webhook", json=body).json() == {"status": "queued"}
    run_jobs()
    assert sorted(entry["task"] for entry in ledger.failures.newest()) == ["1", "2"]


def test_hints_wait_behind_what_is_asked_for(client, studio, backlog, desk):
    numbers = studio.add_tasks(7, texts(*(f"left {number}" for number in range(300))))
    for _ in range(3):
        client.post("/webhook", json=studio.webhook(7, numbers))
    desk.schedule.schedule_fetch("7", numbers[:1])
    assert (backlog.waiting(Priority.HINT), backlog.waiting(Priority.STUDIO)) == (3, 1)


def test_a_hint_is_followed_once_label_studio_answers(client, studio, run_later, ledger):
    studio.fault = lambda method, path: (500, None) if path.startswith("/api") else None
    client.post("/webhook", json=studio.webhook(7, studio.add_tasks(7, texts("left"))))
    for _ in range(12):
        run_later()
    assert not ledger.failures.newest()
    studio.fault = lambda *_: None
    for _ in range(3):
        run_later()
    once(studio, [1])


class TestWithoutPassword:
    """With basic auth on, Label Studio's own webhook brings no password."""

    @pytest.fixture
    def settings(self, settings, configure):
        return configure(BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p")

    def connect(self, client):
        setup = {"project": "7.1795", "schema": CONFIG}
        assert client.post("/setup", json=setup).status_code == 401
        assert client.post("/setup", json=setup, auth=("u", "p")).status_code == 200

    def test_new_tasks_of_connected_projects_are_read(self, client, studio, run_jobs):
        self.connect(client)
        body = studio.webhook(7, studio.add_tasks(7, texts("left", "right")))
        assert client.post("/webhook", json=body).json() == {"status": "queued"}
        run_jobs()
        once(studio, [1, 2])

    def test_other_projects_are_refused(self, client, studio, backlog):
        body = studio.webhook(7, studio.add_tasks(7, texts("left")))
        assert client.post("/webhook", json=body).status_code == 403
        assert backlog.depths()["studio"]["waiting"] == 0

    def test_a_project_is_looked_through_once_a_minute_however_often_it_is_announced(self, client, backlog):
        setup = {"project": "7.1795", "schema": CONFIG}
        assert client.post("/setup", json=setup, auth=("u", "p")).status_code == 200  # which looks, too
        for _ in range(50):
            body = {"action": "PROJECT_UPDATED", "project": {"id": 7}}
            assert client.post("/webhook", json=body).json() == {"status": "queued"}
        depth = backlog.depths()["studio"]
        assert (depth["waiting"], depth["retrying"]) in {(1, 1), (1, 2)}

    def test_too_many_are_refused(self, client, studio, monkeypatch):
        self.connect(client)
        body = studio.webhook(7, studio.add_tasks(7, texts("left")))
        monkeypatch.setattr("backend.web.webhook.MAX_HINTS", 0)
        assert client.post("/webhook", json=body).status_code == 503

    def test_too_large_ones_are_refused(self, client, monkeypatch):
        monkeypatch.setattr("backend.web.ml_routes.HINT_MAX_BYTES", 10)
        assert client.post("/webhook", json={"action": "TASKS_CREATED"}).status_code == 413

    def test_a_wrong_password_is_refused(self, client, studio):
        self.connect(client)
        body = studio.webhook(7, studio.add_tasks(7, texts("left")))
        assert client.post("/webhook", json=body, auth=("u", "wrong")).status_code == 401

    def test_other_events_are_ignored(self, client):
        assert client.post("/webhook", json={"action": "TASKS_DELETED"}).json() == {"status": "ignored"}

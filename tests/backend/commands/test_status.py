"""The command status."""

import json

from typer.testing import CliRunner

from backend.cli import app
from backend.errors import TaskError
from backend.queue.outcome import Outcome
from backend.queue.priorities import Priority
from tests.support.tasks import requests_of


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


def test_status_as_json(queue, settings, ledger, fleet):
    queue.submit(requests_of(settings, "left", "right"), Priority.BATCH)
    reason = TaskError("text", "it is empty.", "Write one.")
    ledger.end([("7", "9", Outcome(failure=reason.as_json()))])
    fleet.report_problem("here/cuda", TaskError("REFAM_MODEL", "it is not there.", "Download it."))
    result = invoke("status", "--json")
    assert result.exit_code == 0, result.output
    state = json.loads(result.stdout)
    assert state["model_version"] == settings.model_version
    assert state["queues"]["batch"] == {"waiting": 2, "running": 0, "retrying": 0}
    assert state["workers"] == []
    assert {name: state["failures"][0][name] for name in ("project", "task", "field", "message", "remedy")} == {
        "project": "7", "task": "9", **reason.as_json(),
    }  # fmt: skip
    assert state["problems"][0]["device"] == "here/cuda"


def test_status_as_tables(settings, monkeypatch, ledger, fleet):
    monkeypatch.setenv("COLUMNS", "200")
    ledger.end([("7", "9", Outcome(failure=TaskError("text", "it is [empty].", "Write one.").as_json()))])
    fleet.report_problem("here/cuda", TaskError("REFAM_MODEL", "it is not there.", "Download it."))
    output = invoke("status").output
    for expected in (
        settings.model_version,
        "interactive",
        "No worker",
        "it is [empty].",
        "Write one.",
        "Download it.",
    ):
        assert expected in output

"""Whole projects with real worker processes, a real web server and Redis; Label Studio is the stand-in."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from backend.cli import app
from backend.commands import prelabel as module
from backend.commands.prelabel import prelabel
from backend.commands.preview import preview
from backend.commands.selection import Selection
from backend.errors import RefusedError, SettingsError
from backend.queue.priorities import Priority
from backend.settings import load_settings
from backend.timings import Timings
from tests.support.processes import ROOT, eventually
from tests.support.rq_queues import rq_queue
from tests.support.stub_worker import StubSegmenter
from tests.support.tasks import data_uri, png

IMAGES = [data_uri(png(width, 8)) for width in (10, 11, 12)]


@pytest.fixture
def settings(studio_settings, configure):
    return configure(WRITE_DELAYS="1,1,1,1,1", CLAIM_SECONDS=3)


@pytest.fixture
def worker(processes, fleet):
    return processes.stub_worker(fleet, STUB_LIFE="3")


def fill(studio, count, text=lambda number: f"left {number}"):
    return studio.add_tasks(7, [{"image": IMAGES[n % 3], "text": text(n)} for n in range(count)])


def once(studio, numbers):
    assert studio.per_task() == {(number, studio.version): 1 for number in numbers}


def command(*options):
    return CliRunner().invoke(app, ["prelabel", "7", *options])


def test_a_project_with_bad_tasks(studio, worker):
    texts = {3: "", 5: "unusable", 7: "crash"}
    fill(studio, 120, lambda n: texts.get(n, f"left {n % 40}"))
    result = command()
    assert result.exit_code == 1
    assert "done 117, skipped 0, failed 3" in result.output
    for part in ("task 4: text: the text is empty.", "task 6:", "RuntimeError"):
        assert part in result.output
    assert set(studio.per_task().values()) == {1}
    again = command()
    assert "done 0, skipped 117, failed 3" in again.output
    assert set(studio.per_task().values()) == {1}


def test_what_is_selected(studio, worker):
    numbers = fill(studio, 12)
    studio.annotations[numbers[0]] = [1]
    studio.views[5] = lambda task: task["id"] > 4 and not task["total_predictions"]  # shrinks as it is worked on
    assert "done 2, skipped 1, failed 0" in command("--only-unlabelled", "--limit", "2").output
    once(studio, [2, 3])
    assert "done 8, skipped 0, failed 0" in command("--view", "5").output
    once(studio, [2, 3, *range(5, 13)])
    assert "done 2, skipped 10, failed 0" in command().output
    once(studio, numbers)


def test_replace(studio, worker):
    numbers = fill(studio, 3)
    for number in numbers:
        studio.store(number, {"model_version": "refam-old", "result": [], "score": 0.1})
    assert command("--replace").exit_code == 0
    once(studio, numbers)
    assert command("--replace").exit_code == 0
    once(studio, numbers)


def test_an_empty_project(studio, queue):
    result = command()
    assert result.exit_code == 0
    assert "none is running" in result.output
    assert "done 0, skipped 0, failed 0" in result.output


def test_what_is_missing_is_said(studio, settings, connection, environment):
    studio.configs.clear()
    result = command()
    assert result.exit_code == 1
    assert "Label Studio has no project 7" in result.output
    environment.delenv("LABEL_STUDIO_API_KEY")
    result = command()
    assert result.exit_code == 1
    assert "LABEL_STUDIO_API_KEY" in result.output


def test_label_studio_may_fail_for_a_while(studio, settings, fleet, processes):
    processes.stub_worker(fleet, STUB_UNSURE="1")
    numbers = fill(studio, 10)
    calls = Counter()

    def fault(method, path):
        calls[method] += 1
        return (502, None) if calls[method] % 3 == 1 and (method == "GET" or calls[method] == 1) else None

    studio.fault = fault
    assert prelabel(settings, Selection("7"), Console(quiet=True), timings=Timings(patience=(0, 0, 0))) == 0
    once(studio, numbers)


def test_no_more_than_the_window_is_underway_and_shared_images_are_adjacent(
    studio, settings, processes, monkeypatch, fleet, connection, backlog, shared
):
    monkeypatch.setattr(module, "PAGE", 5)
    monkeypatch.setattr(module, "WINDOW", 10)
    numbers = fill(studio, 40)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(prelabel, settings, Selection("7"), Console(quiet=True))
        eventually(lambda: backlog.depths()["batch"]["waiting"] == 10)
        waiting = rq_queue(shared.keyspace, Priority.BATCH).jobs
        images = [job.args[0]["pages"][0]["image"] for job in waiting[:5]]
        assert images == sorted(images)
        processes.stub_worker(fleet)
        most = 0
        while not ended.done():
            most = max(most, backlog.depths()["batch"]["waiting"])
        assert ended.result() == 0
    assert most <= 10
    once(studio, numbers)


def test_ctrl_c_leaves_what_is_queued_and_the_next_run_goes_on(studio, queue, worker, processes):
    numbers = fill(studio, 30, lambda n: f"slow 0.4 left {n}")
    run = subprocess.Popen(
        [sys.executable, "-m", "backend", "prelabel", "7"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    eventually(lambda: len(studio.predictions) >= 3, 60)
    run.send_signal(signal.SIGINT)
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 130
    assert "Run the same command again" in output
    assert "Traceback" not in output
    assert command().exit_code == 0
    once(studio, numbers)


def test_retrieve_webhook_and_prelabel_at_the_same_time(studio, settings, processes, web, fleet, connection):
    numbers = fill(studio, 60, lambda n: f"left {n % 50}")  # some share a job
    for _ in range(2):
        processes.stub_worker(fleet)
    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(prelabel, settings, Selection("7"), Console(quiet=True)) for _ in range(2)]
        work += [pool.submit(web.post, "/webhook", json=studio.webhook(7, numbers))]
        work += [pool.submit(studio.retrieve, web, 7, numbers) for _ in range(2)]
        work += [pool.submit(studio.retrieve, web, 7, [number]) for number in numbers[:20]]  # opened one by one
        assert [work[0].result(), work[1].result()] == [0, 0]
        assert work[2].result().json() == {"status": "queued"}
        for each in work[3:]:
            each.result()
    eventually(lambda: not connection.keys("refam:*:due:*"), 60)
    once(studio, numbers)


def test_a_worker_that_dies_between_writing_and_saying_so(studio, settings, processes, worker, ledger, fleet):
    numbers = fill(studio, 6)
    killed = threading.Event()

    def kill(method, path):
        if path.endswith("/import/predictions") and not killed.is_set():
            killed.set()
            os.kill(worker.pid, signal.SIGKILL)

    studio.after = kill
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(prelabel, settings, Selection("7"), Console(quiet=True))
        assert killed.wait(30)
        processes.stub_worker(fleet, STUB_LIFE="3")
        assert ended.result(60) == 0
    once(studio, numbers)
    assert ledger.failures.newest() == []


@pytest.fixture
def impatient(settings, configure):
    return configure(INLINE_SECONDS=1)


def test_an_inline_wait_that_ran_out_is_written(studio, impatient, web, worker):
    (number,) = fill(studio, 1, lambda _: "slow 2 left")
    assert studio.retrieve(web, 7, [number]) == [[]]
    eventually(lambda: studio.predictions, 20)
    once(studio, [number])


class FakeRefAM:
    """The stub, with a heatmap to draw."""

    side = 64

    @classmethod
    def from_config(cls, config):
        return cls()

    def segment(self, image, expression):
        made = StubSegmenter().segment(image, expression)
        made.grounding = SimpleNamespace(heatmap=np.ones((2, 2), np.float32), points=[])
        return made


def test_dry_run(studio, settings, tmp_path, monkeypatch, connection):
    fill(studio, 6, lambda n: "" if n == 1 else "the red square")
    monkeypatch.setattr("refam.pipeline.RefAM", FakeRefAM)
    result = command("--dry-run", "--limit", "3", "--pictures", str(tmp_path))
    assert result.exit_code == 1
    assert "task 2: text: the text is empty." in result.output
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["task_1_1.png", "task_3_1.png"]
    assert not studio.predictions


def test_dry_run_needs_label_studio(environment, settings):
    environment.delenv("LABEL_STUDIO_URL")
    with pytest.raises(SettingsError, match="LABEL_STUDIO_URL"):
        preview(load_settings(), Selection("7"), Console(quiet=True), ROOT)


def test_a_project_that_is_not_there(settings, studio, connection):
    with pytest.raises(RefusedError, match="no project 9"):
        prelabel(settings, Selection("9"), Console(quiet=True))

"""Tasks without a text are answered with what bears their labels' names, whichever way they come."""

import io

import pytest
from rich.console import Console

from backend.commands.import_pictures import import_pictures
from backend.commands.prelabel import prelabel
from backend.commands.selection import Selection
from tests.support.deliveries import IMAGE, once

LABELS = """<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">
<Label value="Left"/><Label value="Half" predicted_values="right, Upper_right"/><Label value="Nothing"/>
</BrushLabels></View>"""
NOTHING = LABELS.replace("Left", "Nothing at all").replace('"right, Upper_right"', '"nothing here"')


@pytest.fixture
def settings(studio_settings, configure):
    return configure(LABELS_AS_PROMPTS="on", MIN_SCORE=0.5)


@pytest.fixture
def numbers(studio):
    studio.add_project(7, LABELS)
    return studio.add_tasks(7, [{"image": IMAGE}, {"image": IMAGE, "text": ""}])


def labels(studio):
    """The labels of each prediction's regions."""
    return [[region["value"]["brushlabels"][0] for region in entry["result"]] for entry in studio.predictions.values()]


FOUND = ["Left", "Half", "Half"]


def test_retrieve(studio, client, processes, fleet, numbers):
    processes.stub_worker(fleet)
    for number in numbers:
        studio.retrieve(client, 7, [number])
    once(studio, numbers)
    assert labels(studio) == [FOUND, FOUND]


def test_webhook(studio, client, run_jobs, numbers):
    assert client.post("/webhook", json=studio.webhook(7, numbers)).json() == {"status": "queued"}
    run_jobs()
    once(studio, numbers)
    assert labels(studio) == [FOUND, FOUND]


@pytest.mark.parametrize(("least", "said"), [(None, "done 2, skipped 0"), (0.8, "done 0, nothing found 2, skipped 0")])
def test_prelabel(studio, settings, run_jobs, numbers, monkeypatch, least, said):
    monkeypatch.setattr("backend.commands.prelabel.time.sleep", lambda _: run_jobs())
    shown = io.StringIO()
    assert prelabel(settings, Selection("7"), Console(file=shown, width=200), min_score=least) == 0
    assert said in shown.getvalue()
    assert labels(studio) == ([] if least else [FOUND, FOUND])


def test_none_of_the_labels_is_no_failure(studio, client, run_jobs):
    studio.add_project(7, NOTHING)
    numbers = studio.add_tasks(7, [{"image": IMAGE}])
    client.post("/webhook", json=studio.webhook(7, numbers))
    run_jobs()
    state = client.get("/status").json()
    assert (state["done"], state["nothing"], state["failed"]) == (0, 1, 0)
    (entry,) = state["nothing_found"]
    assert entry["field"] == "labels"
    assert entry["message"] == "none of the 3 names found (highest score 0.75)."
    assert "predicted_values" in entry["remedy"]


def test_a_label_that_cannot_be_looked_for_is_a_failure_that_says_how(studio, client, run_jobs):
    studio.add_project(7, LABELS.replace("Nothing", "unusable"))
    client.post("/webhook", json=studio.webhook(7, studio.add_tasks(7, [{"image": IMAGE}])))
    run_jobs()
    (entry,) = client.get("/status").json()["failures"]
    assert (entry["field"], "predicted_values" in entry["remedy"]) == ("labels", True)


def test_pictures_are_imported_without_texts(studio, settings, tmp_path, numbers):
    studio.add_project(7, LABELS.replace("<Brush", '<Text name="text" value="$text"/><Brush'))
    (tmp_path / "a.png").write_bytes(b"")
    assert import_pictures(settings, "7", tmp_path, None, Console(quiet=True)) == 0
    assert studio.tasks[max(studio.tasks)]["meta"] == {"file": "a.png"}

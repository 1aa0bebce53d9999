"""What an annotator sees and does, in a real browser: masks are compared pixel by pixel with those the model makes."""

import json

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from prometheus_client.parser import text_string_to_metric_families

from refam.clicks import Box, Clicks
from refam.evaluate import intersection_over_union
from refam.heatmap import Point
from refam.tiny import NOTICE, SWITCH
from tests.e2e.editor import read_mask
from tests.e2e.running import PASSWORD, SCREENSHOTS, USER, run_command

WORDLESS = "of the"  # no word to look for: the task has no prediction, and clicks decide alone


@pytest.fixture
def opened(project, api, editor, sample):
    """A function that opens a new task with the picture of a sample task, and with this text."""

    def open_task(entry, text):
        (task,) = api.add_tasks(project, [(entry.picture.name, text)])
        editor.open(project, task)
        return task

    return open_task


def centre(mask):
    """The pixel of a mask that is nearest to its middle, as fractions of width and height."""
    rows, columns = np.nonzero(mask)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return (columns[nearest] + 0.5) / mask.shape[1], (rows[nearest] + 0.5) / mask.shape[0]


def clicks_of(editor, size):
    """The key points that the editor holds, in pixels."""
    points = [r for r in editor.results() if r["type"] == "keypointlabels"]
    return tuple(
        Point(r["value"]["x"] / 100 * size[0], r["value"]["y"] / 100 * size[1], r.get("is_positive") is not False)
        for r in points
    )


def computations(backend):
    """What the backend's /metrics says of passes through the transformer and through SAM's image encoder."""
    answer = httpx.get(f"{backend.address}/metrics", auth=(USER, PASSWORD), trust_env=False).raise_for_status()
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    wanted = ("refam_heatmaps_total", "refam_image_embeddings_total")
    return {sample.name: sample.value for sample in samples if sample.name in wanted}


def test_a_task_that_is_opened_shows_its_mask(opened, editor, sample, refam):
    entry = sample[1]
    opened(entry, entry.text)
    mask = editor.wait_for_mask()
    assert intersection_over_union(mask, refam.segment(entry.image, entry.text).mask) >= 0.99


def test_a_typed_prompt_is_answered_with_its_mask(opened, editor, sample, refam):
    entry = sample[1]
    opened(entry, WORDLESS)
    editor.type_prompt(entry.text)
    suggested = editor.wait_for_suggestion()
    typed, notice = editor.texts()
    assert (typed, notice) == (entry.text, f"⚠ {NOTICE} {SWITCH}")
    expected = refam.segment(entry.image, entry.text).mask
    assert intersection_over_union(suggested, expected) >= 0.99
    editor.accept()
    assert intersection_over_union(editor.wait_for_mask(), expected) >= 0.99


def test_clicks_say_what_to_mask_and_what_not(opened, editor, sample, refam, backend):
    entry = sample[1]
    opened(entry, WORDLESS)
    x, y = centre(entry.mask)
    editor.click(x, y)
    first = editor.wait_for_suggestion()
    clicks = clicks_of(editor, entry.image.size)
    assert [click.on_target for click in clicks] == [True]
    assert entry.mask[int(clicks[0].y), int(clicks[0].x)]
    assert intersection_over_union(first, refam.select(entry.image, Clicks(clicks)).mask) >= 0.99

    seen, computed = editor.suggestion(), computations(backend)
    editor.click(0.02, 0.02, negative=True)
    second = editor.wait_for_suggestion(other_than=seen)
    assert computations(backend) == computed, "the second click computed more than a mask"
    clicks = clicks_of(editor, entry.image.size)
    assert [click.on_target for click in clicks] == [True, False]
    assert intersection_over_union(second, refam.select(entry.image, Clicks(clicks)).mask) >= 0.99


def test_a_click_refines_what_the_text_found(opened, editor, sample, refam, backend):
    entry = sample[1]
    opened(entry, WORDLESS)
    editor.type_prompt(entry.text)
    editor.wait_for_suggestion()
    seen, computed = editor.suggestion(), computations(backend)
    assert computed["refam_heatmaps_total"] > 0
    editor.click(*centre(entry.mask))
    both = editor.wait_for_suggestion(other_than=seen)
    assert computations(backend) == computed, "the click computed more than a mask"
    clicks = Clicks(clicks_of(editor, entry.image.size))
    assert intersection_over_union(both, refam.select(entry.image, clicks, entry.text).mask) >= 0.99


def test_a_rectangle_is_answered_with_the_mask_of_what_is_in_it(opened, editor, sample, refam):
    entry = sample[1]
    opened(entry, WORDLESS)
    rows, columns = np.nonzero(entry.mask)
    editor.draw_box(columns.min() / 512, rows.min() / 512, columns.max() / 512, rows.max() / 512)
    suggested = editor.wait_for_suggestion()
    (drawn,) = [r["value"] for r in editor.results() if r["type"] == "rectanglelabels"]
    sides = drawn["x"], drawn["y"], drawn["x"] + drawn["width"], drawn["y"] + drawn["height"]
    box = Box(*(5.12 * side for side in sides))
    assert intersection_over_union(suggested, refam.select(entry.image, Clicks((), box)).mask) >= 0.99


def test_why_there_is_no_mask_is_shown_to_the_annotator(opened, editor, sample):
    opened(sample[1], WORDLESS)
    editor.type_prompt(WORDLESS)
    editor.page.wait_for_selector("text=⚠")
    typed, notice, reason = editor.texts()
    assert (typed, notice) == (WORDLESS, f"⚠ {NOTICE} {SWITCH}")
    assert reason.startswith(f"⚠ No word in {WORDLESS!r} names a thing")
    assert reason.endswith("Change the text.")


def test_an_edited_mask_is_submitted_and_read_back(opened, editor, sample, api, backend):
    entry = sample[1]
    task = opened(entry, entry.text)
    before = editor.wait_for_mask()
    (prediction,) = api.predictions(task)
    x, y = centre(before)
    editor.stroke("eraser", (x - 0.1, y), (x + 0.1, y))
    erased = editor.wait_for_mask()
    assert (before & ~erased).sum() > 100
    editor.stroke("brush-tool", (0.1, 0.1), (0.3, 0.1))
    extended = editor.wait_for_mask()
    assert (extended & ~before).sum() > 100
    editor.page.screenshot(path=SCREENSHOTS / "edited_mask.png")

    editor.submit()
    (annotation,) = api.ask("GET", f"/api/tasks/{task}/annotations/")
    (result,) = annotation["result"]
    assert (annotation["parent_prediction"], result["origin"]) == (prediction["id"], "prediction-changed")
    alpha = decode_rle(result["value"]["rle"])[3::4]
    assert len(np.unique(alpha)) > 2, "the edges are soft"
    assert intersection_over_union(read_mask(result), extended) >= 0.99
    assert [p["id"] for p in api.predictions(task)] == [prediction["id"]]

    folder = SCREENSHOTS / "report"
    code, said = run_command(backend.variables, "report", str(prediction["project"]), "--folder", str(folder))
    assert code == 0, said
    report = json.loads((folder / "report.json").read_text())
    (version,) = report["versions"].values()
    assert (report["submitted_tasks"], version["accepted_unchanged"]) == (1, 0)
    (case,) = report["worst"]
    assert case["task"] == task
    assert case["iou"] == pytest.approx(intersection_over_union(before, read_mask(result)), abs=0.01)
    assert 0.5 < case["iou"] < 1
    assert (folder / "report.md").exists()
    editor.page.goto((folder / "report.html").as_uri())
    assert editor.page.evaluate("[...document.images].map(image => image.naturalWidth > 0)") == [True]

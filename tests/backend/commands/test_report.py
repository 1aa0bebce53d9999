"""The report, on a Label Studio over real HTTP that holds predictions and annotations as 1.23 stores them."""

import base64
import json
import re
import tracemalloc

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from backend.cli import app
from backend.commands.report.comparison import Comparison
from backend.commands.report.report import report
from backend.errors import TemporaryError
from backend.label_studio.mask_encoding import Drawing
from backend.label_studio.request import Control
from backend.timings import Timings
from tests.support.label_studio import PAT
from tests.support.tasks import data_uri, png

CONFIG = """<View><Image name="image" value="$image"/><Text name="t" value="$text"/>
<BrushLabels name="tag" toName="image"><Label value="cat"/><Label value="dog"/></BrushLabels></View>"""
HOSTILE = "<script>alert(1)</script> | **x**"
HEIGHT, WIDTH = 8, 12


@pytest.fixture
def settings(configure, studio):
    return configure(LOG_LEVEL="ERROR", LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=PAT)


def mask(left, right):
    """Columns left to right are covered."""
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[:, left:right] = True
    return covered


def result(covered, label="cat", origin=None):
    control = Control("tag", "brushlabels", ())
    found = list(Drawing(covered).regions(control, label, score=0.5, image_tag="image"))
    return [{**region, "origin": origin} if origin else region for region in found]


def fill(studio):
    """Eight tasks: 1 accepted, 2 edited, 3 relabelled, 4 erased, 5 only drawn, 6 neither, 7 skipped, 8 unlabelled."""
    data = [{"image": data_uri(png(WIDTH, HEIGHT)), "text": HOSTILE} for _ in range(8)]
    studio.add_tasks(7, data)
    six = result(mask(0, 6))
    for number in range(1, 9):
        predicted = [] if number in (5, 6) else six
        studio.store(number, {"model_version": "refam-a", "score": 0.5, "result": predicted})
    note = {
        "type": "textarea",
        "from_name": "prompt",
        "to_name": "image",
        "value": {"text": ["it"]},
        "origin": "manual",
    }
    submitted = {
        1: [*result(mask(0, 6), origin="prediction"), note],
        2: result(mask(0, 3), origin="prediction-changed"),
        3: result(mask(0, 6), "dog", origin="prediction-changed"),
        4: [],
        5: result(mask(0, 6), origin="manual"),
        6: [],
        7: six,
    }
    for number, content in submitted.items():
        annotation = {"id": number, "result": content, "was_cancelled": number == 7, "parent_prediction": number}
        studio.annotations[number] = [annotation]


def run(*arguments):
    return CliRunner().invoke(app, ["report", *arguments])


def test_what_is_counted_and_written(studio, settings, tmp_path):
    fill(studio)
    answer = run("7", "--folder", str(tmp_path))
    assert answer.exit_code == 0, answer.output
    assert "17% unchanged" in answer.output
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["submitted_tasks"], found["without_prediction"], found["unreadable_tasks"]) == (6, 0, [])
    assert found["versions"] == {
        "refam-a": {
            "comparisons": 6,
            "accepted_unchanged": 0.1667,
            "no_mask_on_either_side": 0.1667,
            "labels": {
                "cat": {
                    "compared": 5,
                    "mean_iou": 0.3,
                    "mean_iou_where_both": 0.75,
                    "median_iou_where_both": 0.75,
                    "only_predicted": 2,
                    "only_submitted": 1,
                },
                "dog": {
                    "compared": 1,
                    "mean_iou": 0.0,
                    "mean_iou_where_both": None,
                    "median_iou_where_both": None,
                    "only_predicted": 0,
                    "only_submitted": 1,
                },
            },
        }
    }
    assert [case["iou"] for case in found["worst"]] == [0, 0, 0, 0, 0.5]
    assert {case["task"] for case in found["worst"]} == {2, 3, 4, 5}
    for case in found["worst"]:
        assert (tmp_path / case["picture"]).read_bytes().startswith(b"\xff\xd8")
        assert case["address"] == f"{studio.url}/projects/7/data?task={case['task']}"


def test_the_page_holds_everything_and_runs_nothing(studio, settings, tmp_path):
    fill(studio)
    studio.configs[7] = CONFIG
    assert run("7", "--folder", str(tmp_path), "--worst", "3").exit_code == 0
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:image/jpeg|http://127)""", page)
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 3
    assert base64.b64decode(pictures[0]).startswith(b"\xff\xd8")
    assert "<script" not in text
    assert r"\| \*\*x\*\*" in text
    assert len(re.findall(r"!\[task \d\]\(worst/task_\d_\d\.jpg\)", text)) == 3


def test_model_versions_stand_apart_and_a_version_is_accepted_only_where_it_was_taken(studio, settings, tmp_path):
    studio.add_tasks(7, [{"image": data_uri(png(WIDTH, HEIGHT)), "text": "it"}])
    for version in ("old", "new"):
        studio.store(1, {"model_version": version, "score": 0.5, "result": result(mask(0, 6))})
    accepted = {"id": 1, "parent_prediction": 2, "result": result(mask(0, 6), origin="prediction")}
    studio.annotations[1] = [accepted]
    run("7", "--folder", str(tmp_path))
    found = json.loads((tmp_path / "report.json").read_text())["versions"]
    assert {version: tally["accepted_unchanged"] for version, tally in found.items()} == {"old": 0, "new": 1}
    assert {tally["labels"]["cat"]["mean_iou"] for tally in found.values()} == {1}


def test_unreadable_ones_are_listed_and_missing_images_are_no_obstacle(studio, settings, tmp_path):
    fill(studio)
    studio.annotations[1][0]["result"][0]["value"]["rle"] = [1, 2, 3]
    studio.annotations[3][0]["result"][0] |= {"original_width": HEIGHT, "original_height": WIDTH}
    for number in studio.tasks:
        studio.tasks[number]["data"]["image"] = "http://127.0.0.1:1/secret.png"
    assert run("7", "--folder", str(tmp_path)).exit_code == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["unreadable_tasks"] == ["1", "3"]
    assert all("private address" in case["image_problem"] for case in found["worst"])


def test_nothing_to_compare_is_said(studio, settings, tmp_path):
    studio.add_tasks(7, [{"image": "a", "text": "b"}])
    answer = run("7", "--folder", str(tmp_path / "none"))
    assert answer.exit_code == 1
    assert "Nobody has submitted an annotation in project 7 yet" in answer.output
    studio.annotations[1] = [{"id": 1, "result": []}]
    answer = run("7", "--folder", str(tmp_path / "none"))
    assert answer.exit_code == 1
    assert "refam-backend prelabel 7" in answer.output
    assert not (tmp_path / "none").exists()


def test_what_is_missing_is_said(studio, settings, environment):
    assert "no project 9" in run("9").output
    environment.delenv("LABEL_STUDIO_API_KEY")
    assert "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in run("7").output


def test_memory_does_not_grow_with_the_project():
    side = 400
    predicted = np.zeros((side, side), bool)
    predicted[:100] = True
    comparison = Comparison(worst=3, max_pixels=side * side)

    def add(number):
        submitted = np.zeros((side, side), bool)
        submitted[: 99 - number % 50] = True
        content = [{"result": result(covered, origin="manual")} for covered in (predicted, submitted)]
        comparison.add({"id": number}, [{"id": 1, "model_version": "v", **content[0]}], [{"id": 1, **content[1]}])

    for number in range(10):
        add(number)
    tracemalloc.start()
    for number in range(10, 30):
        add(number)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(comparison.cases) == 3
    assert kept < 3 * 2 * side * side / 8 + 100_000  # the packed masks of the worst, where 20 masks take 3.2 MB


def test_label_studio_may_fail_for_a_moment(studio, settings, tmp_path):
    fill(studio)
    failing = iter([True, False] * 100)
    studio.fault = lambda method, path: (502, None) if next(failing) else None
    timings = Timings(patience=(0, 0))
    assert report(settings, "7", tmp_path, 0, Console(quiet=True), timings=timings) == 0
    assert json.loads((tmp_path / "report.json").read_text())["submitted_tasks"] == 6


def test_label_studio_that_stays_away_ends_it(studio, settings, tmp_path):
    studio.fault = lambda *_: (502, None)
    with pytest.raises(TemporaryError):
        report(settings, "7", tmp_path, 0, Console(quiet=True), timings=Timings(patience=(0, 0)))
    assert [method for method, _ in studio.requests].count("GET") == 3

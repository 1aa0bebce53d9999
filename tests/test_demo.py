"""The main job as README's first command runs it, with fewer tasks."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = pytest.mark.process

TASKS = 6


def test_the_demonstration_paints_every_task_and_stops_everything(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REFAM", "REDIS"))}
    command = [sys.executable, "-m", "backend", "demo", "--folder", str(tmp_path), "--tasks", str(TASKS)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {
        "tasks", "predicted", "failed", "mean_iou", "pointing_accuracy", "seconds", "model_version",
    }  # fmt: skip
    assert (report["tasks"], report["predicted"], report["failed"]) == (TASKS, TASKS, 0)
    assert report["mean_iou"] > 0.4
    assert report["model_version"].startswith("refam-tiny-")
    overlays = sorted(path.name for path in (tmp_path / "overlays").iterdir())
    assert overlays == [*(f"{number + 1:03}.png" for number in range(TASKS)), "contact_sheet.png"]
    with Image.open(tmp_path / "overlays" / "contact_sheet.png") as sheet:
        assert sheet.width > 1000
    log = (tmp_path / "backend.log").read_text()
    assert "stopped" in log.splitlines()[-1]
    assert "Traceback" not in log

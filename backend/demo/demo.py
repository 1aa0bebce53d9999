"""`refam-backend demo`: the whole product on the sample project, over HTTP as Label Studio speaks it.

Starts `refam-backend up` with a private Redis, sends the tasks, asks again until every mask is there, and writes
`report.json`, an overlay for each task and a contact sheet.
"""

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from backend.demo.programs import backend_running
from backend.demo.sample import SampleTask, write_sample
from backend.errors import ProgramError
from backend.label_studio.mask_decoding import masks_by_label
from backend.settings import Settings
from refam.evaluate import intersection_over_union
from refam.figures import overlay, save
from refam.pipeline import Grounding, RefAM

__all__ = ["run"]

LABEL_CONFIG = Path(__file__).with_name("label_config.xml")
TOTAL_SECONDS = 600
ASK_AGAIN = 0.5  # seconds between two retrieves
SHEET_COLUMNS, SHEET_WIDTH = 3, 520  # pixels of one overlay on the contact sheet


@dataclass(frozen=True)
class Result:
    """A task with the mask it got, and where the model pointed."""

    task: SampleTask
    mask: NDArray[np.bool_]
    score: float
    grounding: Grounding

    @property
    def iou(self) -> float:
        return intersection_over_union(self.mask, self.task.mask)

    @property
    def pointed(self) -> bool:
        point = self.grounding.points[0]
        return bool(self.task.mask[int(point.y), int(point.x)])


def run(settings: Settings, folder: Path, count: int) -> int:
    """Run the demonstration with `count` tasks, results go to `folder`. Returns the exit code: 0 if all got a mask."""
    console, start = Console(), time.monotonic()
    tasks = write_sample(folder / "sample", count)
    console.print(f"sample project: {count} pictures with texts in {folder / 'sample'}")
    with _served(folder / "sample") as pictures, tempfile.TemporaryDirectory(prefix="refam-demo-") as state:
        variables = {"REFAM_BACKEND_STATE_DIR": state, "REFAM_BACKEND_IMAGE_HOSTS": pictures}
        with backend_running(variables, folder / "backend.log") as address:
            console.print(f"backend: web server, worker and Redis run at {address}")
            version, predictions, errors = _label(address, pictures, tasks, console)
    seconds = time.monotonic() - start
    results = _explain(settings, tasks, predictions, console)
    _write_pictures(folder / "overlays", results)
    report = {
        "tasks": len(tasks),
        "predicted": len(results),
        "failed": len(tasks) - len(results),
        "mean_iou": round(float(np.mean([r.iou for r in results])), 4) if results else None,
        "pointing_accuracy": round(float(np.mean([r.pointed for r in results])), 4) if results else None,
        "seconds": round(seconds, 1),
        "model_version": version,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    console.print(_table(results))
    for error in errors:
        console.print(f"task {error['task']} failed: {error['field']}: {error['message']} {error['remedy']}")
    console.print(report)
    console.print(f"pictures: {folder / 'overlays' / 'contact_sheet.png'}")
    return 0 if len(results) == len(tasks) else 1


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder's files on loopback; yields host:port."""
    handler = partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _label(
    address: str, pictures: str, tasks: Sequence[SampleTask], console: Console
) -> tuple[str, dict[int, dict[str, Any]], list[dict[str, str]]]:
    """Do what "Retrieve predictions" does, until no task is left without a prediction or a reason.

    Returns the model version, the predictions by task id, and the errors.
    """
    config = LABEL_CONFIG.read_text()
    predictions: dict[int, dict[str, Any]] = {}
    errors: dict[str, dict[str, str]] = {}
    with httpx.Client(base_url=address, timeout=100) as label_studio, Progress(console=console) as progress:
        setup = {"project": "1.1", "schema": config, "hostname": "", "access_token": "", "extra_params": None}
        version = label_studio.post("/setup", json=setup).raise_for_status().json()["model_version"]
        bar = progress.add_task("masks painted", total=len(tasks))
        deadline = time.monotonic() + TOTAL_SECONDS
        while open_tasks := [t for t in tasks if t.id not in predictions and str(t.id) not in errors]:
            if time.monotonic() > deadline:
                raise ProgramError(f"{len(open_tasks)} masks are still missing after {TOTAL_SECONDS} s.")
            body = {
                "tasks": [_as_label_studio_sends(task, pictures) for task in open_tasks],
                "project": "1.1",
                "label_config": config,
                "params": {"login": None, "password": None, "context": None},
            }
            answer = label_studio.post("/predict", json=body).raise_for_status().json()
            for task, prediction in zip(open_tasks, answer["results"], strict=True):
                if prediction:
                    predictions[task.id] = prediction
            errors |= {error["task"]: error for error in answer.get("errors", []) if "task" in error}
            progress.update(bar, completed=len(predictions))
            if len(predictions) + len(errors) < len(tasks):
                time.sleep(ASK_AGAIN)
    return version, predictions, list(errors.values())


def _as_label_studio_sends(task: SampleTask, pictures: str) -> dict[str, Any]:
    return {
        "id": task.id,
        "data": {"image": f"http://{pictures}/{task.picture.name}", "text": task.text},
        "meta": {},
        "is_labeled": False,
        "overlap": 1,
        "inner_id": task.id,
        "total_annotations": 0,
        "total_predictions": 0,
        "project": 1,
        "annotations": [],
        "predictions": [],
    }


def _explain(
    settings: Settings, tasks: Sequence[SampleTask], predictions: dict[int, dict[str, Any]], console: Console
) -> list[Result]:
    """Decode the masks, and ground the texts once more in this process to show where the model pointed."""
    refam = RefAM.from_config(settings.refam)
    results = []
    with Progress(console=console) as progress:
        for task in progress.track([t for t in tasks if t.id in predictions], description="pictures drawn"):
            prediction = predictions[task.id]
            (mask,) = masks_by_label(prediction["result"], task.mask.size).values()
            results.append(Result(task, mask, float(prediction["score"]), refam.ground(task.image, task.text)))
    return results


def _write_pictures(folder: Path, results: Sequence[Result]) -> None:
    """An overlay for each result, and all of them on one contact sheet."""
    for old in folder.glob("*.png"):
        old.unlink()
    pictures = []
    for result in results:
        path = folder / f"{result.task.id:03}.png"
        save(overlay(result.task.image, result.task.text, result.grounding, result.mask, result.score), path)
        pictures.append(Image.open(path).convert("RGB"))
    if not pictures:
        return
    height = SHEET_WIDTH * pictures[0].height // pictures[0].width
    rows = -(-len(pictures) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * SHEET_WIDTH, rows * height), "white")
    for number, picture in enumerate(pictures):
        place = number % SHEET_COLUMNS * SHEET_WIDTH, number // SHEET_COLUMNS * height
        sheet.paste(picture.resize((SHEET_WIDTH, height), Image.Resampling.LANCZOS), place)
    sheet.save(folder / "contact_sheet.png")


def _table(results: Sequence[Result]) -> Table:
    table = Table("task", "text", "kind", "pointed right", "IoU", "score")
    for r in results:
        table.add_row(
            str(r.task.id), r.task.text, r.task.kind, "yes" if r.pointed else "no", f"{r.iou:.2f}", f"{r.score:.2f}"
        )
    return table

"""`refam-backend report`: how well predictions agree with what annotators submitted.

One task is held at a time, and of the worst cases only packed masks, so memory does not grow with the project.
"""

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from backend.commands.report.comparison import Case, Comparison
from backend.commands.report.pages import WIDTH, draw, write_pages
from backend.errors import TaskError, TemporaryError
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.label_studio.data_paths import look_up
from backend.label_studio.label_config import LabelConfig, read_label_config
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["report"]


def report(
    settings: Settings, project: str, folder: Path, worst: int, console: Console, *, timings: Timings | None = None
) -> int:
    """Write report.md, report.json, report.html and the pictures of the `worst` cases.

    timings: the ordinary ones if absent.
    Returns the exit code: 1 if there is nothing to compare.

    Raises SettingsError without Label Studio's address and token, and what Studio raises.
    """
    settings.require_label_studio("to read predictions and annotations")
    studio = Studio(settings, patience=(timings or Timings()).patience)
    about = studio.project(project)
    found = Comparison(worst, settings.image_max_pixels)
    tasks = track(
        chain.from_iterable(studio.pages(project)), "tasks", about["task_number"], console=console, transient=True
    )
    for task in tasks:
        if task.get("total_annotations"):
            annotations = [entry for entry in studio.annotations(str(task["id"])) if not entry.get("was_cancelled")]
            if annotations:
                found.add(_slim(task), studio.predictions(str(task["id"])), annotations)
    if not found.versions:
        console.print(f"[yellow]{_nothing(project, found)}[/]", soft_wrap=True)
        return 1
    config, loader = read_label_config(about["label_config"]), ImageLoader(settings, studio, side=WIDTH)
    cases = [_show(case, config, loader, settings, folder) for case in sorted(found.cases, reverse=True)]
    content: dict[str, Any] = {
        "project": project,
        "title": about.get("title") or "",
        "submitted_tasks": found.submitted,
        "without_prediction": found.unpredicted,
        "unreadable_tasks": found.unreadable,
        "versions": {version: tally.as_json() for version, tally in sorted(found.versions.items())},
        "worst": cases,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    write_pages(content, folder)
    for version, tally in content["versions"].items():
        console.print(
            f"{escape(version)}: {tally['comparisons']} compared, {tally['accepted_unchanged']:.0%} unchanged, "
            + ", ".join(f"{escape(label)} IoU {entry['mean_iou']:.2f}" for label, entry in tally["labels"].items()),
            soft_wrap=True,
            highlight=False,
        )
    console.print(f"Written: {folder / 'report.html'}, report.md, report.json", soft_wrap=True, highlight=False)
    return 0


def _slim(task: Mapping[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("id", "project", "data")}


def _nothing(project: str, found: Comparison) -> str:
    if not found.submitted:
        return f"Nobody has submitted an annotation in project {project} yet. Label and submit a few tasks first."
    return (
        f"None of the {found.submitted} submitted tasks of project {project} has a prediction that can be compared. "
        f"Run `refam-backend prelabel {project}` first."
    )


def _show(case: Case, config: LabelConfig, loader: ImageLoader, settings: Settings, folder: Path) -> dict[str, Any]:
    """Draw a case; returns what the pages tell about it."""
    data, number = case.task["data"], case.task["id"]
    picture = problem = None
    try:
        found = look_up(data, config.image_path)
        reference = found if case.page is None else found[case.page]
        picture = loader.load(str(reference), config.image_path, str(number))
    except (TaskError, TemporaryError, LookupError, TypeError) as error:
        problem = str(error)
    drawing = f"worst/task_{number}_{case.number}.jpg"
    draw(picture, *case.masks(), folder / drawing)
    return {
        "task": number,
        "version": case.version,
        "label": case.label,
        "iou": round(case.iou, 4),
        "text": str(look_up(data, config.text_path(settings.text_field) or "text") or "")[:500],
        "address": f"{settings.label_studio_url}/projects/{case.task['project']}/data?task={number}",
        "picture": drawing,
        "image_problem": problem,
    }

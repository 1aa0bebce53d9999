"""`refam-backend report`: how well predictions agree with what annotators submitted.

One task is held at a time, and of the worst cases only packed masks, so memory does not grow with the project.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from backend.commands.report.comparison import Case, Comparison
from backend.commands.report.pages import draw, write_pages
from backend.errors import SettingsError, TaskError, TemporaryError
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.label_studio.label_config import Layout, read_label_config
from backend.settings import Settings

__all__ = ["report"]


def report(settings: Settings, project: str, folder: Path, worst: int, console: Console) -> int:
    """Write report.md, report.json, report.html and the pictures of the `worst` cases.

    Returns the exit code: 1 if there is nothing to compare.

    Raises SettingsError without Label Studio's address and token, and what Studio raises.
    """
    if not settings.writes_back:
        raise SettingsError("Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, to read predictions and annotations.")
    studio = Studio(settings)
    about = studio.project(project)
    found = Comparison(worst, settings.image_max_pixels)
    tasks = track(_tasks(studio, project), "tasks", about["task_number"], console=console, transient=True)
    for task in tasks:
        if task.get("total_annotations"):
            annotations = [entry for entry in studio.annotations(str(task["id"])) if not entry.get("was_cancelled")]
            if annotations:
                found.add(_slim(task), studio.predictions(str(task["id"])), annotations)
    if not found.versions:
        console.print(f"[yellow]{_nothing(project, found)}[/]", soft_wrap=True)
        return 1
    layout, loader = read_label_config(about["label_config"]), ImageLoader(settings, studio)
    cases = [_show(case, layout, loader, settings, folder) for case in sorted(found.cases, reverse=True)]
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


def _tasks(studio: Studio, project: str) -> Iterator[dict[str, Any]]:
    for page in count(1):
        tasks = studio.tasks(project, page)
        if not tasks:
            return
        yield from tasks


def _slim(task: Mapping[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("id", "project", "data")}


def _nothing(project: str, found: Comparison) -> str:
    if not found.submitted:
        return f"Nobody has submitted an annotation in project {project} yet. Label and submit a few tasks first."
    return (
        f"None of the {found.submitted} submitted tasks of project {project} has a prediction that can be compared. "
        f"Run `refam-backend prelabel {project}` first."
    )


def _show(case: Case, layout: Layout, loader: ImageLoader, settings: Settings, folder: Path) -> dict[str, Any]:
    """Draw a case; returns what the pages tell about it."""
    data, number = case.task["data"], case.task["id"]
    image = problem = None
    try:
        image = loader.load(str(data.get(layout.image_field)), layout.image_field)
    except (TaskError, TemporaryError) as error:
        problem = str(error)
    picture = f"worst/task_{number}_{case.number}.jpg"
    draw(image, *case.masks(), folder / picture)
    return {
        "task": number,
        "version": case.version,
        "label": case.label,
        "iou": round(case.iou, 4),
        "text": str(data.get(settings.text_field or layout.text_field or "text", ""))[:500],
        "address": f"{settings.label_studio_url}/projects/{case.task['project']}/data?task={number}",
        "picture": picture,
        "image_problem": problem,
    }

"""`refam-backend prelabel --dry-run`: what a few tasks would get. Loads the model, and torch with it."""

from itertools import count, islice
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from backend.commands.selection import Selection
from backend.errors import TaskError, TemporaryError
from backend.images.loader import ImageLoader
from backend.label_studio.client import Studio
from backend.label_studio.label_config import read_label_config
from backend.label_studio.task_reading import read_task
from backend.settings import Settings
from backend.timings import Timings
from refam.errors import ExpressionError
from refam.figures import overlay, save
from refam.pipeline import RefAM

__all__ = ["preview"]

PREVIEWED = 4  # tasks, without a limit


def preview(settings: Settings, selection: Selection, console: Console, folder: Path, *, min_score: float = 0.0) -> int:
    """Segment a few tasks in this process and write pictures; nothing is queued or stored. Returns the exit code: 0 if
    none failed.

    min_score: below it, nothing counts as found.

    Raises SettingsError without Label Studio's address and token, and what Studio raises.
    """
    settings.require_label_studio("to read tasks")
    studio = Studio(settings, patience=Timings().patience)
    config = read_label_config(studio.project(selection.project)["label_config"])
    refam, loader = RefAM.from_config(settings.refam), ImageLoader(settings, studio)
    failed = 0
    tasks = (task for task in selection.tasks(studio) if not selection.excludes(task))
    for task in islice(tasks, selection.limit or PREVIEWED):
        try:
            request = read_task(task, config, settings, selection.project)
            if request is None:
                console.print(f"task {task['id']}: asks for nothing")
                continue
            number = count(1)
            for page in request.pages:
                picture = loader.load(page.image, request.image_field, request.task)
                texts = [expression.text for expression in page.expressions]
                found = (
                    refam.segment_names(picture, texts)
                    if request.looks_for_labels
                    else (refam.segment(picture, text) for text in texts)
                )
                for text, each in zip(texts, found, strict=True):
                    path = folder / f"task_{task['id']}_{next(number)}.png"
                    save(overlay(picture.pixels, text, each.grounding, each.mask, each.score), path)
                    verdict = "" if each.score >= min_score else f" nothing found (score {each.score:.2f})"
                    console.print(f"task {task['id']}: {escape(text)} -> {path}{verdict}")
        except (TaskError, TemporaryError, ExpressionError) as error:
            failed += 1
            console.print(f"[red]task {task['id']}: {escape(str(error))}[/]")
    return int(failed > 0)

"""`refam-backend import`: pictures from disk, with their texts, into a project.

Label Studio takes no bare pictures where the label config needs a text, too. So each picture is uploaded, and a task is
made that names it and its text. The task's `meta` holds the picture's name on disk: run again, the command goes on with
what is not there yet.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from backend.errors import RefusedError, TaskError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig, read_label_config
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["import_pictures"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".tif", ".tiff")
FILE = "file"  # column of a table that names a picture, and what a task's meta calls it
BATCH = 50  # tasks made at once
LISTED = 10  # names in a message
REMOTE = ("http://", "https://", "s3://", "gs://", "azure-blob://", "data:", "/data/")


@dataclass(frozen=True)
class Entry:
    """A picture and what a task's data holds beside it. name: what tells it from the others, on disk or remote."""

    name: str
    path: Path | None
    data: Mapping[str, Any]


def import_pictures(
    settings: Settings,
    project: str,
    source: Path,
    text: str | None,
    console: Console,
    *,
    timings: Timings | None = None,
) -> int:
    """Upload pictures and make their tasks, each once. Returns the exit code: 0 if all are there.

    source: a folder, or a table in CSV or JSON with a column `file`.
    text: for all pictures that bring none.
    Raises SettingsError without Label Studio's address and token, TaskError if the source cannot be used, and what
    Studio raises.
    """
    settings.require_label_studio("to import pictures")
    studio = Studio(settings, patience=(timings or Timings()).patience)
    config = read_label_config(studio.project(project)["label_config"])
    image, text_field = _fields(config, settings)
    entries = list(_folder(source, text_field) if source.is_dir() else _table(source, image))
    wanted = [_with_text(entry, text, text_field) for entry in entries]
    _check(wanted, None if settings.labels_as_prompts else text_field, source)
    there = {task["meta"].get(FILE) for page in studio.pages(project) for task in page if task.get("meta")}
    left = [entry for entry in wanted if entry.name not in there]
    made, progress = 0, iter(track(left, "pictures", console=console, transient=True))
    while batch := list(islice(progress, BATCH)):
        tasks = [
            {"data": {**entry.data, image: address}, "meta": {FILE: entry.name}}
            for entry in batch
            if (address := _address(studio, project, entry, console))
        ]
        if tasks:
            studio.import_tasks(project, tasks)
        made += len(tasks)
    failed, there_already = len(left) - made, len(wanted) - len(left)
    console.print(f"made {made}, there already {there_already}, failed {failed}", highlight=False)
    return int(failed > 0)


def _fields(config: LabelConfig, settings: Settings) -> tuple[str, str | None]:
    """The fields of a task's data that hold its image and text."""
    image, text = config.image_path, config.text_path(settings.text_field)
    for field in filter(None, (image, text)):
        if config.list_of_images or not field.replace("_", "a").replace("-", "a").isalnum():
            remedy = "Import tasks from JSON in Label Studio instead, with pictures in a storage."
            raise TaskError(field, "pictures can only be imported where one field holds one image.", remedy)
    return image, text


def _folder(folder: Path, text_field: str | None) -> Iterator[Entry]:
    """All pictures in a folder and those below it. The text of picture.png stands in picture.txt."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES):
        beside = path.with_suffix(".txt")
        data = {text_field: _read(beside).strip()} if text_field and beside.is_file() else {}
        yield Entry(path.relative_to(folder).as_posix(), path, data)


def _table(source: Path, image: str) -> Iterator[Entry]:
    """The rows of a table. The column `file`, or the image's own, names a picture, from the table's folder on."""
    for number, row in enumerate(_rows(source), 1):
        name = row.get(FILE) or row.get(image)
        if not isinstance(name, str) or not name.strip():
            message = f"row {number} names no picture."
            raise TaskError(source.name, message, f"Write the picture's name into a column {FILE!r}.")
        remote = name.lower().startswith(REMOTE)
        data = {column: value for column, value in row.items() if column != FILE and value not in (None, "")}
        yield Entry(name, None if remote else source.parent / name, data)


def _rows(source: Path) -> Iterable[Mapping[str, Any]]:
    content = _read(source)
    if source.suffix.lower() != ".json":
        return csv.DictReader(content.splitlines(), dialect=_dialect(content))
    try:
        found = json.loads(content)
    except ValueError as error:
        raise TaskError(source.name, f"it is no JSON ({error}).", "Correct it.") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise TaskError(source.name, "it is no list of objects.", 'Write [{"file": "a.png", "text": "the left mug"}].')
    return [row["data"] if isinstance(row.get("data"), dict) else row for row in found]


def _dialect(content: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(content.partition("\n")[0], ",;\t")
    except csv.Error:  # a single column
        return csv.excel


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise TaskError(str(path), "there is no such file or folder.", "Correct its name.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(str(path), f"it cannot be read as UTF-8 text ({error}).", "Save it as UTF-8.") from None


def _with_text(entry: Entry, text: str | None, field: str | None) -> Entry:
    if field is None or text is None or entry.data.get(field):
        return entry
    return Entry(entry.name, entry.path, {**entry.data, field: text})


def _check(entries: Sequence[Entry], text_field: str | None, source: Path) -> None:
    """Before anything is uploaded. text_field: which each must have, if any."""
    if not entries:
        raise TaskError(str(source), "there are no pictures.", f"Formats: {', '.join(PICTURES)}.")
    _refuse(
        [entry.name for entry in entries if entry.path and not entry.path.is_file()], "do not exist", "Correct them."
    )
    names = [entry.name for entry in entries]
    _refuse(
        [name for name in dict.fromkeys(names) if names.count(name) > 1][:1], "stand in two rows", "Name each once."
    )
    if text_field is not None:
        remedy = "Write it into a .txt file beside the picture or a column of the table, or give one --text for all."
        _refuse([entry.name for entry in entries if not entry.data.get(text_field)], f"have no {text_field}", remedy)


def _refuse(names: Sequence[str], what: str, remedy: str) -> None:
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        raise TaskError("pictures", f"{', '.join(names[:LISTED])}{more} {what}.", remedy)


def _address(studio: Studio, project: str, entry: Entry, console: Console) -> str | None:
    """Where a picture lies, once it is uploaded; None if Label Studio refuses it, which does not hinder the others."""
    if entry.path is None:
        return entry.name
    content = entry.path.read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()[:12]}{entry.path.suffix.lower()}"
    try:
        return studio.upload(project, name, content)
    except RefusedError as error:
        console.print(f"{entry.name}: {error}", style="red", markup=False)
        return None

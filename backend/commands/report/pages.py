"""The report's pictures, its HTML page and its Markdown."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refam.picture import Picture
from refam.tint import tinted

__all__ = ["WIDTH", "draw", "write_pages"]

WIDTH = 320  # pixels of one panel
GAP = 6
GREY = 0.5  # brightness of the image below the difference
MASK, BOTH, ONLY_PREDICTED, ONLY_SUBMITTED = (0, 191, 255), (255, 255, 255), (230, 60, 40), (40, 190, 90)
OPACITY = 0.6


def draw(image: Picture | None, predicted: NDArray[np.bool_], submitted: NDArray[np.bool_], path: Path) -> None:
    """Write a picture of four panels: image, prediction, annotation, difference.

    image: None where it cannot be loaded.
    predicted, submitted: masks, bool [H, W].
    """
    height, width = predicted.shape
    size = WIDTH, max(1, round(WIDTH * height / width))
    base = image.resized(size, Image.Resampling.BILINEAR) if image else Image.new("RGB", size, "gray")
    picture = np.asarray(base, np.float32)  # [h, w, 3]
    ours, theirs = (_shrink(mask, size) for mask in (predicted, submitted))
    dark = GREY * picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    difference = tinted(tinted(dark, ours & theirs, BOTH, OPACITY), ours & ~theirs, ONLY_PREDICTED, OPACITY)
    difference = tinted(difference, theirs & ~ours, ONLY_SUBMITTED, OPACITY)
    panels = [picture, tinted(picture, ours, MASK, OPACITY), tinted(picture, theirs, MASK, OPACITY), difference]
    sheet = Image.new("RGB", (len(panels) * (size[0] + GAP) - GAP, size[1]), "white")
    for number, panel in enumerate(panels):
        sheet.paste(Image.fromarray(panel.astype(np.uint8)), (number * (size[0] + GAP), 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85)


def write_pages(content: Mapping[str, Any], folder: Path) -> None:
    """Write report.html, which holds its pictures, and report.md, which shows those in the folder.

    content: what report.json holds.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = _percent
    environment.filters["figure"] = _figure
    environment.globals["picture"] = lambda name: _data_uri(folder / name)
    (folder / "report.html").write_text(environment.get_template("report.html").render(content))
    (folder / "report.md").write_text(_markdown(content))


def _markdown(content: Mapping[str, Any]) -> str:
    lines = [
        f"# Predictions and annotations of project {content['project']}",
        "",
        f"Submitted tasks: {content['submitted_tasks']}, without a prediction: {content['without_prediction']}, "
        f"unreadable: {len(content['unreadable_tasks'])}.",
        "",
        "| model version | compared | accepted unchanged | no mask on either side |",
        "|---|---|---|---|",
    ]
    for version, tally in content["versions"].items():
        shares = _percent(tally["accepted_unchanged"]), _percent(tally["no_mask_on_either_side"])
        lines.append(_row(version, tally["comparisons"], *shares))
    lines += [
        "",
        "| model version | label | cases | mean IoU | where both | median | only predicted | only submitted |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for version, tally in content["versions"].items():
        for label, entry in tally["labels"].items():
            ious = [_figure(entry[name]) for name in ("mean_iou", "mean_iou_where_both", "median_iou_where_both")]
            lines.append(
                _row(version, label, entry["compared"], *ious, entry["only_predicted"], entry["only_submitted"])
            )
    lines += ["", "## Worst cases", "", "From left: image, prediction, annotation, difference."]
    for case in content["worst"]:
        text = f"Task {case['task']}, {_plain(case['label'])}, IoU {_figure(case['iou'])}: {_plain(case['text'])}"
        lines += ["", text, "", f"![task {case['task']}]({case['picture']})"]
    return "\n".join(lines) + "\n"


def _row(*cells: object) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: object) -> str:
    """Text without the characters that Markdown or HTML take for something else."""
    escaped = html.escape(" ".join(str(text).split()), quote=False)
    return "".join(f"\\{char}" if char in "\\`*_[]|!" else char for char in escaped)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _shrink(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR)) > 127


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()

"""The command `refam`: segment an image, explain a result, evaluate, train the embedded model."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table

from refam.config import RefAMConfig
from refam.errors import RefAMError
from refam.language.description import describe
from refam.tiny import NOTICE, SWITCH

if TYPE_CHECKING:
    from refam.pipeline import RefAM

# Models are imported within the commands: `refam --help` must not wait for torch. Options are a command's arguments.
# ruff: noqa: PLC0415, PLR0917

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="From a referring expression to a mask.")
evaluate = typer.Typer(no_args_is_help=True, help="Measure pointing and masks.")
app.add_typer(evaluate, name="evaluate")
console = Console()
errors = Console(stderr=True)

ImageFile = Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")]
Text = Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, such as 'the zebra on the left'.")]
Model = Annotated[str | None, typer.Option(help="Instead of REFAM_MODEL: tiny, a hub id, or a diffusers folder.")]
Sam = Annotated[
    str | None, typer.Option(help="Instead of REFAM_SAM: tiny, none, vit_b, vit_l, vit_h, or a checkpoint.")
]
TinyPart = Literal["vae", "sam", "transformer"]
Device = Annotated[str | None, typer.Option(help="Instead of REFAM_DEVICE: auto, cpu, cuda or cuda:N.")]


@app.command()
def segment(
    image: ImageFile,
    text: Text,
    output: Annotated[Path, typer.Option(help="PNG for the mask, 255 on the target.")] = Path("mask.png"),
    overlay: Annotated[Path | None, typer.Option(help="PNG for input, heatmap, points and mask side by side.")] = None,
    model: Model = None,
    sam: Sam = None,
    device: Device = None,
) -> None:
    """Write the mask of what TEXT refers to in IMAGE. Every setting is read from REFAM_* variables."""
    with _reported():
        picture, refam = _open(image), _load(model, sam, device)
        if refam.config.is_demonstration:
            typer.echo(f"{NOTICE} {SWITCH}", err=True)
        result = refam.segment(picture, text)
        output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(result.mask.astype("uint8") * 255).save(output)
        if overlay is not None:
            from refam import figures

            figures.save(figures.overlay(picture, text, result.grounding, result.mask, result.score), overlay)
    for warning in result.warnings:
        typer.echo(f"Note: {warning}", err=True)
    point = result.grounding.points[0] if result.grounding else None
    _print_facts(
        {
            "read as": describe(result.text.phrase),
            "mask": output,
            **({"overlay": overlay} if overlay else {}),
            "score": f"{result.score:.3f}",
            "area": f"{result.mask.mean():.1%}",
            **({"point": f"({point.x:.0f}, {point.y:.0f})"} if point else {}),
            "model": refam.config.model_version(),
        }
    )


@app.command()
def explain(
    image: ImageFile,
    text: Text,
    output: Annotated[Path, typer.Option(help="PNG for the picture.")] = Path("explanation.png"),
    model: Model = None,
    sam: Sam = None,
    device: Device = None,
) -> None:
    """Draw how TEXT leads to a mask in IMAGE: every token's map and role, sinks, heatmaps, points, mask."""
    from refam import figures

    with _reported():
        picture, refam = _open(image), _load(model, sam, device)
        result = refam.segment(picture, text)
        without_magnets = refam.with_settings(magnets="").ground(picture, text)
        grounding = refam.ground(picture, text)
        figures.save(figures.explanation(picture, text, grounding, result, without_magnets), output)
    _print_facts({"picture": output, "score": f"{result.score:.3f}", "model": refam.config.model_version()})


@evaluate.command()
def rendered(
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    ablation: Annotated[bool, typer.Option("--ablation", help="Switch off each part of the method in turn.")] = False,
    pictures: Annotated[Path | None, typer.Option(help="Folder for pictures of the ten worst answers.")] = None,
    model: Model = None,
    sam: Sam = None,
    device: Device = None,
) -> None:
    """Evaluate on rendered scenes that training never saw."""
    from refam import evaluate as evaluation

    with _reported():
        refam = _load(model, sam, device)
        if ablation:
            report = evaluation.ablate(refam, seed, count, progress=_progress)
            rows = report
        else:
            report = evaluation.evaluate_rendered(refam, refam.untrained(seed), seed, count, progress=_progress)
            rows = {"total": report, **report["by_kind"], **report["controls"]}
    console.print(_result_table(rows))
    if "reliability" in report:
        console.print(_reliability_table(report["reliability"]))
        _print_facts({"absent": _absent_line(report["refused_if_absent"])})
    if pictures is not None and not ablation:
        from refam import figures

        samples = evaluation.referrals(seed, count)
        for number in report["worst"]:
            kind, referral = samples[number]
            result = refam.segment(referral.scene.image, referral.expression)
            shown = figures.overlay(
                referral.scene.image, referral.expression, result.grounding, result.mask, result.score
            )
            figures.save(shown, pictures / f"{number:04}_{kind}.png")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=2) + "\n")


@evaluate.command()
def elongated(
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of scenes of each shape.")] = 100,
    model: Model = None,
    sam: Sam = None,
    device: Device = None,
) -> None:
    """Evaluate on rendered scenes much longer than wide, read in squares and squashed to one."""
    from refam.evaluate import evaluate_elongated

    with _reported():
        report = evaluate_elongated(_load(model, sam, device), seed, count, progress=_progress)
    console.print(_result_table(report))


@evaluate.command()
def names(
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 200,
    model: Model = None,
    sam: Sam = None,
    device: Device = None,
) -> None:
    """Evaluate several names looked for at once, as a label config's, on rendered scenes."""
    from refam.evaluate_names import evaluate_names

    with _reported():
        report = evaluate_names(_load(model, sam, device), seed, count, progress=_progress)
    console.print(_names_table(report))


@app.command()
def train_tiny(
    folder: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("build/tiny"),
    seed: Annotated[int, typer.Option(help="Seed of weights and scenes.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="Time for training, in all.")] = 60,
    part: Annotated[TinyPart | None, typer.Option(help="Train this part alone.")] = None,
    go_on: Annotated[bool, typer.Option("--go-on", help="Train what is in the folder further.")] = False,
) -> None:
    """Train the embedded model and its Segment Anything on rendered scenes."""
    from refam.training.train import train

    with _reported():
        train(folder, seed=seed, minutes=minutes, part=part, go_on=go_on)


@app.command()
def calibrate(
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 7,
    count: Annotated[int, typer.Option(min=13, help="Number of scenes.")] = 3900,
) -> None:
    """Fit the score of the embedded model to the chance that a mask is right; prints refam.confidence's constants."""
    from refam.training.calibrate import calibrate as fit

    with _reported():
        _print_facts(fit(_load("tiny", "tiny", None), seed, count, progress=_progress))


def _load(model: str | None, sam: str | None, device: str | None) -> "RefAM":
    from refam.pipeline import RefAM

    given: dict[str, Any] = {"model": model, "sam": sam, "device": device}
    config = replace(
        RefAMConfig.from_environment(os.environ), **{name: value for name, value in given.items() if value is not None}
    )
    return RefAM.from_config(config)


def _open(path: Path) -> Image.Image:
    """The image as its EXIF orientation shows it. Raises RefAMError if it cannot be read."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RefAMError(f"IMAGE {path} cannot be read ({error}); give a picture file such as PNG or JPEG.") from error


@contextmanager
def _reported() -> Iterator[None]:
    """Show an expected error as one message, without a trace."""
    try:
        yield
    except RefAMError as error:
        errors.print(f"[red]Error:[/red] {error}", highlight=False)
        raise typer.Exit(1) from error


def _progress(items: Any) -> Any:
    return track(list(items), description="evaluating", console=errors)


def _print_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        console.print(f"{name:>8}  {value}", highlight=False, soft_wrap=True)


def _result_table(rows: dict[str, Any]) -> Table:
    table = Table("", "count", "pointing", "right", "mean IoU")
    for name, row in rows.items():
        right = f"{row['right']:.3f} ± {row['standard_error']:.3f}"
        table.add_row(name, str(row["count"]), f"{row['pointing_accuracy']:.3f}", right, f"{row['mean_iou']:.3f}")
    return table


def _reliability_table(reliability: dict[str, Any]) -> Table:
    table = Table("score", "right", "count", title=f"reliability: error {reliability['error']:.3f}")
    for each in reliability["bins"]:
        table.add_row(f"{each['score']:.2f}", f"{each['right']:.2f}", str(each["count"]))
    return table


def _names_table(report: dict[str, Any]) -> Table:
    table = Table("", "things", "least score", "precision", "recall")
    for name, row in report.items():
        for at in row["by_least_score"]:
            figures = (f"{at[key]:.3f}" for key in ("precision", "recall"))
            table.add_row(name, str(row["things"]), f"{at['least_score']:.1f}", *figures)
    return table


def _absent_line(refused: dict[str, Any]) -> str:
    share, least = refused["share"], refused["least_score"]
    return f"{share:.1%} have less than {least:.2f}, the score that 95% of the things that are there have at least"

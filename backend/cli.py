"""`refam-backend`: up, serve, worker, import, prelabel, refresh, status, retry, cancel, report, download, doctor .."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape

from backend.errors import BackendError
from backend.settings import Settings, load_settings
from backend.supervisor.lifeline import end_with_parent
from refam.errors import RefAMError

if TYPE_CHECKING:
    from backend.monitoring.control import Control

__all__ = ["app"]

app = typer.Typer(
    help="Label Studio ML backend that paints masks from words. `settings` lists the environment variables it reads.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@app.command()
def up() -> None:
    """Start everything: Redis where REDIS_URL is empty, the web server, and a worker for each device."""
    from backend.supervisor.up import up as run  # noqa: PLC0415  # each command loads only what it needs

    _exit_with(lambda settings: run(settings, typer.echo))


EndWithParent = Annotated[bool, typer.Option("--end-with-parent", hidden=True)]


@app.command()
def serve(
    tied: EndWithParent = False,
    listener: Annotated[int | None, typer.Option(hidden=True, help="Descriptor of a socket that listens.")] = None,
) -> None:
    """Start the web server that Label Studio connects to."""
    from backend.web.app import serve as run  # noqa: PLC0415

    if tied:
        end_with_parent()
    _exit_with(lambda settings: run(settings, listener))


@app.command()
def worker(
    burst: Annotated[bool, typer.Option(help="Stop when the queues are empty.")] = False,
    tied: EndWithParent = False,
) -> None:
    """Start one worker, which loads the model on REFAM_DEVICE and makes the masks."""
    if tied:
        end_with_parent()

    def run(settings: Settings) -> int:
        from backend.queue.connection import connect  # noqa: PLC0415
        from backend.worker.main import work  # noqa: PLC0415

        return work(connect(settings, patient=True), settings, burst=burst)

    _exit_with(run)


@app.command()
def prelabel(  # noqa: PLR0917  # typer makes options of them
    project: Annotated[int, typer.Argument(help="The project's number, as in its address in Label Studio.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Predict that many tasks at most.")] = None,
    only_unlabelled: Annotated[bool, typer.Option(help="Leave out tasks that somebody has annotated.")] = False,
    view: Annotated[
        int | None, typer.Option(help="Only tasks of this tab: `tab=` in the Data Manager's address.")
    ] = None,
    replace: Annotated[
        bool, typer.Option(help="Delete RefAM's older versions' predictions of tasks that nobody has annotated.")
    ] = False,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score, instead of REFAM_BACKEND_MIN_SCORE.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only make pictures of a few tasks, here; store nothing.")] = False,
    pictures: Annotated[Path, typer.Option(help="Folder for the pictures of --dry-run.")] = Path("build/prelabel"),
) -> None:
    """Predict all tasks of a project that lack a prediction, with progress. Stop it at any time, and run it again."""

    def run(settings: Settings) -> int:
        from backend.commands.selection import Selection  # noqa: PLC0415

        selection = Selection(str(project), view=view, limit=limit, only_unlabelled=only_unlabelled)
        if dry_run:
            from backend.commands.preview import preview  # noqa: PLC0415

            least = settings.min_score if min_score is None else min_score
            return preview(settings, selection, Console(), pictures, min_score=least or 0.0)
        from backend.commands.prelabel import prelabel  # noqa: PLC0415

        return prelabel(settings, selection, Console(), replace=replace, min_score=min_score)

    _exit_with(run)


@app.command(name="import")
def import_(
    project: Annotated[int, typer.Argument(help="The project's number, as in its address in Label Studio.")],
    source: Annotated[Path, typer.Argument(help="A folder of pictures, or a CSV or JSON table with a column `file`.")],
    text: Annotated[str | None, typer.Option(help="Text of all pictures that bring none.")] = None,
) -> None:
    """Upload pictures from disk, and make their tasks. Stop it at any time, and run it again: each is made once.

    A picture's text is in the table, or in a .txt file of the same name beside it.
    """

    def run(settings: Settings) -> int:
        from backend.commands.import_pictures import import_pictures  # noqa: PLC0415

        return import_pictures(settings, str(project), source, text, Console())

    _exit_with(run)


@app.command()
def refresh(
    project: Annotated[int, typer.Argument(help="The project's number, as in its address in Label Studio.")],
) -> None:
    """Make masks anew whose task's text, image or labels were changed since, and replace them."""

    def run(settings: Settings) -> int:
        from backend.commands.refresh import refresh  # noqa: PLC0415

        return refresh(settings, str(project), Console())

    _exit_with(run)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show queues, workers, and the tasks that failed, with reasons."""

    def run(settings: Settings) -> None:
        from backend.commands.status import tables  # noqa: PLC0415
        from backend.monitoring.status import collect  # noqa: PLC0415
        from backend.queue.connection import connect  # noqa: PLC0415
        from backend.queue.shared_state import SharedState  # noqa: PLC0415

        state = collect(SharedState.over(connect(settings), settings), settings)
        if as_json:
            typer.echo(json.dumps(state, indent=2))
        else:
            Console().print(*tables(state), sep="\n")

    _exit_with(run)


@app.command()
def retry(
    project: Annotated[int | None, typer.Option(help="Only failed tasks of this project.")] = None,
    task: Annotated[int | None, typer.Option(help="Only this task.")] = None,
) -> None:
    """Do failed tasks again: the workers read them from Label Studio anew."""

    def run(settings: Settings) -> None:
        number = _control(settings).retry(_name(project), _name(task))
        typer.echo(f"{number} failed tasks are read again. `refam-backend status` shows how they get on.")

    _exit_with(run)


@app.command()
def cancel(
    project: Annotated[int, typer.Option(help="The project's number.")],
    task: Annotated[int | None, typer.Option(help="Only this task.")] = None,
) -> None:
    """Cancel waiting tasks of a project: they are listed as failed, and can be retried. What runs is finished."""

    def run(settings: Settings) -> None:
        typer.echo(f"{_control(settings).cancel(str(project), _name(task))} waiting tasks are cancelled.")

    _exit_with(run)


@app.command()
def doctor() -> None:
    """Check torch, the model, Redis and Label Studio, and say what to do where something is wrong."""
    from backend.commands.doctor.examination import examine  # noqa: PLC0415

    console, sick = Console(highlight=False, soft_wrap=True), False
    for finding in examine():
        colour = {"ok": "green", "note": "yellow", "wrong": "red"}[finding.verdict]
        console.print(f"[{colour}]{finding.verdict:6}[/] [bold]{finding.subject}[/]: {escape(finding.message)}")
        if finding.remedy:
            console.print(f"       {escape(finding.remedy)}")
        sick |= finding.verdict == "wrong"
    raise typer.Exit(1 if sick else 0)


@app.command()
def download() -> None:
    """Download all models that the settings name, so that `up` finds them. Files that are whole stay."""

    def run(settings: Settings) -> None:
        from backend.commands.download import download  # noqa: PLC0415

        download(settings.refam, Console(soft_wrap=True))

    _exit_with(run)


@app.command()
def settings() -> None:
    """List all settings with their defaults, as Markdown: docs/settings.md."""
    from backend.commands.settings import page  # noqa: PLC0415

    typer.echo(page())


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Folder for the report and the pictures.")] = Path("build/demo"),
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = 24,
) -> None:
    """Run everything on a sample project: tasks in over HTTP, masks out, pictures of both."""
    from backend.demo.demo import run  # noqa: PLC0415

    _exit_with(lambda settings: run(settings, folder, tasks))


@app.command()
def studio(
    folder: Annotated[Path, typer.Option(help="Folder for all that is kept.")] = Path("build/studio"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Label Studio's port.")] = 8080,
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks of the sample project.")] = 24,
) -> None:
    """Show everything in Label Studio: start both, fill and pre-label a sample project. See `make studio`."""
    from backend.demo.studio import run  # noqa: PLC0415

    _exit_with(lambda settings: run(settings, folder, port, tasks))


@app.command()
def report(
    project: Annotated[int, typer.Argument(help="The project's number.")],
    folder: Annotated[Path | None, typer.Option(help="Where it is written. Default: build/report/PROJECT.")] = None,
    worst: Annotated[int, typer.Option(min=0, max=100, help="Cases that are shown as pictures.")] = 12,
) -> None:
    """Compare predictions with what annotators submitted: IoU per label and model version, and the worst cases."""

    def run(settings: Settings) -> int:
        from backend.commands.report.report import report  # noqa: PLC0415

        return report(settings, str(project), folder or Path("build/report") / str(project), worst, Console())

    _exit_with(run)


def _control(settings: Settings) -> "Control":
    from backend.monitoring.control import Control  # noqa: PLC0415
    from backend.queue.connection import connect  # noqa: PLC0415
    from backend.queue.shared_state import SharedState  # noqa: PLC0415

    return Control.over(SharedState.over(connect(settings), settings), settings)


def _name(number: int | None) -> str | None:
    return None if number is None else str(number)


def _exit_with(run: Callable[[Settings], int | None]) -> NoReturn:
    """Run a command and exit with its code; what is wrong on purpose is said without a traceback."""
    try:
        settings = load_settings()
        logging.basicConfig(level=settings.log_level, format=LOG_FORMAT)
        for name in ("httpx", "httpx2", "httpcore"):  # they log URLs and headers, which may hold secrets
            logging.getLogger(name).setLevel(logging.WARNING)
        code = run(settings)
    except (BackendError, RefAMError) as error:
        typer.secho(str(error), fg="red", err=True)
        code = 1
    except RedisError as error:
        typer.secho(
            f"Redis is gone ({type(error).__name__}). Once it is back, run the command again.", fg="red", err=True
        )
        code = 1
    raise typer.Exit(code or 0)

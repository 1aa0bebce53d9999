"""`refam-backend refresh`: masks that answer what their tasks asked before are made anew."""

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from backend.delivery.desk import Desk
from backend.errors import TaskError
from backend.label_studio.client import PAGE, Studio
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import TaskRequest
from backend.label_studio.task_reading import read_task
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["refresh"]


def refresh(settings: Settings, project: str, console: Console, *, timings: Timings | None = None) -> int:
    """Look through a whole project, and queue the tasks whose prediction of this model version is outdated; the workers
    replace it. Returns the exit code.

    Raises SettingsError without Label Studio's address and token, and what Studio raises.
    """
    settings.require_label_studio("to read tasks and write predictions")
    timings = timings or Timings()
    shared = SharedState.over(connect(settings, patient=True), settings)
    desk = Desk.over(shared, Studio(settings, patience=timings.patience), settings, timings)
    about, queued = desk.studio.project(project), 0
    config = read_label_config(about["label_config"])
    pages = track(
        desk.studio.pages(project), "pages", -(-about["task_number"] // PAGE), console=console, transient=True
    )
    for tasks in pages:
        requests: list[TaskRequest] = []
        for task in tasks:
            try:
                request = read_task(task, config, settings, project)
            except TaskError as error:  # its mask cannot be made anew
                console.print(f"[yellow]task {task['id']}: {escape(str(error))}[/]")
                continue
            if request and desk.is_outdated(task, request):
                requests.append(request)
        desk.queue(requests)
        queued += len(requests)
    console.print(
        f"{queued} of {about['task_number']} tasks asked something else when their mask was made; it is made anew.",
        highlight=False,
    )
    return 0

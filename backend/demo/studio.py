"""`refam-backend studio`: the sample project in a Label Studio of one's own, with the backend connected.

All that is kept lies in one folder: run it again, and it goes on where it was.
"""

import json
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from backend.commands.prelabel import INTERRUPTED, prelabel
from backend.commands.selection import Selection
from backend.demo.local_studio import LocalStudio, connect_backend, make_project, studio_running
from backend.demo.programs import backend_running
from backend.demo.sample import write_sample
from backend.exclusive import PORT_REMEDY, hold_folder, listen
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import Settings

__all__ = ["run"]

LABEL_CONFIG = Path(__file__).with_name("label_config.xml")
TITLE = "RefAM sample"
WORKER_SECONDS = 120  # to load the model


def run(settings: Settings, folder: Path, port: int, count: int) -> int:
    """Start Label Studio and the backend, fill the sample project with `count` tasks, pre-label them, and stay until
    SIGINT or SIGTERM. Returns the exit code.

    port: of Label Studio. Raises ProgramError if something does not start.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False)
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(KeyboardInterrupt):
        listen("127.0.0.1", settings.port, PORT_REMEDY).close()
        console.print("Label Studio starts; the first time, this takes a minute or two.")
        with hold_folder(folder, "Stop it, or choose another --folder."), studio_running(folder, port) as studio:
            project = _sample_project(studio, count)
            variables = {
                **studio.variables,
                "REFAM_BACKEND_PORT": str(settings.port),
                "REFAM_BACKEND_STATE_DIR": str(folder.absolute() / "backend"),
            }
            with backend_running(variables, folder / "backend.log") as address:
                own = Settings.model_validate(variables)
                password = own.basic_auth_pass.get_secret_value() if own.basic_auth_pass else ""
                connect_backend(studio, project, address, own.basic_auth_user or "", password)
                _wait_for_worker(own)
                if prelabel(own, Selection(str(project)), console) == INTERRUPTED:
                    return INTERRUPTED
                console.print(f"\nLabel Studio  [bold]{studio.url}/projects/{project}/data[/]")
                console.print(f"log in with   {studio.email}, password {studio.password}")
                console.print(f"backend       {address}")
                console.print("In a task, switch on Auto-Annotation to type, click or draw. Ctrl+C stops everything.")
                threading.Event().wait()
    console.print("stopped")
    return 0


def _sample_project(studio: LocalStudio, count: int) -> int:
    """The number of the sample project, which is made if it is not there."""
    project = next((p["id"] for p in studio.api.get("/api/projects/")["results"] if p["title"] == TITLE), None)
    if project is None:
        project = make_project(studio, TITLE, LABEL_CONFIG.read_text())
    if not studio.api.project(str(project))["task_number"]:
        write_sample(studio.files, count)
        tasks = json.loads((studio.files / "tasks.json").read_text())
        for task in tasks:
            task["data"]["image"] = studio.file_address(task["data"]["image"])
        studio.api.post(f"/api/projects/{project}/import", tasks)
    return int(project)


def _wait_for_worker(settings: Settings) -> None:
    """Until a worker has loaded the model; where none does, prelabel says why."""
    fleet, deadline = SharedState.over(connect(settings), settings).fleet, time.monotonic() + WORKER_SECONDS
    while fleet.obstacles() and not fleet.problems() and time.monotonic() < deadline:
        time.sleep(0.5)

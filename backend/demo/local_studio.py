"""A Label Studio of one's own, on this machine: for `make studio` and the browser tests.

It is installed in a virtual environment of its own (`.label-studio`) or on the PATH, and all that it keeps lies in one
folder.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.demo.programs import running
from backend.errors import ProgramError
from backend.label_studio.client import Studio
from backend.settings import Settings

__all__ = ["LocalStudio", "connect_backend", "make_project", "studio_running"]

PROGRAM = Path(".label-studio/bin/label-studio")  # in the working folder; else the one on the PATH
EMAIL = "annotator@example.com"


@dataclass(frozen=True)
class LocalStudio:
    """A Label Studio that runs.

    email, password, token: the account, and its legacy token.
    files: folder of the local files that it serves.
    api: its API.
    """

    url: str
    email: str
    password: str
    token: str
    files: Path
    api: Studio

    @property
    def variables(self) -> dict[str, str]:
        """The backend's settings that let it in."""
        return _variables(self.url, self.token)

    def file_address(self, name: str) -> str:
        """What a task's data holds for a file in `files`."""
        return f"/data/local-files/?d={self.files.name}/{name}"


@contextmanager
def studio_running(folder: Path, port: int, **variables: str) -> Iterator[LocalStudio]:
    """Run the Label Studio whose data `folder` holds, at a port of the loopback address, until the end.

    The first time, the account is made. Backends at private addresses are allowed.
    variables: further settings of Label Studio.
    Raises ProgramError if it is not installed, or does not start.
    """
    program = str(PROGRAM.absolute()) if PROGRAM.exists() else shutil.which("label-studio")
    if program is None:
        raise ProgramError("Label Studio is not installed. `make studio` installs it, or `pip install label-studio`.")
    folder = folder.absolute()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    password, token = _secret(folder / "password", 8), _secret(folder / "token", 20)
    environment = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_HOST": url,
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": password,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder),
        "USE_DEFAULT_BANNED_SUBNETS": "false",  # or it would refuse a backend on this machine
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "FEATURE_FLAGS_OFFLINE": "true",
        "DEBUG": "false",
        **variables,
    }
    command = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    with (
        running(command, environment, f"{url}/health", folder / "label-studio.log"),
        closing(Studio(Settings.model_validate(_variables(url, token)))) as api,
    ):
        yield LocalStudio(url, EMAIL, password, token, folder / "files", api)


def make_project(studio: LocalStudio, title: str, config: str) -> int:
    """Make a project that may show the local files. Returns its number."""
    project = int(studio.api.post("/api/projects/", {"title": title, "label_config": config})["id"])
    storage = {"project": project, "path": str(studio.files), "use_blob_urls": True}
    studio.api.post("/api/storages/localfiles", storage)
    return project


def connect_backend(studio: LocalStudio, project: int, address: str, user: str = "", password: str = "") -> None:
    """Connect the backend at `address` to a project, unless it is; with interactive pre-annotations.

    user, password: of its basic authentication.
    """
    if any(backend["url"] == address for backend in studio.api.get(f"/api/ml?project={project}")):
        return
    entry: dict[str, Any] = {"project": project, "url": address, "title": "RefAM", "is_interactive": True}
    if user:
        entry |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
    studio.api.post("/api/ml", entry)


def _variables(url: str, token: str) -> dict[str, str]:
    return {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": token}


def _secret(file: Path, size: int) -> str:
    """A random text of 2 * size hex digits that is the same in each run."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(size))
    return file.read_text()

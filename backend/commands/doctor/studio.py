"""Whether Label Studio answers, lets the backend in, and is connected to it."""

from collections.abc import Iterator
from itertools import islice

import httpx

from backend.commands.doctor.finding import Finding
from backend.delivery.known_projects import KnownProjects
from backend.errors import BackendError, QueueUnavailableError, RefusedError, TaskError, TemporaryError
from backend.label_studio.client import TOKEN_REMEDY, Studio, is_personal_token
from backend.label_studio.identity import is_spelling_of
from backend.queue.connection import connect
from backend.queue.keyspace import Keyspace
from backend.settings import Settings

__all__ = ["label_studio"]

PROJECTS = 20  # that are looked at
PRIVATE_ADDRESS_REMEDY = (
    "From 1.23 on, it refuses loopback and private addresses. Start it with USE_DEFAULT_BANNED_SUBNETS=false, "
    "or with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false; the former of these two alone is not enough."
)


def label_studio(settings: Settings) -> Iterator[Finding]:
    """Label Studio itself, the token, and its projects."""
    if settings.label_studio_url is None:
        remedy = "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY to write predictions back and to read uploads."
        message = "no address: only public URLs and data URIs can be read, and nothing is written back."
        yield Finding("label studio", "note", message, remedy)
        return
    studio = Studio(settings)
    try:
        version = str(studio.version())
    except (TemporaryError, TaskError) as error:
        yield Finding("label studio", "wrong", str(error), "Start it, or correct LABEL_STUDIO_URL.")
        return
    yield Finding("label studio", "ok", f"version {version} at {settings.label_studio_url}")
    token = _token(settings, studio)
    yield token
    if token.verdict == "ok":
        yield _connecting(settings, studio)
        yield from _projects(settings, studio)


def _connecting(settings: Settings, studio: Studio) -> Finding:
    """Whether Label Studio would connect this backend."""
    address = settings.address
    try:
        refusal = studio.refusal(address)
    except BackendError as error:
        return Finding("connecting", "note", f"it cannot be told whether {address} is accepted: {error}")
    if refusal is None:
        return Finding("connecting", "ok", f"Label Studio accepts a backend at {address}")
    message = f"Label Studio refuses a backend at {address}: {refusal}."
    return Finding("connecting", "wrong", message, PRIVATE_ADDRESS_REMEDY)


def _projects(settings: Settings, studio: Studio) -> Iterator[Finding]:
    """In which projects the backend is connected, and what is missing there."""
    try:
        known = KnownProjects(Keyspace.over(connect(settings), settings)).hostnames()
    except QueueUnavailableError:  # which has been said
        return
    if not known:
        remedy = "In a project: Settings > Model > Connect Model."
        yield Finding("projects", "note", "none has connected this backend yet.", remedy)
    for project, hostname in islice(known.items(), PROJECTS):
        try:
            title = studio.project(project).get("title")
            models = studio.get(f"/api/ml?project={project}")
        except RefusedError:
            yield Finding("projects", "note", f"project {project} connected this backend, and is gone.")
            continue
        said = f"project {project} ({title}) has connected this backend"
        if not models:
            yield Finding("projects", "note", f"{said}, and does no more.", "Connect it anew if it should.")
        elif not any(model.get("is_interactive") for model in models):
            remedy = "Switch on Interactive preannotations: Settings > Model > the model's menu > Edit."
            yield Finding("projects", "wrong", f"{said}, but typed prompts and clicks do nothing.", remedy)
        else:
            yield Finding("projects", "ok", said)
        yield from _hostname(hostname, str(settings.label_studio_url))


def _hostname(hostname: str, url: str) -> Iterator[Finding]:
    """Whether what Label Studio calls its own address is LABEL_STUDIO_URL: tasks may hold it."""
    if hostname.startswith(("http://", "https://")) and not is_spelling_of(httpx.URL(hostname), httpx.URL(url)):
        message = f"Label Studio calls its own address {hostname}; images of tasks that hold it cannot be read."
        remedy = f"Set LABEL_STUDIO_URL to it, or start Label Studio with LABEL_STUDIO_HOST={url}."
        yield Finding("address", "wrong", message, remedy)


def _token(settings: Settings, studio: Studio) -> Finding:
    key = settings.label_studio_api_key
    if key is None:
        return Finding("token", "wrong", "LABEL_STUDIO_API_KEY is not set: uploads cannot be read.", TOKEN_REMEDY)
    try:
        user = studio.get("/api/current-user/whoami")
    except TaskError as error:
        if is_personal_token(key.get_secret_value()):
            return Finding("token", "wrong", error.message, error.remedy)
        legacy = "It is a legacy token, which Label Studio switches off by default, as it does the one in /setup."
        return Finding("token", "wrong", f"{error.message} {legacy}", TOKEN_REMEDY)
    except BackendError as error:
        return Finding("token", "wrong", str(error), "Correct LABEL_STUDIO_URL.")
    return Finding("token", "ok", f"accepted, for {user.get('username') or user.get('email')}")

"""Label Studio's own addresses in a task's data: which paths images are read from, and whether that takes the token.

Paths are those below LABEL_STUDIO_URL, which may itself have one.
"""

import base64
from enum import Enum
from urllib.parse import unquote

import httpx

from backend.label_studio.identity import is_spelling_of
from backend.label_studio.storages import RESOLVER

__all__ = ["Entry", "entry", "own_spelling", "resolver_url", "url_of_path"]

UPLOADS = ("/data/upload/", "/data/local-files/")
PUBLIC = ("/static/",)


class Entry(Enum):
    """How Label Studio lets a path be read."""

    TOKEN = "with the token"  # noqa: S105
    PUBLIC = "without"
    REFUSED = "not at all"


def entry(url: httpx.URL, studio: str, task: str) -> Entry:
    """How a URL of Label Studio may be read for a task: of its resolver of cloud addresses, only the task's routes."""
    raw = url.raw_path.partition(b"?")[0].decode("ascii")
    base = httpx.URL(studio).path.rstrip("/")
    if (match := RESOLVER.fullmatch(raw.removeprefix(base))) and match[1] == task:
        return Entry.TOKEN
    path = url.path
    while (decoded := unquote(path)) != path:
        path = decoded
    path = path.removeprefix(base)
    if ".." in path.replace("\\", "/").split("/"):
        return Entry.REFUSED
    return Entry.TOKEN if path.startswith(UPLOADS) else Entry.PUBLIC if path.startswith(PUBLIC) else Entry.REFUSED


def resolver_url(studio: str, task: str, reference: str) -> str:
    """Where Label Studio tells what lies at an address in a cloud, such as s3://bucket/key, if the task's project has a
    storage for it."""
    return f"{studio}/tasks/{task}/resolve/?fileuri={base64.urlsafe_b64encode(reference.encode()).decode()}"


def url_of_path(studio: str, path: str) -> str:
    """The URL of a path on Label Studio, which, where it has a subpath, writes it along in some places."""
    base = httpx.URL(studio).path.rstrip("/")
    own = path.startswith(f"{base}/") if base else False
    return (studio.removesuffix(base) if own else studio) + path


def own_spelling(url: httpx.URL, studio: str) -> httpx.URL:
    """A URL whose address is another spelling of Label Studio's, such as localhost for 127.0.0.1, in LABEL_STUDIO_URL's
    own; any other URL as it is."""
    own = httpx.URL(studio)
    base = own.path.rstrip("/")
    if not is_spelling_of(url, own) or not url.path.startswith(
        tuple(base + path for path in (*UPLOADS, *PUBLIC, "/tasks/"))
    ):
        return url
    return url.copy_with(scheme=own.scheme, host=own.host, port=own.port)

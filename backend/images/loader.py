"""What a task points to -> an image, safely. The only module that opens what a task names.

A task's data is not trusted: it may point into the private network, to the host's own services, or to a file made to
exhaust memory. Every URL, redirects included, passes the allow-list; its host is resolved once, and the connection goes
to the address that was checked. Label Studio's token goes to the paths where it serves the task's files, and nowhere
else.
"""

import asyncio
import base64
import binascii
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any, Protocol
from urllib.parse import unquote

import httpx
from anyio import to_thread

from backend.errors import RestingHostError, TaskError, TemporaryError
from backend.images.addresses import is_public
from backend.images.decoding import ImageError, decode
from backend.images.studio_paths import Entry, entry, own_spelling, resolver_url, url_of_path
from backend.label_studio.client import TOKEN_REMEDY, Studio
from backend.label_studio.numbers import is_number
from backend.label_studio.storages import CLOUD_SCHEMES, is_read_for_a_task
from backend.settings import Settings
from refam.picture import Picture

__all__ = ["ImageLoader"]

ACCEPT = "image/*, */*;q=0.1"  # without */*, Label Studio answers 406 for local files
MAX_REDIRECTS = 5
CONNECT = 10  # seconds, at most: whoever takes longer to take a connection will not answer
MAX_PORT = 65535
MALFORMED = ("the image's URL is malformed.", "Correct it; write special characters percent-encoded.")
ASTRAY = ("the image's URL redirects to a malformed one.", "Use the URL of the image itself.")
OK, NOT_FOUND = 200, 404
TEMPORARY_STATUS = (408, 425, 429)
Resolver = Callable[..., list[Any]]


class Hosts(Protocol):
    """Knows which hosts do not answer. See backend.queue.silent_hosts.SilentHosts."""

    def wait(self, project: str, host: str, seconds: float) -> float: ...

    def has_answered(self, project: str, host: str) -> None: ...

    def was_silent(self, project: str, host: str) -> None: ...


class ImageLoader:
    """Loads images within the limits of `settings`.

    transport, resolve: replace the network and `socket.getaddrinfo` in tests.
    interrupts: what a signal may raise at any moment, and is let through: see decode.
    side: pixels that are taken of an image on each axis, so that large ones need not be kept; all if absent.
    hosts: those that do not answer are left alone for a while, if they are noted.
    """

    def __init__(
        self,
        settings: Settings,
        studio: Studio,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolver = socket.getaddrinfo,
        interrupts: tuple[type[Exception], ...] = (),
        *,
        side: int | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self._settings = settings
        self._studio = studio
        self._interrupts = interrupts
        self._side = side
        self._hosts = hosts
        self._transport = transport
        self._resolve = resolve

    def load(self, reference: str, field: str, task: str, project: str = "") -> Picture:
        """The image that `reference` points to, upright as the browser shows it.

        reference: a data URI, a http(s) URL, a path on Label Studio such as /data/upload/.., or an address in a cloud
            such as s3://bucket/key, which Label Studio has a storage for.
        field: the field of the task's data that holds it, for messages.
        task: its number, for which Label Studio is asked where cloud addresses lead.
        project: whose; hosts that do not answer its tasks are left alone by them.
        Raises TaskError, TemporaryError where trying again may help, and RestingHostError.
        """
        try:
            content = self._read(reference, task, project)
            return decode(content, self._settings.image_max_pixels, self._interrupts, side=self._side)
        except ImageError as error:
            raise TaskError(field, error.message, error.remedy) from None

    def _read(self, reference: str, task: str, project: str) -> bytes:
        if reference[:5].lower() == "data:":
            self._check_scheme("data")
            return self._data_uri(reference)
        is_path = reference.startswith("/") and not reference.startswith("//")
        is_in_cloud = reference.partition("://")[0].lower() in CLOUD_SCHEMES
        if is_path or is_in_cloud:
            if self._studio.url is None:
                what = "a path on Label Studio" if is_path else "in a cloud storage of Label Studio"
                remedy = "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
                raise ImageError(f"the image is {what}, whose address is unknown.", remedy)
            if is_in_cloud and not is_number(task):
                raise ImageError("the image is in a storage, and the task is not stored.", "Import the task first.")
            reference = (
                url_of_path(self._studio.url, reference) if is_path else resolver_url(self._studio.url, task, reference)
            )
        return self._download(reference, task, project)

    def _data_uri(self, reference: str) -> bytes:
        header, comma, body = reference.partition(",")
        remedy = "Write data:image/png;base64, followed by the file in base64."
        if not comma or not header.lower().endswith(";base64"):
            raise ImageError("the data URI is not in base64.", remedy)
        if len(body) * 3 // 4 > self._settings.image_max_bytes:
            raise self._too_many_bytes()
        try:
            return base64.b64decode(unquote(body), validate=True)
        except (binascii.Error, ValueError):
            raise ImageError("the data URI's base64 is broken.", remedy) from None

    def _download(self, reference: str, task: str, project: str) -> bytes:
        url = self._parse(httpx.URL(""), reference)
        try:
            return asyncio.run(self._fetch(url, task, project))
        except (TimeoutError, httpx.TimeoutException):
            raise TemporaryError(f"The image's host {url.host} was too slow.") from None
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise TemporaryError(f"The image's host {url.host} could not be read ({name}).") from None

    @contextmanager
    def _asking(self, host: str, project: str) -> Iterator[None]:
        """Ask a host, unless it rests as far as a project is concerned."""
        if self._hosts is None:
            yield
            return
        if seconds := self._hosts.wait(project, host, self._settings.image_timeout):
            raise RestingHostError(host, seconds)
        try:
            yield
        except (asyncio.CancelledError, httpx.TimeoutException):
            self._hosts.was_silent(project, host)
            raise
        except ImageError:
            self._hosts.has_answered(project, host)
            raise
        self._hosts.has_answered(project, host)

    async def _fetch(self, url: httpx.URL, task: str, project: str) -> bytes:
        """What lies at a URL, redirects followed. Asynchronous, since only so the whole can be bounded in time: a host
        that sends a byte now and then would keep a blocking client for hours."""
        async with asyncio.timeout(self._settings.image_timeout):
            for _ in range(MAX_REDIRECTS + 1):
                # A client each: one knows cookies and connections by address, which several hosts may share.
                with self._asking(url.host, project):
                    async with self._client() as client, await self._open(client, url, task) as response:
                        if not response.has_redirect_location:
                            return await self._body(response, url)
                        location = response.headers["location"]
                url = self._parse(url, location)
        raise ImageError("the image's URL redirects too often.", "Use the URL that it leads to.")

    def _client(self) -> httpx.AsyncClient:
        seconds = httpx.Timeout(self._settings.image_timeout, connect=min(CONNECT, self._settings.image_timeout))
        hooks = {"response": [_check_location]}
        return httpx.AsyncClient(
            timeout=seconds, verify=_tls(), trust_env=False, transport=self._transport, event_hooks=hooks
        )

    def _parse(self, base: httpx.URL, reference: str) -> httpx.URL:
        try:
            url = base.join(reference)
        except (httpx.InvalidURL, ValueError):  # whose text may hold a part of a password
            raise ImageError(*MALFORMED) from None
        if url.port and url.port > MAX_PORT:
            raise ImageError(*MALFORMED)
        self._check_scheme(url.scheme)
        if not url.host:
            raise ImageError("the image's URL names no host.", "Write it in full, such as https://example.com/a.png.")
        if url.userinfo:
            raise ImageError("the image's URL holds a password.", "Use a URL without user name and password.")
        return own_spelling(url, self._studio.url) if self._studio.url else url

    def _check_scheme(self, scheme: str) -> None:
        allowed = self._settings.image_schemes
        if scheme not in allowed:
            kind = f"{scheme}: URLs" if scheme else "relative paths"
            raise ImageError(
                f"images cannot be read from {kind}.",
                f"Use {', '.join(allowed)}, an upload, or a storage that is connected to the project. "
                "REFAM_BACKEND_IMAGE_SCHEMES lists what is allowed.",
            )

    async def _open(
        self, client: httpx.AsyncClient, url: httpx.URL, task: str
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """A request to the address that was checked, in the name of the URL's host."""
        host = url.raw_host.decode("ascii")
        is_studio = self._studio.owns(url)
        how = entry(url, str(self._studio.url), task) if is_studio else Entry.PUBLIC
        if how is Entry.REFUSED:
            raise ImageError(
                "Label Studio serves no task's image at this path, or asks for a log-in there.",
                f"Correct the path. If it is right: {TOKEN_REMEDY}",
            )
        headers = {"Host": url.netloc.decode("ascii"), "Accept": ACCEPT, "Accept-Encoding": "identity"}
        if is_studio and how is Entry.TOKEN:
            headers |= self._studio.authorization()
        address = await self._address(host, url.port or (443 if url.scheme == "https" else 80), trusted=is_studio)
        extensions = {"sni_hostname": host} if url.scheme == "https" else {}
        return client.stream("GET", url.copy_with(host=address), headers=headers, extensions=extensions)

    async def _address(self, host: str, port: int, *, trusted: bool) -> str:
        names = (host, f"{host}:{port}")
        private_allowed = trusted or any(name in self._settings.image_hosts for name in names)
        if not private_allowed and not any(
            fnmatchcase(name, entry) for entry in self._settings.image_hosts for name in names
        ):
            raise ImageError(
                f"the host {host} is not allowed.", f"Add {host} to REFAM_BACKEND_IMAGE_HOSTS if you trust it."
            )
        for address in await self._resolved(host, port):
            if private_allowed or is_public(address):
                return address
        raise ImageError(
            f"the host {host} has a private address, which is not allowed.",
            f"Add {host} to REFAM_BACKEND_IMAGE_HOSTS if you trust it, "
            "or set LABEL_STUDIO_URL if it is your Label Studio.",
        )

    async def _resolved(self, host: str, port: int) -> list[str]:
        """In a thread that is left to itself once the time is up: a server of names may not answer for long."""
        look_up = partial(self._resolve, host, port, type=socket.SOCK_STREAM)
        try:
            return [str(entry[4][0]) for entry in await to_thread.run_sync(look_up, abandon_on_cancel=True)]
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TemporaryError(f"The name {host} cannot be resolved for now.") from None
            raise ImageError(f"there is no host {host}.", "Correct the image's URL.") from None
        except UnicodeError:  # a part of the name is empty or too long
            raise ImageError("the image's host name is malformed.", "Correct the image's URL.") from None

    async def _body(self, response: httpx.Response, url: httpx.URL) -> bytes:
        status = response.status_code
        if status in TEMPORARY_STATUS or status >= 500:
            raise TemporaryError(f"The image's host {url.host} answers {status}.")
        if status in (401, 403):
            remedy = TOKEN_REMEDY if self._studio.owns(url) else "Use a public or pre-signed URL."
            raise ImageError(f"access to the image is forbidden (status {status}).", remedy)
        if status == NOT_FOUND and self._studio.owns(url) and is_read_for_a_task(str(url)):
            message = "no storage of the task's project in Label Studio has the image."
            raise ImageError(message, "Connect the storage to the project, or correct the address.")
        if status != OK:
            raise ImageError(f"there is no image at its URL (status {status}).", "Correct the image's URL.")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._settings.image_max_bytes:
                raise self._too_many_bytes()
        return bytes(body)

    def _too_many_bytes(self) -> ImageError:
        limit = self._settings.image_max_bytes
        return ImageError(
            f"the image file is larger than {limit} bytes.", "Shrink it, or raise REFAM_BACKEND_IMAGE_MAX_BYTES."
        )


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificate authorities takes longer than many a download."""
    return httpx.create_ssl_context(trust_env=False)


async def _check_location(response: httpx.Response) -> None:
    """Refuse a redirect to a malformed URL, or one like "http:a", which httpx would lay to the network: that is tried
    again."""
    if response.has_redirect_location:
        try:
            url = httpx.URL(response.headers["location"])
            response.request.url.join(url)
        except (httpx.InvalidURL, ValueError):
            raise ImageError(*ASTRAY) from None
        if url.scheme and not url.host and not url.path.startswith("/"):
            raise ImageError(*ASTRAY)

"""What a task points to -> an image, safely. The only module that opens what a task names.

A task's data is not trusted: it may point into the private network, to the host's own services, or to a file made to
exhaust memory. Every URL, redirects included, passes the allow-list; its host is resolved once, and the connection goes
to the address that was checked. Label Studio's token goes to its media paths and nowhere else.
"""

import base64
import binascii
import io
import ipaddress
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import httpx
from PIL import Image, ImageOps

from backend.errors import TaskError, TemporaryError
from backend.settings import Settings
from backend.studio import TOKEN_REMEDY, Studio

__all__ = ["ImageLoader"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MEDIA_PATHS = ("/data/upload/", "/data/local-files/")
MAX_REDIRECTS = 5
TEMPORARY_STATUS = (408, 425, 429)
Resolver = Callable[..., list[Any]]


class ImageLoader:
    """Loads images within the limits of `settings`.

    transport, resolve: replace the network and `socket.getaddrinfo` in tests.
    """

    def __init__(
        self,
        settings: Settings,
        studio: Studio,
        transport: httpx.BaseTransport | None = None,
        resolve: Resolver = socket.getaddrinfo,
    ) -> None:
        self._settings = settings
        self._studio = studio
        self._resolve = resolve
        # Connections are not kept: a pool knows them by address, and one address may serve several hosts.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(
            timeout=settings.image_timeout, limits=limits, trust_env=False, follow_redirects=False, transport=transport
        )

    def load(self, reference: str, field: str) -> Image.Image:
        """The image that `reference` points to, RGB, upright as the browser shows it.

        reference: a data URI, a http(s) URL, or a path on Label Studio such as /data/upload/..
        field: the field of the task's data that holds it, for messages.
        Raises TaskError, or TemporaryError where trying again may help.
        """
        try:
            return self._decode(self._read(reference))
        except _ImageError as error:
            raise TaskError(field, error.message, error.remedy) from None

    def _read(self, reference: str) -> bytes:
        if reference[:5].lower() == "data:":
            self._check_scheme("data")
            return self._data_uri(reference)
        if reference.startswith("/") and not reference.startswith("//"):
            if self._studio.url is None:
                raise _ImageError(
                    "the image is a path on Label Studio, whose address is unknown.",
                    "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.",
                )
            reference = self._studio.url + reference
        return self._download(reference)

    def _data_uri(self, reference: str) -> bytes:
        header, comma, body = reference.partition(",")
        remedy = "Write data:image/png;base64, followed by the file in base64."
        if not comma or not header.lower().endswith(";base64"):
            raise _ImageError("the data URI is not in base64.", remedy)
        if len(body) * 3 // 4 > self._settings.image_max_bytes:
            raise self._too_many_bytes()
        try:
            return base64.b64decode(unquote(body), validate=True)
        except (binascii.Error, ValueError):
            raise _ImageError("the data URI's base64 is broken.", remedy) from None

    def _download(self, reference: str) -> bytes:
        deadline = time.monotonic() + self._settings.image_timeout
        url = self._parse(httpx.URL(""), reference)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._open(url) as response:
                    if not response.has_redirect_location:
                        return self._body(response, url, deadline)
                    url = self._parse(url, response.headers["location"])
            except httpx.TimeoutException:
                raise TemporaryError(f"The image's host {url.host} was too slow.") from None
            except httpx.HTTPError as error:
                name = type(error).__name__
                raise TemporaryError(f"The image's host {url.host} could not be read ({name}).") from None
        raise _ImageError("the image's URL redirects too often.", "Use the URL that it leads to.")

    def _parse(self, base: httpx.URL, reference: str) -> httpx.URL:
        try:
            url = base.join(reference)
        except (httpx.InvalidURL, ValueError) as error:
            raise _ImageError(f"the image's URL is malformed ({error}).", "Correct it.") from None
        self._check_scheme(url.scheme)
        if not url.host:
            raise _ImageError("the image's URL names no host.", "Write it in full, such as https://example.com/a.png.")
        if url.userinfo:
            raise _ImageError("the image's URL holds a password.", "Use a URL without user name and password.")
        return url

    def _check_scheme(self, scheme: str) -> None:
        allowed = self._settings.image_schemes
        if scheme not in allowed:
            kind = f"{scheme}: URLs" if scheme else "relative paths"
            raise _ImageError(
                f"images cannot be read from {kind}.",
                f"Use {', '.join(allowed)} or an upload; for cloud storage, let Label Studio pre-sign URLs. "
                "REFAM_BACKEND_IMAGE_SCHEMES lists what is allowed.",
            )

    def _open(self, url: httpx.URL) -> AbstractContextManager[httpx.Response]:
        """A request to the address that was checked, in the name of the URL's host."""
        host = url.raw_host.decode("ascii")
        is_studio = self._studio.owns(url)
        if is_studio and not _is_media_path(url):
            raise _ImageError(
                "Label Studio serves no task's image at this path, or asks for a log-in there.",
                f"Correct the path. If it is right: {TOKEN_REMEDY}",
            )
        headers = {"Host": url.netloc.decode("ascii"), "Accept": "image/*", "Accept-Encoding": "identity"}
        if is_studio:
            headers |= self._studio.authorization()
        address = self._address(host, url.port or (443 if url.scheme == "https" else 80), trusted=is_studio)
        extensions = {"sni_hostname": host} if url.scheme == "https" else {}
        return self._client.stream("GET", url.copy_with(host=address), headers=headers, extensions=extensions)

    def _address(self, host: str, port: int, *, trusted: bool) -> str:
        names = (host, f"{host}:{port}")
        private_allowed = trusted or any(name in self._settings.image_hosts for name in names)
        if not private_allowed and not any(
            fnmatchcase(name, entry) for entry in self._settings.image_hosts for name in names
        ):
            raise _ImageError(
                f"the host {host} is not allowed.", f"Add {host} to REFAM_BACKEND_IMAGE_HOSTS if you trust it."
            )
        for address in self._resolved(host, port):
            if private_allowed or _is_public(address):
                return address
        raise _ImageError(
            f"the host {host} has a private address, which is not allowed.",
            f"Add {host} to REFAM_BACKEND_IMAGE_HOSTS if you trust it, "
            "or set LABEL_STUDIO_URL if it is your Label Studio.",
        )

    def _resolved(self, host: str, port: int) -> list[str]:
        try:
            return [str(entry[4][0]) for entry in self._resolve(host, port, type=socket.SOCK_STREAM)]
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TemporaryError(f"The name {host} cannot be resolved for now.") from None
            raise _ImageError(f"there is no host {host}.", "Correct the image's URL.") from None
        except UnicodeError:  # a part of the name is empty or too long
            raise _ImageError("the image's host name is malformed.", "Correct the image's URL.") from None

    def _body(self, response: httpx.Response, url: httpx.URL, deadline: float) -> bytes:
        status = response.status_code
        if status in TEMPORARY_STATUS or status >= 500:
            raise TemporaryError(f"The image's host {url.host} answers {status}.")
        if status in (401, 403):
            remedy = TOKEN_REMEDY if self._studio.owns(url) else "Use a public or pre-signed URL."
            raise _ImageError(f"access to the image is forbidden (status {status}).", remedy)
        if status != 200:
            raise _ImageError(f"there is no image at its URL (status {status}).", "Correct the image's URL.")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self._settings.image_max_bytes:
                raise self._too_many_bytes()
            if time.monotonic() > deadline:
                raise TemporaryError(f"The image's host {url.host} was too slow.")
        return bytes(body)

    def _decode(self, content: bytes) -> Image.Image:
        try:
            # Pillow's warning about many pixels is no news: they are counted below.
            with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return self._upright(image)
        except Image.DecompressionBombError:
            raise self._too_many_pixels("too many") from None
        except _ImageError:
            raise
        except Exception as error:  # decoders raise whatever a broken file leads to
            raise _ImageError(
                f"the file is no readable image ({len(content)} bytes).",
                f"Use a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.",
            ) from error

    def _upright(self, image: Image.Image) -> Image.Image:
        pixels = image.width * image.height
        if pixels > self._settings.image_max_pixels:
            raise self._too_many_pixels(str(pixels))
        if getattr(image, "n_frames", 1) > 1:
            raise _ImageError("the image is animated or has several pages.", "Use a still image.")
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            white = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(white, upright.convert("RGBA"))
        return upright.convert("RGB")

    def _too_many_bytes(self) -> "_ImageError":
        limit = self._settings.image_max_bytes
        return _ImageError(
            f"the image file is larger than {limit} bytes.", "Shrink it, or raise REFAM_BACKEND_IMAGE_MAX_BYTES."
        )

    def _too_many_pixels(self, count: str) -> "_ImageError":
        limit = self._settings.image_max_pixels
        return _ImageError(
            f"the image has {count} pixels; at most {limit} are allowed.",
            "Shrink it, or raise REFAM_BACKEND_IMAGE_MAX_PIXELS.",
        )


class _ImageError(Exception):
    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip.is_global and not ip.is_multicast


def _is_media_path(url: httpx.URL) -> bool:
    """Whether the path, however often encoded, stays below a path where Label Studio serves tasks' files."""
    path = unquote(url.path)
    return path.startswith(MEDIA_PATHS) and ".." not in path.replace("\\", "/").split("/")

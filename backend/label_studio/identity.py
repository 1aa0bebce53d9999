"""Which Label Studio a backend is for: the same for all spellings of its address."""

import hashlib
import ipaddress
import socket

import httpx
from redis.connection import parse_url

from backend.settings import Settings

__all__ = ["ALONE", "is_spelling_of", "is_this_machine", "studio_address", "studio_identity"]

ALONE = "alone"  # a backend that knows no Label Studio is its own
LOOPBACK_NAMES = ("localhost", "host.docker.internal", "host.containers.internal")
LOOPBACK = "localhost"
DEFAULT_PORTS = {"http": 80, "https": 443}


def studio_address(settings: Settings) -> str:
    """LABEL_STUDIO_URL in one spelling; empty where it is not set.

    A loopback address beside a Redis of another machine is followed by this machine's name, since it means another
    Label Studio on each machine.
    """
    if settings.label_studio_url is None:
        return ""
    url = httpx.URL(settings.label_studio_url)
    host = LOOPBACK if is_this_machine(url.host) else _host(url.host)
    port = f":{url.port}" if url.port else ""  # httpx drops a scheme's default port
    machine = f" on {socket.gethostname()}" if host == LOOPBACK and not _redis_is_here(settings) else ""
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}{url.path.rstrip('/')}{machine}"


def studio_identity(settings: Settings) -> str:
    """Ten hex digits that stand for a Label Studio in names; ALONE where none is known."""
    address = studio_address(settings)
    return hashlib.sha256(address.encode()).hexdigest()[:10] if address else ALONE


def is_spelling_of(url: httpx.URL, own: httpx.URL) -> bool:
    """Whether a URL leads to the same server as Label Studio's own: by the same host, or by a loopback name, as a
    browser on its machine sees it; at the same port, where plain and encrypted count as one at their default ports."""
    hosts = is_this_machine(url.host) or _host(url.host) == _host(own.host)
    return hosts and (_port(url) == _port(own) or (url.port is None and own.port is None))


def is_this_machine(host: str) -> bool:
    """Whether a host name means the machine that it is used on, or the one that a container runs on."""
    name = host.rstrip(".").lower()
    if name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified


def _host(host: str) -> str:
    name = host.rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _port(url: httpx.URL) -> int | None:
    return url.port or DEFAULT_PORTS.get(url.scheme)


def _redis_is_here(settings: Settings) -> bool:
    if settings.redis_url is None:
        return True
    found = parse_url(settings.redis_address)  # type: ignore[no-untyped-call]
    return "path" in found or is_this_machine(str(found.get("host", LOOPBACK)))

"""Who may ask: the password, and whose pages may send requests."""

import base64
import secrets

from fastapi import Request

from backend.settings import Settings
from backend.web.bodies import RequestError

__all__ = ["ASKED_BY", "Access"]

ASKED_BY = "refam-status-page"  # value of X-Requested-With, which no page of another site can send


class Access:
    """The checks of a request. Each raises RequestError if it is refused."""

    def __init__(self, settings: Settings) -> None:
        user, password = settings.basic_auth_user, settings.basic_auth_pass
        self._expected = f"{user}:{password.get_secret_value()}".encode() if user and password else None

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a password."""
        return self._expected is None

    def check_password(self, request: Request) -> None:
        """Whether the request brings BASIC_AUTH_USER and BASIC_AUTH_PASS, if these are set."""
        if self._expected is None:
            return
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(given, validate=True) if kind.lower() == "basic" else b""
        except ValueError:
            decoded = b""
        if not secrets.compare_digest(decoded, self._expected):  # in constant time
            remedy = "In Label Studio, give the model basic authentication with BASIC_AUTH_USER and BASIC_AUTH_PASS."
            raise RequestError(401, "Authorization", "user name or password is missing or wrong.", remedy)

    @staticmethod
    def check_origin(request: Request) -> None:
        """Whether no other site's page sent the request: a page can have its reader's browser send requests here, which
        names the page's origin; Label Studio's name none."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
            remedy = "Send it from this server's own pages, or without an Origin header."
            raise RequestError(403, "Origin", "requests from other sites are refused.", remedy)

    @staticmethod
    def check_sender(request: Request) -> None:
        """Whether the status page sent the request: other sites' pages can make a browser send our password along, but
        not this header."""
        if request.headers.get("X-Requested-With") != ASKED_BY:
            remedy = f"Use the buttons of the status page, or send `X-Requested-With: {ASKED_BY}`."
            raise RequestError(403, "X-Requested-With", "the request does not come from the status page.", remedy)

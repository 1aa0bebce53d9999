"""Label Studio's API. The only module that sends the service's token anywhere, and only to Label Studio."""

import time
from typing import Any

import httpx

from backend.errors import TaskError, TemporaryError
from backend.settings import Settings

__all__ = ["Studio", "is_personal_token"]

ACCESS_LIFETIME = 240  # seconds; Label Studio's access tokens live for 300
TIMEOUT = 10  # seconds
TOKEN_REMEDY = "Create a personal access token under Account & Settings in Label Studio and set LABEL_STUDIO_API_KEY."  # noqa: S105


def is_personal_token(token: str) -> bool:
    """Whether `token` is a personal access token, which is a JWT; legacy tokens are 40 hex digits."""
    return token.count(".") == 2


class Studio:
    """Access to one Label Studio.

    transport: replaces the network in tests.
    """

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        self.url = settings.label_studio_url
        self._token = settings.label_studio_api_key
        self._client = httpx.Client(timeout=TIMEOUT, trust_env=False, transport=transport)
        self._access: tuple[str, float] | None = None

    def owns(self, url: httpx.URL) -> bool:
        """Whether `url` has Label Studio's own scheme, host and port."""
        return self.url is not None and _origin(url) == _origin(httpx.URL(self.url))

    def authorization(self) -> dict[str, str]:
        """The header that lets a request in; empty without a token.

        A personal access token is exchanged for a short-lived one. Raises TaskError if Label Studio refuses it, and
        TemporaryError if Label Studio cannot be asked.
        """
        if self._token is None or self.url is None:
            return {}
        token = self._token.get_secret_value()
        if not is_personal_token(token):
            return {"Authorization": f"Token {token}"}
        return {"Authorization": f"Bearer {self._access_token(token)}"}

    def version(self) -> str:
        """Label Studio's release. Raises TemporaryError if there is none at its address."""
        content = _json(self._send("GET", "/api/version"))
        if not isinstance(content, dict) or "release" not in content:
            raise TemporaryError(f"What answers at {self.url} is no Label Studio.")
        return str(content["release"])

    def get(self, path: str) -> Any:
        """The JSON that Label Studio answers to GET `path`. Raises as `authorization` does."""
        response = self._send("GET", path, headers=self.authorization())
        if response.status_code in (401, 403):
            raise TaskError("LABEL_STUDIO_API_KEY", f"Label Studio refuses it ({_detail(response)}).", TOKEN_REMEDY)
        return _json(response)

    def _access_token(self, refresh: str) -> str:
        if self._access is None or self._access[1] < time.monotonic():
            response = self._send("POST", "/api/token/refresh/", json={"refresh": refresh})
            if response.is_client_error:
                message = f"Label Studio refuses the personal access token ({_detail(response)})."
                raise TaskError("LABEL_STUDIO_API_KEY", message, TOKEN_REMEDY)
            self._access = str(_json(response)["access"]), time.monotonic() + ACCESS_LIFETIME
        return self._access[0]

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._client.request(method, f"{self.url}{path}", **content)
        except httpx.HTTPError as error:
            raise TemporaryError(f"Label Studio at {self.url} does not answer ({type(error).__name__}).") from None
        if response.is_server_error:
            raise TemporaryError(f"Label Studio at {self.url} answers {response.status_code} to {path}.")
        return response


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx drops a scheme's default port


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise TemporaryError(
            f"{response.url.path} of Label Studio answers no JSON. Is LABEL_STUDIO_URL right?"
        ) from None


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"

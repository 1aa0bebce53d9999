"""Every setting, read from the environment and validated once. docs/settings.md is made from these descriptions."""

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.connection import parse_url

from backend.errors import SettingsError
from refam.config import RefAMConfig

__all__ = ["Settings", "defaults", "load_settings", "variables"]

PREFIX = "REFAM_BACKEND_"
MEBIBYTE = 2**20
PILLOW_MAX_PIXELS = 178_956_970  # Pillow itself refuses more
WEB_ADDRESS = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#@\\]*)?")
TOKEN = re.compile(r"[\w.-]+", re.ASCII)
LABEL_STUDIO_TIMEOUT = 100  # seconds that Label Studio waits for /predict
SMALL_BODY = MEBIBYTE  # bytes of a request's body that counts as small
SMALL_BODIES, LARGE_BODIES = 64, 2  # of full size, that are in memory at once


def _is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Schemes = Annotated[tuple[Literal["http", "https", "data"], ...], NoDecode, BeforeValidator(_split)]
Delays = Annotated[tuple[Annotated[int, Field(ge=1)], ...], NoDecode, BeforeValidator(_split)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]


def _default_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "refam-backend"


class Settings(BaseSettings):
    """The backend's settings, and the model's own (`REFAM_*`) in `refam`. Both are read when this is made, once.

    Raises refam.errors.ConfigError for the model's.
    """

    model_config = SettingsConfigDict(case_sensitive=True, env_ignore_empty=True, extra="forbid", frozen=True)

    redis_url: SecretStr | None = Field(
        None,
        validation_alias="REDIS_URL",
        description="Redis for the queue, such as redis://host:6379/0, rediss:// for TLS. "
        "Empty: a private server that `refam-backend up` starts.",
    )
    label_studio_url: str | None = Field(
        None,
        validation_alias="LABEL_STUDIO_URL",
        description="Label Studio's address. Uploaded images and local files are read from it, "
        "and finished predictions written to it.",
    )
    label_studio_api_key: SecretStr | None = Field(
        None,
        validation_alias="LABEL_STUDIO_API_KEY",
        description="A personal access token of Label Studio, or a legacy token. Sent to Label Studio only.",
    )
    basic_auth_user: str | None = Field(
        None,
        validation_alias="BASIC_AUTH_USER",
        description="User name that Label Studio must give. Needs BASIC_AUTH_PASS. Empty: open to all who can connect.",
    )
    basic_auth_pass: SecretStr | None = Field(
        None, validation_alias="BASIC_AUTH_PASS", description="Password that Label Studio must give."
    )
    host: str = Field("127.0.0.1", validation_alias=f"{PREFIX}HOST", description="Address the web server listens at.")
    open: bool = Field(
        False,
        validation_alias=f"{PREFIX}OPEN",
        description="Let the web server listen beyond this machine without a password: for those who keep others away "
        "from its port by other means.",
    )
    port: int = Field(
        9090, ge=1, le=65535, validation_alias=f"{PREFIX}PORT", description="Port the web server listens at."
    )
    state_dir: Folder = Field(
        default_factory=_default_state_dir,
        validation_alias=f"{PREFIX}STATE_DIR",
        description="Folder of the private Redis: its socket and its data. Default: ~/.local/state/refam-backend.",
    )
    redis_fsync: Literal["always", "everysec"] = Field(
        "always",
        validation_alias=f"{PREFIX}REDIS_FSYNC",
        description="When the private Redis writes to disk: always loses nothing that was accepted, "
        "everysec may lose the last second with the machine, and is faster.",
    )
    devices: Names = Field(
        (),
        validation_alias=f"{PREFIX}DEVICES",
        description="Devices for which `up` starts a worker each, such as cuda:0,cuda:1. Empty: one, on REFAM_DEVICE.",
    )
    stop_seconds: float = Field(
        60,
        ge=0,
        validation_alias=f"{PREFIX}STOP_SECONDS",
        description="How long `up` lets running jobs finish when it is stopped.",
    )
    text_field: str | None = Field(
        None,
        validation_alias=f"{PREFIX}TEXT_FIELD",
        description="Field of the task's data that holds the text. Empty: the one the label config's Text tag shows.",
    )
    default_label: str | None = Field(
        None,
        validation_alias=f"{PREFIX}DEFAULT_LABEL",
        description="Label of a mask whose text names none of several. Empty: the first that the label config marks "
        'with selected="true", if any.',
    )
    max_text_length: int = Field(
        1000, ge=1, validation_alias=f"{PREFIX}MAX_TEXT_LENGTH", description="Longest expression, in characters."
    )
    max_expressions: int = Field(
        50, ge=1, validation_alias=f"{PREFIX}MAX_EXPRESSIONS", description="Most expressions in one task."
    )
    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        validation_alias=f"{PREFIX}MIN_SCORE",
        description="Least score of a mask, from 0 to 1: below it, nothing was found. Default: off, so that every text "
        "that the model can read gets a mask.",
    )
    labels_as_prompts: bool = Field(
        False,
        validation_alias=f"{PREFIX}LABELS_AS_PROMPTS",
        description="Look for the labels' names in tasks without a text, or for what a label's attribute "
        f'predicted_values="car, van" says; empty, the label is not looked for. Needs {PREFIX}MIN_SCORE.',
    )
    store_nothing: bool = Field(
        False,
        validation_alias=f"{PREFIX}STORE_NOTHING",
        description="Store an empty prediction where nothing was found, so that Label Studio does not ask again.",
    )
    join_regions: bool = Field(
        False,
        validation_alias=f"{PREFIX}JOIN_REGIONS",
        description='One region for all that a text means, such as "all the red mugs"; else each thing has its own.',
    )
    inline_seconds: float = Field(
        60,
        ge=0,
        lt=LABEL_STUDIO_TIMEOUT,
        validation_alias=f"{PREFIX}INLINE_SECONDS",
        description="How long a request for a single task waits for its result. "
        f"Label Studio gives up after {LABEL_STUDIO_TIMEOUT} s.",
    )
    inline_waiters: int = Field(
        32,
        ge=1,
        le=1000,
        validation_alias=f"{PREFIX}INLINE_WAITERS",
        description="How many requests may wait at once; further ones are answered at once with what is ready.",
    )
    job_timeout: int = Field(
        600, ge=1, validation_alias=f"{PREFIX}JOB_TIMEOUT", description="Longest run of one task, in seconds."
    )
    retry_delays: Delays = Field(
        (5, 30, 120),
        validation_alias=f"{PREFIX}RETRY_DELAYS",
        description="Seconds before each new try after a temporary failure.",
    )
    write_delays: Delays = Field(
        (5, 30, 120, 600, 1800, 3600),
        validation_alias=f"{PREFIX}WRITE_DELAYS",
        description="Seconds before each new try to read from or write to Label Studio.",
    )
    claim_seconds: int = Field(
        120,
        ge=1,
        validation_alias=f"{PREFIX}CLAIM_SECONDS",
        description="Seconds after which a prediction that Label Studio was given in an answer, but did not store, "
        f"is written. Keep it above the {LABEL_STUDIO_TIMEOUT} s that Label Studio waits.",
    )
    result_ttl: int = Field(
        86400, ge=1, validation_alias=f"{PREFIX}RESULT_TTL", description="Seconds that a finished result is kept."
    )
    failure_ttl: int = Field(
        300,
        ge=1,
        validation_alias=f"{PREFIX}FAILURE_TTL",
        description="Seconds before a failed task that is asked for again is tried again.",
    )
    max_failures: int = Field(
        10000, ge=1, validation_alias=f"{PREFIX}MAX_FAILURES", description="Failed tasks that are remembered, at most."
    )
    thumbnails: int = Field(
        12,
        ge=0,
        le=100,
        validation_alias=f"{PREFIX}THUMBNAILS",
        description="Masks that the status page shows, kept in Redis with at most 32 KiB each. 0: none.",
    )
    delivered_ttl: int = Field(
        3600,
        ge=1,
        validation_alias=f"{PREFIX}DELIVERED_TTL",
        description="Seconds that a finished result is kept once Label Studio has stored it.",
    )
    max_queued: int = Field(
        20_000,
        ge=1,
        validation_alias=f"{PREFIX}MAX_QUEUED",
        description="Most tasks that are queued at once; the numbers of further ones wait until they can be read.",
    )
    redis_max_bytes: int = Field(
        2048 * MEBIBYTE,
        ge=16 * MEBIBYTE,
        validation_alias=f"{PREFIX}REDIS_MAX_BYTES",
        description="Memory in use by Redis, in bytes, above which no further tasks are queued in batches.",
    )
    image_schemes: Schemes = Field(
        ("https", "http", "data"),
        validation_alias=f"{PREFIX}IMAGE_SCHEMES",
        description="URL schemes that images may have.",
    )
    image_hosts: Names = Field(
        ("*",),
        validation_alias=f"{PREFIX}IMAGE_HOSTS",
        description="Hosts that images may come from: names, name:port, *.example.com, or * for every public host. "
        "A host with a private address must be named in full.",
    )
    image_max_bytes: int = Field(
        50 * MEBIBYTE, ge=1, validation_alias=f"{PREFIX}IMAGE_MAX_BYTES", description="Largest image file, in bytes."
    )
    image_max_pixels: int = Field(
        50_000_000,
        ge=1,
        le=PILLOW_MAX_PIXELS,
        validation_alias=f"{PREFIX}IMAGE_MAX_PIXELS",
        description="Largest image, in pixels.",
    )
    image_cache_bytes: int = Field(
        512 * MEBIBYTE,
        ge=0,
        validation_alias=f"{PREFIX}IMAGE_CACHE_BYTES",
        description="Decoded images that each worker keeps in memory so that a click fetches nothing, in bytes.",
    )
    prefetch: int = Field(
        2,
        ge=0,
        le=16,
        validation_alias=f"{PREFIX}PREFETCH",
        description="Images that each worker fetches ahead while its device works. 0: none.",
    )
    image_timeout: float = Field(
        30, gt=0, validation_alias=f"{PREFIX}IMAGE_TIMEOUT", description="Longest download of an image, in seconds."
    )
    request_max_bytes: int = Field(
        256 * MEBIBYTE,
        ge=1,
        validation_alias=f"{PREFIX}REQUEST_MAX_BYTES",
        description="Largest request, in bytes. Label Studio sends old predictions along, so keep it large.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias=f"{PREFIX}LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR."
    )

    _refam: RefAMConfig = PrivateAttr(default_factory=lambda: RefAMConfig.from_environment(os.environ))

    @field_validator("label_studio_url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not WEB_ADDRESS.fullmatch(url):
            raise ValueError("must be a web address such as http://localhost:8080, without user name and password")
        return url.rstrip("/")

    @field_validator("label_studio_api_key")
    @classmethod
    def _token(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not TOKEN.fullmatch(key.get_secret_value()):
            raise ValueError("must be letters, digits, dots, dashes and underscores, on one line")
        return key

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url is not None:
                parse_url(url.get_secret_value())  # type: ignore[no-untyped-call]
        except ValueError:  # whose text may hold a part of the password
            kinds = "redis://, rediss:// or unix://"
            raise ValueError(f"must begin with {kinds}; special characters are percent-encoded") from None
        return url

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if (self.basic_auth_user is None) != (self.basic_auth_pass is None):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS belong together; set both or neither.")
        return self

    @model_validator(mode="after")
    def _labels_can_be_told_apart(self) -> Self:
        name = f"{PREFIX}LABELS_AS_PROMPTS"
        if self.labels_as_prompts and not self.min_score:
            raise ValueError(
                f"{name} is on, which takes a least score, or every label would be found in every image; set "
                f"{PREFIX}MIN_SCORE, such as to 0.5."
            )
        if self.labels_as_prompts and self.refam.preset.choice == "point":
            raise ValueError(
                f"{name} is on, but REFAM_CHOICE is 'point' (as with REFAM_METHOD=faithful), which finds one thing "
                "alone; set it to 'things'."
            )
        return self

    @property
    def refam(self) -> RefAMConfig:
        """The model's settings."""
        return self._refam

    @property
    def model_version(self) -> str:
        """What names a mask's maker, in /setup and in every prediction."""
        return self.refam.model_version()

    @property
    def address(self) -> str:
        """Where the web server answers, seen from this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"  # noqa: S104

    @property
    def writes_back(self) -> bool:
        """Whether finished predictions are written to Label Studio: its address and a token are known."""
        return self.label_studio_url is not None and self.label_studio_api_key is not None

    def require_password(self) -> None:
        """Raises SettingsError where the web server would be open to all who reach this machine."""
        local = self.host == "localhost" or _is_loopback(self.host)
        if not (local or self.basic_auth_user or self.open):
            raise SettingsError(
                f"{PREFIX}HOST is {self.host}, so that others can reach the web server, and needs no password of them. "
                f"Set BASIC_AUTH_USER and BASIC_AUTH_PASS; or {PREFIX}OPEN=1 where nobody else reaches its port."
            )

    def require_label_studio(self, purpose: str) -> None:
        """Raises SettingsError, naming the purpose, unless Label Studio's address and a token are known."""
        if not self.writes_back:
            raise SettingsError(f"Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY {purpose}.")

    @property
    def small_bodies_bytes(self) -> int:
        """What all small bodies of requests in memory have together, at most."""
        return SMALL_BODY * SMALL_BODIES

    @property
    def large_bodies_bytes(self) -> int:
        """What all larger ones have together, at most."""
        return self.request_max_bytes * LARGE_BODIES

    @property
    def redis_socket(self) -> Path:
        """Unix socket of the private Redis."""
        return self.state_dir / "redis" / "redis.sock"

    @property
    def redis_address(self) -> str:
        """URL of the Redis in use; it may hold a password, so it is never shown."""
        return self.redis_url.get_secret_value() if self.redis_url else f"unix://{self.redis_socket}"


def variables() -> dict[str, str]:
    """Environment variable -> description, of every setting of the backend, in order."""
    return {name: field.description or "" for name, field in _variables().items()}


def defaults() -> dict[str, Any]:
    """Environment variable -> default, of every setting of the backend; None where it is made when it is needed."""
    return {name: None if field.default_factory else field.default for name, field in _variables().items()}


def _variables() -> dict[str, FieldInfo]:
    return {str(field.validation_alias): field for field in Settings.model_fields.values()}


def load_settings() -> Settings:
    """Read and check all settings.

    Raises SettingsError, and refam.errors.ConfigError for the model's; both name the variable and the remedy.
    """
    unknown = [name for name in os.environ if name.startswith(PREFIX) and name not in variables()]
    if unknown:
        close = difflib.get_close_matches(unknown[0], variables(), n=1)
        remedy = f"Did you mean {close[0]}?" if close else f"Remove it, or use one of {', '.join(variables())}."
        raise SettingsError(f"{unknown[0]} is not a setting. {remedy}")
    try:
        settings = Settings()  # type: ignore[call-arg]  # every field comes from the environment
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    return settings


def _explain(error: ValidationError) -> str:
    """One line for each wrong variable. Values are not shown: some are secrets."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        variable = str(problem["loc"][0]) if problem["loc"] else None
        hint = f" ({variables()[variable]})" if variable in variables() else ""
        lines.append(f"{variable} cannot be used: {message}{hint}" if variable else message)
    return "\n".join(lines)

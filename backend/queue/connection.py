"""Connections to the Redis in use."""

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as Backoff

from backend.errors import QueueUnavailableError
from backend.settings import Settings

__all__ = ["connect"]

SOCKET_TIMEOUT = 5  # seconds that Redis may take to answer
PATIENCE = 70  # further tries to reach a Redis that is gone, about two minutes


def connect(settings: Settings, *, patient: bool = False) -> Redis:
    """A connection to the Redis in use, tried out. Raises QueueUnavailableError, naming the remedy.

    patient: once Redis was there, wait for minutes where it is gone. Otherwise commands soon raise RedisError.
    """
    connection = _client(settings, tries=2)
    try:
        connection.ping()
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        where = "the Redis of REDIS_URL" if settings.redis_url else f"the private Redis in {settings.state_dir}"
        remedy = "Check REDIS_URL." if settings.redis_url else "Run `refam-backend up`, or set REDIS_URL."
        raise QueueUnavailableError(f"{where} cannot be reached ({type(error).__name__}). {remedy}") from None
    if patient:
        connection.close()
        connection = _client(settings, tries=PATIENCE)
    return connection


def _client(settings: Settings, tries: int) -> Redis:
    return Redis.from_url(
        settings.redis_address,
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=SOCKET_TIMEOUT,
        retry=Backoff(ExponentialBackoff(base=0.1, cap=2), tries),
    )

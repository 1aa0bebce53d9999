"""What is bounded, and how full it is: part of GET /status."""

from typing import Any

from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import Settings

__all__ = ["limits"]


def limits(shared: SharedState, settings: Settings) -> dict[str, Any]:
    """The bounds in force, each with its use where that is known. Bytes and seconds."""
    return {
        "queue": {
            "tasks": shared.backlog.waiting(Priority.BATCH),
            "tasks_max": settings.max_queued,
            "redis_bytes": shared.backlog.memory(),
            "redis_bytes_max": settings.redis_max_bytes,
        },
        "seconds": {
            "result": settings.result_ttl,
            "failed_result": settings.failure_ttl,
            "job": settings.job_timeout,
            "inline_wait": settings.inline_seconds,
            "image_download": settings.image_timeout,
        },
        "request": {
            "bytes_max": settings.request_max_bytes,
            "together_bytes_max": 2 * settings.small_bodies_bytes + settings.large_bodies_bytes,
            "inline_waiters_max": settings.inline_waiters,
        },
        "image": {"bytes_max": settings.image_max_bytes, "pixels_max": settings.image_max_pixels},
        "worker": {
            "image_cache_bytes_max": settings.image_cache_bytes,
            "image_cache_images_max": settings.refam.image_cache,
            "text_cache_texts_max": settings.refam.text_cache,
        },
        "failures_max": settings.max_failures,
    }

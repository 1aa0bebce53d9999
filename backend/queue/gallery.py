"""The last masks as small pictures. Workers put them in, the status page shows them; bounded in number and size.

Keys, of one Label Studio:
    refam:<studio>:masks        list: JSON {id, project, task, text, score, at}, the newest REFAM_BACKEND_THUMBNAILS
    refam:<studio>:thumbnails   hash: id -> JPEG of THUMBNAIL_BYTES at most
"""

import json
import secrets
import time
from typing import Any, cast

from backend.label_studio.request import TaskRequest
from backend.queue.keyspace import Keyspace
from backend.settings import Settings

__all__ = ["THUMBNAIL_BYTES", "Gallery"]

THUMBNAIL_BYTES = 32 * 2**10
TEXT_LENGTH = 120  # characters that are shown of a text

# Puts an entry and its picture in, and takes out what is more than ARGV[1] of them.
ADD = """
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('LPUSH', KEYS[1], ARGV[2])
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], -1)) do
    redis.call('HDEL', KEYS[2], cjson.decode(entry).id)
end
redis.call('LTRIM', KEYS[1], 0, ARGV[1] - 1)
"""


class Gallery:
    """The newest masks."""

    def __init__(self, keyspace: Keyspace, settings: Settings) -> None:
        self._connection = keyspace.connection
        self._masks, self._thumbnails = keyspace.key("masks"), keyspace.key("thumbnails")
        self._add = keyspace.connection.register_script(ADD)
        self.size = settings.thumbnails

    def add(self, request: TaskRequest, score: float, jpeg: bytes) -> None:
        """Show a mask, instead of the oldest one."""
        name = secrets.token_hex(8)
        text = "; ".join(expression.text for expression in request.expressions)[:TEXT_LENGTH]
        ids = {"id": name, "project": request.project[:TEXT_LENGTH], "task": request.task[:TEXT_LENGTH]}
        entry = json.dumps({**ids, "text": text, "score": score, "at": time.time()})
        self._add(keys=[self._masks, self._thumbnails], args=[self.size, entry, name, jpeg])

    def masks(self) -> list[dict[str, Any]]:
        """What is shown, newest first, as {id, project, task, text, score, at}."""
        return [json.loads(entry) for entry in cast(list[bytes], self._connection.lrange(self._masks, 0, -1))]

    def thumbnail(self, name: str) -> bytes | None:
        """The JPEG of a mask; None once it is not shown any more."""
        return cast(bytes | None, self._connection.hget(self._thumbnails, name))

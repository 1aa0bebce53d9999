"""Bodies of requests, bounded each and all together.

What finds no room in memory is not read yet: its sender is held back by TCP. Small bodies have a room of their own, so
that ordinary requests never wait for large ones; and so have those of senders without a password, who could announce
much and send nothing: theirs take their room as they arrive.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from fastapi import Request

from backend.settings import SMALL_BODY, Settings
from backend.timings import Timings
from backend.web.bodies import RequestError

__all__ = ["Intake"]


class Room:
    """So many bytes, to be shared. Used by one event loop."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._freed = asyncio.Event()

    async def wait(self, size: int) -> None:
        """Until there is room for so many bytes."""
        while self._free < size:
            await self._freed.wait()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take so many bytes, for which there is room, until the end of the block."""
        self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._freed.set()
            self._freed = asyncio.Event()


class Intake:
    """Reads the bodies of requests."""

    def __init__(self, settings: Settings, timings: Timings) -> None:
        self._timings = timings
        self._largest = settings.request_max_bytes
        self._small, self._large = Room(settings.small_bodies_bytes), Room(settings.large_bodies_bytes)
        self._strangers = Room(settings.small_bodies_bytes)

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """A request's body, which has its room until the end of the block.

        Raises RequestError: 413 for a body that is too large, 408 for one that is too slow, and 503 where there is no
        room for it for a while.
        """
        size = min(_announced(request, self._largest), self._largest)
        room = self._small if size <= SMALL_BODY else self._large
        await self._await_room(request, room, size)
        with room.taken(size):
            yield await self._read(request, self._largest)

    @asynccontextmanager
    async def strangers_body(self, request: Request, limit: int) -> AsyncIterator[bytearray]:
        """As `body`, of a sender without a password. limit: bytes that it may have."""
        room = self._strangers
        with ExitStack() as taken:

            async def take(size: int) -> None:
                await self._await_room(request, room, size)
                taken.enter_context(room.taken(size))

            yield await self._read(request, min(limit, self._largest), take)

    async def _await_room(self, request: Request, room: Room, size: int) -> None:
        try:
            async with asyncio.timeout(self._timings.room):
                await room.wait(size)
        except TimeoutError:
            await self._discard(request)  # a sender who is cut off sees no answer
            remedy = "Try again in a moment, or select fewer tasks."
            raise RequestError(503, "body", "too many large requests are being read.", remedy) from None

    async def _read(
        self, request: Request, limit: int, take: Callable[[int], Awaitable[None]] | None = None
    ) -> bytearray:
        """take: called with the size of what has arrived, before it is kept."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._timings.body):
                async for chunk in request.stream():
                    if take:
                        await take(len(chunk))
                    body += chunk
                    if len(body) > limit:
                        remedy = "Select fewer tasks, or raise REFAM_BACKEND_REQUEST_MAX_BYTES."
                        raise RequestError(413, "body", f"the request is larger than {limit} bytes.", remedy)
        except TimeoutError:
            message = f"the request took longer than {self._timings.body:g} s to arrive."
            raise RequestError(408, "body", message, "Select fewer tasks, or use a faster network.") from None
        return body

    async def _discard(self, request: Request) -> None:
        try:
            async with asyncio.timeout(self._timings.body):
                async for _ in request.stream():
                    pass
        except TimeoutError:
            return


def _announced(request: Request, unknown: int) -> int:
    """Bytes that a body has, or `unknown` where it comes in chunks."""
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Transfer-Encoding" not in request.headers else unknown

"""The answer of a POST: the frames of a turn, passed on to its client. Knows ASGI; of turns only that they deliver frames."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from .protocol import WAITING, frame
from .settings import Settings

#: What is sent at a time, so that a client that takes it slowly is told from one that takes nothing.
PIECE_BYTES = 64 * 1024


class Frames:
    """Frames on their way from the threads that make them to the loop's, in which this is made."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, data: bytes, is_last: bool) -> None:
        """May be called from any thread."""
        with suppress(RuntimeError):  # the loop has ended, and with it the client's connection
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (data, is_last))

    async def take(self) -> tuple[bytes, bool]:
        """All that is there, as one piece, and whether it ends with the last frame. Waits for a first one."""
        data, is_last = await self._queue.get()
        while not is_last and not self._queue.empty():
            more, is_last = self._queue.get_nowait()
            data += more
        return data, is_last


class FrameStream:
    """An ASGI application that answers with `frames`. Calls `end` when they were sent, or when its client is gone."""

    def __init__(self, frames: Frames, settings: Settings, end: Callable[[], None]) -> None:
        self._frames = frames
        self._settings = settings
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            headers = [(b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            is_last = False
            while not is_last:
                data, is_last = await self._next(gone)
                await self._send(send, data, is_last)
        except (TimeoutError, ConnectionError):
            pass  # nobody takes what is sent
        finally:
            self._end()
            gone.cancel()

    async def _next(self, gone: asyncio.Future) -> tuple[bytes, bool]:
        """What is there to send; a sign of life where nothing comes."""
        take = asyncio.ensure_future(self._frames.take())
        try:
            seconds = self._settings.heartbeat_seconds
            await asyncio.wait({take, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConnectionError
            return take.result() if take.done() else (frame(WAITING), False)
        finally:
            take.cancel()

    async def _send(self, send: Send, data: bytes, is_last: bool) -> None:
        last = max(0, len(data) - 1) // PIECE_BYTES * PIECE_BYTES
        for at in range(0, last + 1, PIECE_BYTES):
            more = not is_last or at < last
            async with asyncio.timeout(self._settings.body_seconds):
                await send({"type": "http.response.body", "body": data[at : at + PIECE_BYTES], "more_body": more})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

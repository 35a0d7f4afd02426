"""The routes of PROTOCOL.md as a Starlette application. Knows HTTP; of turns only that they deliver frames."""

import asyncio
import hashlib
import hmac
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .batcher import away
from .errors import GriffinError
from .origin import Origin
from .protocol import STATUS, VERSION, WAITING, error_body, frame, internal, read_turn
from .turn import Turn

RETRY_AFTER_SECONDS = "1"
#: What is sent at a time, so that a client that takes it slowly is told from one that takes nothing.
PIECE_BYTES = 64 * 1024


def create_app(origin: Origin) -> ASGIApp:
    """The application of an origin, which is closed with it."""

    def health(_: Request) -> Response:
        if not origin.batcher.is_healthy:
            raise away()
        return JSONResponse({"status": "ok"})

    def models(_: Request) -> Response:
        return JSONResponse({"protocol": int(VERSION), "object": "list", "data": [origin.description()]})

    def metrics(_: Request) -> Response:
        origin.batcher.observe()
        return Response(origin.metrics.text(), media_type="text/plain; version=0.0.4")

    async def generate(request: Request) -> ASGIApp:
        return await begin(request, generates=True)

    async def prefill(request: Request) -> ASGIApp:
        return await begin(request, generates=False)

    async def begin(request: Request, generates: bool) -> ASGIApp:
        served, seconds = origin.served, origin.settings.body_seconds
        with origin.batcher.reading_body():
            body = await _read_body(request, served.body_bytes, seconds)
            stream = FrameStream(origin)
            stream.begin(await run_in_threadpool(stream.turn_of, body, generates))
        return stream

    def cancel(request: Request) -> Response:
        if not origin.batcher.cancel(request.path_params["id"]):
            raise GriffinError("not_found", "No turn of this id runs here.")
        return Response(status_code=204)

    def failed(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _answer(origin, GriffinError("not_found", "There is no such path or method."))
        return _answer(origin, error if isinstance(error, GriffinError) else internal())

    @asynccontextmanager
    async def lifespan(_: Starlette):
        yield
        await run_in_threadpool(origin.close)

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/v1/models", models),
            Route("/v1/generate", generate, methods=["POST"]),
            Route("/v1/prefill", prefill, methods=["POST"]),
            Route("/v1/generate/{id}", cancel, methods=["DELETE"]),
        ],
        exception_handlers={GriffinError: failed, HTTPException: failed, Exception: failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a path that is not there is `not_found`
    return _guarded(app, origin)


def _answer(origin: Origin, error: GriffinError) -> Response:
    origin.metrics.refused.labels(error.code).inc()
    headers = {"retry-after": RETRY_AFTER_SECONDS} if error.code == "busy" else None
    return JSONResponse(error_body(error), STATUS[error.code], headers)


def _guarded(app: ASGIApp, origin: Origin) -> ASGIApp:
    """Before any route: the key, compared in constant time. On every answer: the protocol's version."""
    expected = hashlib.sha256(f"Bearer {origin.settings.origin_key}".encode()).digest()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)

        async def send_versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-griffin-protocol", VERSION.encode())]
            await send(message)

        given = hashlib.sha256(dict(scope["headers"]).get(b"authorization", b"")).digest()
        is_open = not origin.settings.origin_key or scope["path"] == f"{scope.get('root_path', '')}/health"
        if not (hmac.compare_digest(given, expected) or is_open):
            error = GriffinError("unauthorized", "This origin expects its key as a bearer token.")
            return await _answer(origin, error)(scope, receive, send_versioned)
        return await app(scope, receive, send_versioned)

    return guarded


async def _read_body(request: Request, most_bytes: int, seconds: float) -> bytearray:
    too_large = GriffinError("too_large", f"The body has more than {most_bytes} bytes.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > most_bytes:
                    raise too_large
    except TimeoutError:
        raise GriffinError("timeout", f"The body did not come within {seconds:g} s.") from None
    except ClientDisconnect:
        raise GriffinError("invalid_argument", "The body was cut off.") from None
    return body


class FrameStream:
    """The answer of a POST: submits its turn, then passes on its frames. Ends the turn when its client goes."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._settings = origin.settings
        self._batcher = origin.batcher
        self._frames: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def turn_of(self, body: bytearray, generates: bool) -> Turn:
        """The turn in a body, whose frames come here. Takes its time, so not in the loop's thread."""
        return Turn(read_turn(body, self._origin.served, generates), self._origin.spelling, self._deliver)

    def begin(self, turn: Turn) -> None:
        self._batcher.submit(turn)
        self._turn = turn

    def _deliver(self, data: bytes, is_last: bool) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it the client's connection
            self._loop.call_soon_threadsafe(self._frames.put_nowait, (data, is_last))

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
            self._batcher.drop(self._turn)
            gone.cancel()

    async def _next(self, gone: asyncio.Future) -> tuple[bytes, bool]:
        """What is there to send, as one piece; a sign of life where nothing comes."""
        take = asyncio.ensure_future(self._frames.get())
        try:
            await asyncio.wait(
                {take, gone}, timeout=self._settings.heartbeat_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if gone.done():
                raise ConnectionError
            if not take.done():
                return frame(WAITING), False
            data, is_last = take.result()
            while not is_last and not self._frames.empty():
                more, is_last = self._frames.get_nowait()
                data += more
            return data, is_last
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

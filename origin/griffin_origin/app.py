"""The routes of PROTOCOL.md as a Starlette application. Knows HTTP; stream.py sends what turns deliver."""

import asyncio
import hashlib
import hmac
from contextlib import asynccontextmanager
from functools import partial

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
from .protocol import STATUS, VERSION, error_body, internal, read_turn
from .stream import Frames, FrameStream
from .turn import Deliver, Turn

RETRY_AFTER_SECONDS = "1"


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
            frames = Frames()
            turn = await run_in_threadpool(turn_of, body, generates, frames.put)  # it takes its time
            origin.batcher.submit(turn)
        return FrameStream(frames, origin.settings, end=partial(origin.batcher.drop, turn))

    def turn_of(body: bytearray, generates: bool, deliver: Deliver) -> Turn:
        return Turn(read_turn(body, origin.served, generates), origin.spelling, deliver)

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

"""`python -m griffin_origin`: one origin in one process, without Ray. GRIFFIN_… variables set it up (settings.py)."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import uvicorn

from .app import create_app
from .errors import GriffinError
from .origin import Origin
from .settings import Settings

#: A connection that nothing came over is closed here after so long: later than clients close it, or one would ask over a
#: connection that is just being closed, and take the origin for lost. workerd and many others wait 5 s, uvicorn as well.
IDLE_SECONDS = 75


def main() -> None:
    parser = argparse.ArgumentParser(prog="griffin_origin", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the process that started this one has ended"
    )
    given = parser.parse_args()
    if given.with_parent:
        threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("jax").setLevel(logging.WARNING)  # or it tells of every kind of device that is not there
    try:
        origin = Origin(settings_of(os.environ))
    except GriffinError as error:
        parser.exit(2, f"{error.message}\n")
    sys.exit(0 if serve(origin, given.host, given.port) else 1)


def settings_of(environment: Mapping[str, str]) -> Settings:
    try:
        return Settings.of(environment)
    except ValueError as cause:
        raise GriffinError("invalid_argument", str(cause)) from cause


def server_of(origin: Origin, host: str, port: int) -> uvicorn.Server:
    """The server of an origin, which is closed with it."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(origin),
            host=host,
            port=port,
            access_log=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=5,
        )
    )


def serve(origin: Origin, host: str, port: int) -> bool:
    """Serves until it is told to stop, or until the origin can run no more turns; False where it was that."""
    server = server_of(origin, host, port)

    def end_with_the_batcher() -> None:
        origin.batcher.join()
        server.should_exit = True

    threading.Thread(target=end_with_the_batcher, daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run()
    return server.started and origin.batcher.ended_well


def end_with(parent: int) -> None:
    """Ends this process when its parent has ended, however that was."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

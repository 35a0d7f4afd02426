"""`python -m griffin_origin`: one origin in one process, without Ray. GRIFFIN_… variables set it up (settings.py)."""

import argparse
import logging

import uvicorn

from .app import create_app
from .origin import Origin
from .settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="griffin_origin", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8790)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    app = create_app(Origin(Settings.of()))
    uvicorn.run(app, host=given.host, port=given.port, access_log=False, timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()

"""A real server of this checkout, which can be killed as a machine dies, and what is asked of it."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ..hugging_face import NODE, ROOT

START_SECONDS = 60


@dataclass(frozen=True)
class Reply:
    """What of a response is looked at."""

    id: str
    text: str
    #: Tokens of the conversation up to the end of this reply.
    tokens: int
    #: Where the state came from: restored, recomputed, cold …
    state: str
    restored_tokens: int


class Server:
    """`workerd serve` on a port and a data folder of its own."""

    def __init__(self, data: Path) -> None:
        subprocess.run([NODE, ROOT / "build.ts"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        self._data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60, trust_env=False)
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._process.pid

    def respond(self, text: str, after: str | None) -> Reply:
        """A response of the model, greedy, to a user's text; `after` is the id of the response before."""
        body = {"input": text, "previous_response_id": after, "temperature": 0}
        answer = self._client.post("/v1/responses", json=body)
        answer.raise_for_status()
        value: dict[str, Any] = answer.json()
        return Reply(
            value["id"],
            "".join(part["text"] for item in value["output"] for part in item["content"]),
            value["usage"]["total_tokens"],
            value["state"],
            value["griffin"]["restored_tokens"],
        )

    def kill_and_restart(self) -> None:
        """Kills every process of it with SIGKILL, and starts it again on the same port and data."""
        self._kill()
        self._process = self._start()

    def stop(self) -> None:
        self._kill()
        self._client.close()

    def _kill(self) -> None:
        _kill_group(self._process)

    def _start(self) -> subprocess.Popen:
        # Nothing of what an operator may have set: the same server is measured everywhere.
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        environment = {**kept, "PORT": str(self._port), "DATA_DIR": str(self._data)}
        process = subprocess.Popen(
            [NODE, "src/cli/serve/workerd.ts"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < until:
            try:
                if self._client.get("/health").is_success:
                    return process
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        _kill_group(process)
        raise RuntimeError(f"The server does not answer on port {self._port}.")


def _kill_group(process: subprocess.Popen) -> None:
    """Kills a process and all that it started; nothing happens where they have ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

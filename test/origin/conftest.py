"""Servers for tests: the real application on a real socket, in this process, with half of pocket on the CPU."""

import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "origin"), str(Path(__file__).parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache/jax"))

import httpx
import pytest
from client import Client
from safetensors.numpy import load_file, save_file

from griffin_origin.__main__ import server_of
from griffin_origin.model import Model
from griffin_origin.origin import Origin
from griffin_origin.settings import Settings

# One length of chunks, and one number of slots where a test needs no other: every program is compiled once.
SETTINGS = Settings(slots=4, queue=200, chunk_tokens=16)
LAYERS = 3


@lru_cache
def small_checkpoint() -> Path:
    """pocket's first layers, two recurrent ones and one that attends, in int8: compiled in half the time."""
    pocket, folder = ROOT / "models/pocket", Path(tempfile.mkdtemp(prefix="griffin-"))
    atexit.register(shutil.rmtree, folder)
    source = folder / "source"
    source.mkdir()
    config = json.loads((pocket / "config.json").read_text()) | {"num_hidden_layers": LAYERS}
    (source / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pocket / file, source)
    tensors = load_file(pocket / "model.safetensors")
    kept = {name: each for name, each in tensors.items() if layer_of(name) < LAYERS}
    save_file(kept, source / "model.safetensors")
    run_edge("convert", source, folder)
    return folder


def layer_of(name: str) -> int:
    found = re.search(r"\blayers\.(\d+)\.", name)
    return int(found[1]) if found else 0


@lru_cache
def small_model() -> Model:
    """Shared by all servers of this process, and with it their programs."""
    return Model.load(small_checkpoint())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def serving(**changes):
    """An origin and its URL; `changes` are settings."""
    origin = Origin(replace(SETTINGS, checkpoint=str(small_checkpoint()), **changes), small_model())
    port = free_port()
    server = server_of(origin, "127.0.0.1", port)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield origin, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def posting(url: str):
    """A connection over which a request came, but not its body."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /v1/generate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")
        yield connection


def wait_until(holds, seconds: float = 120) -> None:
    """However slow the machine is; only what never comes true fails."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def served():
    with serving() as both:
        yield both


@pytest.fixture(scope="session")
def client(served) -> Client:
    return Client(served[1])


@pytest.fixture(scope="session")
def origin(served) -> Origin:
    return served[0]


@pytest.fixture(scope="session")
def edge_folder(tmp_path_factory) -> Path:
    """Checkpoints of test models and what the edge computes with them: edge.ts says which."""
    folder = tmp_path_factory.mktemp("edge")
    run_edge("write", folder)
    return folder


def run_edge(*arguments) -> None:
    """Runs edge.ts on the project's own Node."""
    subprocess.run([ROOT / "node_modules/.bin/node", ROOT / "test/origin/edge.ts", *arguments], check=True)

"""Where and with what it was measured."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax

PACKAGES = ("jax", "torch", "transformers")


def device_bytes() -> int | None:
    """The memory of an accelerator; None on a CPU."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return None if stats is None else stats["bytes_limit"]


def summary() -> str:
    """One line, for below a table."""
    parts = [_device(), f"Python {platform.python_version()}", *_versions()]
    return f"{', '.join(parts)}; {datetime.datetime.now(datetime.UTC).date()}, {_commit()}"


def _device() -> str:
    return processor() if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def processor() -> str:
    """The name of the CPU, and how many of its cores are ours."""
    info = Path("/proc/cpuinfo")
    names = [line.split(": ")[1] for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.machine()}"


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return found


def _commit() -> str:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f"commit {git('rev-parse', '--short', 'HEAD')}{changed}"
    except (OSError, subprocess.CalledProcessError):
        return "no commit"

"""Files that are there as a whole or not at all, also when a machine dies while they are written."""

import os
from pathlib import Path


def write_whole(file: Path, data: bytes | str) -> None:
    """Writes a file; a reader finds the old or the new one."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_bytes(data.encode() if isinstance(data, str) else data)
    keep_whole(partial, file)


def keep_whole(partial: Path, file: Path) -> None:
    """Puts a file that was written under another name in its place."""
    with partial.open("rb+") as written:
        os.fsync(written.fileno())
    os.replace(partial, file)

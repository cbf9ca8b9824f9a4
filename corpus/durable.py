"""What gets a name is on the disk before it has it, and has it for good: no lost or empty files."""

import os
from pathlib import Path

__all__ = ["flush", "place"]


def place(partial: Path, target: Path) -> None:
    """Rename a file or folder, of which all is flushed to the disk before and the name after.

    Raises:
        OSError: the disk is full or fails, or the target is a folder with something in it.
    """
    for path in [*partial.rglob("*"), partial]:
        flush(path)
    partial.rename(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Return when the file's bytes, or the folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

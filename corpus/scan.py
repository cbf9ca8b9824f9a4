"""Which files there are to read at and under a path."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["INDEX_FILES", "Listing", "scan"]

INDEX_FILES = {"index.sqlite", "generations"}
"""A folder with these in it is an index, and not documents."""


@dataclass(slots=True)
class Listing:
    """What lies at some paths."""

    files: dict[Path, os.stat_result] = field(default_factory=dict)
    """Regular files small enough to read, by absolute path."""
    skipped: dict[Path, str] = field(default_factory=dict)
    """Files left out, with the reason."""
    unlisted: dict[Path, str] = field(default_factory=dict)
    """Folders that could not be listed, with the reason; what is under them is unknown."""


def scan(path: Path, listing: Listing, *, max_bytes: int) -> None:
    """Add to the listing the file at the path, or the files under it.

    Hidden files, links to folders and indexes are passed over under a folder;
    what is named itself is not.
    """
    if path.is_dir():
        for file in _walk(path, listing):
            _consider(file, listing, max_bytes)
    else:
        _consider(path, listing, max_bytes)


def _walk(root: Path, listing: Listing) -> Iterator[Path]:
    def note(error: OSError) -> None:
        listing.unlisted[Path(error.filename)] = f"cannot be listed: {error.strerror}"

    for folder, subfolders, names in os.walk(root, onerror=note):
        if {*subfolders, *names} >= INDEX_FILES:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def _consider(file: Path, listing: Listing, max_bytes: int) -> None:
    try:
        str(file).encode("utf-8")
        status = file.stat()
    except UnicodeEncodeError:
        printable = Path(os.fsencode(file).decode("utf-8", "backslashreplace"))
        listing.skipped[printable] = "its name is not UTF-8; rename it"
        return
    except OSError as error:
        listing.skipped[file] = f"cannot be read: {error.strerror}"
        return
    if not stat.S_ISREG(status.st_mode):
        listing.skipped[file] = "is not a regular file"
    elif status.st_size > max_bytes:
        listing.skipped[file] = (
            f"has {status.st_size / 2**20:.3g} MB, more than --max-file-mb {max_bytes / 2**20:.3g}"
        )
    else:
        listing.files[file] = status

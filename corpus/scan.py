"""Which files there are to read, under the paths that the user gave."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from corpus.errors import InputError, RootError

__all__ = ["Listing", "scan"]


@dataclass(slots=True)
class Listing:
    """What lies under some paths."""

    files: dict[Path, os.stat_result] = field(default_factory=dict)
    """Regular files small enough to read, by absolute path."""
    skipped: dict[Path, str] = field(default_factory=dict)
    """Files left out, with the reason."""
    unlisted: dict[Path, str] = field(default_factory=dict)
    """Folders that could not be listed, with the reason; what was under them is unknown."""


def scan(paths: Iterable[Path], *, max_bytes: int) -> Listing:
    """The files at and under the paths; hidden ones and links to folders are passed over.

    Raises:
        InputError: a path does not exist.
        RootError: a path is a folder that cannot be listed.
    """
    listing = Listing()
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; nothing was changed")
        if path.is_dir():
            if not os.access(path, os.R_OK | os.X_OK):
                raise RootError(f"{path} cannot be listed; nothing was changed")
            for file in _walk(path, listing):
                _consider(file, listing, max_bytes)
        else:
            _consider(path, listing, max_bytes)
    return listing


def _walk(root: Path, listing: Listing) -> Iterator[Path]:
    def note(error: OSError) -> None:
        listing.unlisted[Path(error.filename)] = f"cannot be listed: {error.strerror}"

    for folder, subfolders, names in os.walk(root, onerror=note):
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
            f"has {status.st_size / 2**20:.0f} MB, more than --max-file-mb {max_bytes / 2**20:.0f}"
        )
    else:
        listing.files[file] = status

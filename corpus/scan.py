"""Which files there are to read at and under a path."""

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

__all__ = ["IGNORE_FILE", "INDEX_FILES", "Listing", "scan"]

INDEX_FILES = {"index.sqlite", "generations"}
"""A folder with these in it is an index, and not documents."""
_OF_AN_INDEX = re.compile(
    r"index\.sqlite(\.partial|\.backup-.*)?(-wal|-shm|-journal)?|generations|lock|feedback\.jsonl"
)
"""What else is the index's own where it lies among documents; uploads are documents."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What the system says where there is no file to read, and not merely that it may not be seen."""
IGNORE_FILE = ".citespanignore"
"""Patterns as in .gitignore, for the folder that it lies in and those below."""
_FOLDER_MARK = "ps_d"
"""pathspec's name for the part of a match that is the end of a folder's name."""


@dataclass(slots=True)
class Listing:
    """What lies at some paths."""

    files: dict[Path, os.stat_result] = field(default_factory=dict)
    """Regular files small enough to read, by absolute path."""
    skipped: dict[Path, str] = field(default_factory=dict)
    """Files left out, with the reason."""
    unlisted: dict[Path, str] = field(default_factory=dict)
    """What could not be looked at, with the reason; whether it changed is unknown, as is all
    that is under it."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """One folder's ignore file."""

    folder: Path
    patterns: tuple[GitIgnoreSpecPattern, ...]

    def verdict(self, path: Path, *, is_folder: bool) -> bool | None:
        """Whether the path is ignored; None where no pattern speaks of it."""
        name = path.relative_to(self.folder).as_posix()
        verdict = None
        for pattern in self.patterns:
            for_folders = str(pattern.pattern).rstrip(" \r").endswith("/")
            if for_folders and not is_folder:
                continue
            looked_at = f"{name}/" if for_folders else name
            if pattern.include is None or pattern.regex is None:
                continue
            # A folder's patterns match all that is under it, too. Here each folder was judged
            # when the walk came to it, and what is in it is judged by itself.
            for match in pattern.regex.finditer(looked_at):
                marked = match.groupdict().get(_FOLDER_MARK) is not None
                if not marked or match.end(_FOLDER_MARK) == len(looked_at):
                    verdict = bool(pattern.include)
        return verdict


def scan(path: Path, listing: Listing, *, max_bytes: int) -> None:
    """Add to the listing the file at the path, or the files under it, if there are any.

    Hidden files, what `.citespanignore` names, links to folders, and indexes are
    passed over under a folder; what is named itself is not. Of an index that is named
    what is not its own is read.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:  # Such as of a network's file system that is not connected.
        listing.unlisted[path] = f"cannot be read: {error.strerror}"
        return
    if stat.S_ISDIR(mode):
        for file in _walk(path, listing):
            _consider(file, listing, max_bytes)
    else:
        _consider(path, listing, max_bytes)


def _walk(root: Path, listing: Listing) -> Iterator[Path]:
    # Not os.walk, which in Python 3.11 comes to its end in folders a thousand deep.
    pending: list[tuple[Path, tuple[_Rules, ...]]] = [(root, ())]
    while pending:
        folder, known = pending.pop()
        try:
            with os.scandir(folder) as entries:
                # Links to folders are not followed, so that none leads round in a circle.
                names = {
                    entry.name: _is_folder(entry)
                    for entry in entries
                    if not (entry.is_symlink() and _is_folder(entry))
                }
        except OSError as error:
            listing.unlisted[_sayable(folder)] = f"cannot be listed: {error.strerror}"
            continue
        if names.keys() >= INDEX_FILES:
            if folder != root:
                listing.skipped[_sayable(folder)] = "is an index, and no documents"
                continue
            names = {name: kind for name, kind in names.items() if not _OF_AN_INDEX.fullmatch(name)}
        if IGNORE_FILE in names and (own := _read_rules(folder, listing)):
            known = (own, *known)
        within: list[Path] = []
        for name, is_folder in sorted(names.items()):
            path = folder / name
            if name.startswith(".") or _ignored(path, known, is_folder=is_folder):
                continue
            if is_folder:
                within.append(path)
            else:
                yield path
        pending += ((path, known) for path in reversed(within))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _read_rules(folder: Path, listing: Listing) -> _Rules | None:
    file = folder / IGNORE_FILE
    try:
        if not file.is_file():  # Reading a pipe would wait for somebody to write into it.
            raise OSError("it is no regular file")
        lines = file.read_text(encoding="utf-8-sig").split("\n")
        patterns = (_pattern(line) for line in lines)
        return _Rules(folder, tuple(pattern for pattern in patterns if pattern))
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot be read as a list of patterns, nothing is ignored: {error}"
        listing.skipped[_sayable(file)] = reason
        return None


def _sayable(path: Path) -> Path:
    """The path, or where its name is not UTF-8 one that can be written down and shown."""
    return Path(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _pattern(line: str) -> GitIgnoreSpecPattern | None:
    """The pattern of the line; like git, we pass over one that cannot be understood."""
    try:
        return GitIgnoreSpecPattern(line)
    except ValueError:
        return None


def _ignored(path: Path, rules: Sequence[_Rules], *, is_folder: bool) -> bool:
    """What the nearest ignore file that speaks of the path says."""
    verdicts = (rule.verdict(path, is_folder=is_folder) for rule in rules)
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _consider(file: Path, listing: Listing, max_bytes: int) -> None:
    try:
        str(file).encode("utf-8")
        status = file.stat()
    except UnicodeEncodeError:
        listing.skipped[_sayable(file)] = "its name is not UTF-8; rename it"
        return
    except OSError as error:
        gone = error.errno in _GONE
        (listing.skipped if gone else listing.unlisted)[file] = f"cannot be read: {error.strerror}"
        return
    if not stat.S_ISREG(status.st_mode):
        listing.skipped[file] = "is not a regular file"
    elif status.st_size > max_bytes:
        listing.skipped[file] = (
            f"has {status.st_size / 2**20:.3g} MB, more than --max-file-mb {max_bytes / 2**20:.3g}"
        )
    else:
        listing.files[file] = status

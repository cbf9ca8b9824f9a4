"""Files that visitors bring: kept in a folder of the index, under harmless names, within limits."""

import os
import re
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from corpus.durable import flush
from corpus.errors import LoadError
from corpus.load import chosen_loader
from corpus.text import whole

__all__ = ["UPLOADS", "UploadLimits", "safe_name", "store"]

UPLOADS = "uploads"
"""The folder within the index; it is a root of its own."""
_NAME_BYTES = 120
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]|[\ud800-\udfff]')
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What visitors may bring."""

    file_bytes: int = 64 * 2**20
    files: int = 20
    """In one request."""
    request_bytes: int = 256 * 2**20
    """Of one request, all its files together."""
    total_bytes: int = 4 * 2**30
    """Of all that was ever brought and is still kept."""


def safe_name(name: str) -> str:
    """The file's name without folders, invisible characters, or a dot at its beginning.

    >>> safe_name("../../etc/passwd")
    'passwd'
    >>> safe_name(".citespanignore")
    'citespanignore'
    """
    name = PurePosixPath(PureWindowsPath(whole(name)).name).name
    name = unicodedata.normalize("NFC", _UNSAFE.sub("_", name))
    name = "".join(c for c in name if unicodedata.category(c) not in _INVISIBLE)
    name = " ".join(name.split()).strip(". ") or "document"
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 10:
        stem, dot, suffix = name, "", ""
    room = _NAME_BYTES - len((dot + suffix).encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip() + dot + suffix


def store(stream: BinaryIO, name: str, folder: Path, limits: UploadLimits) -> Path:
    """Where the file now lies: in the folder, whole, under a name that no other file had.

    The same bytes under the same name are kept once.

    Raises:
        LoadError: it is empty, too large, or of a format that no loader reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Hidden, and so never indexed, until it is complete.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".incoming-") as partial:
        size = 0
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > limits.file_bytes:
                raise LoadError(f"has more than {limits.file_bytes / 2**20:.3g} MB")
            partial.write(piece)
        partial.flush()
        os.fsync(partial.fileno())
        if not size:
            raise LoadError("has no text: the file is empty")
        kept = sum(map(_size, folder.iterdir()))
        if kept > limits.total_bytes:  # What was just written counts too.
            raise LoadError(
                f"does not fit: {limits.total_bytes / 2**30:.3g} GB were uploaded already;"
                " remove documents first"
            )
        data = Path(partial.name).read_bytes()
        target = folder / safe_name(name)
        chosen_loader(target, data)  # Refuses what is certainly of another format.
        return _placed(Path(partial.name), target, data)


def _placed(partial: Path, target: Path, data: bytes) -> Path:
    number, place = 1, target
    while True:
        try:
            # A second name for the same bytes; unlike renaming, it never takes another's place.
            os.link(partial, place)
        except FileExistsError:
            if place.read_bytes() == data:
                return place
            number += 1
            place = target.with_stem(f"{target.stem}-{number}")
        else:
            flush(place.parent)
            return place


def _size(file: Path) -> int:
    """In bytes; nothing where it has just been moved or taken away by another upload."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0

"""The process that reads files for a sandbox: one request after another, until there are no more.

Frames of JSON, each after its length, on the standard streams; nothing is unpickled.

    parent                                  worker (python -m corpus.worker MEMORY_BYTES)
    {"path", "known", "columns", …}  ->
                                       <-   {"sha256", "loader", "size", "mtime_ns"}
                                       <-   {"outcome", "reason", "note", "documents", "retires"}
                                       <-   one frame a document: a list of SENT_FIELDS
"""

import hashlib
import json
import os
import resource
import stat
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from corpus.confine import confine, limit_processor_seconds, private_stdout
from corpus.errors import LoadError
from corpus.extract import Columns
from corpus.load import UNREAD, chosen_loader, load
from corpus.records import Document
from corpus.text import whole

__all__ = ["HEADER", "LATEST_NS", "SENT_FIELDS", "send"]

HEADER = struct.Struct(">Q")
"""What stands before a frame: its length in bytes."""
SENT_FIELDS = ("row", "title", "text", "encoding", "date", "page_starts", "line_anchors")
"""What is sent of a document, without these names, which would weigh more than a table's rows;
the parent knows the rest."""
LATEST_NS = 2**63 - 1
"""The latest time of change that is told, in the year 2262: SQLite has no larger numbers."""
_RETIRE_SHARE = 1 / 16
"""A worker that has grown by more than this part of its memory is replaced, since what one file
leaves in a process must not be what is missing for the next."""
_READ_TRIES = 3
_PAUSE_SECONDS = 0.05


def send(stream: IO[bytes], frame: dict[str, Any] | list[Any]) -> None:
    """Write one frame."""
    payload = json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    stream.write(HEADER.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _serve(requests: BinaryIO, replies: BinaryIO, memory_bytes: int) -> None:
    """Answer until there are no more requests, or until the process has grown."""
    most_bytes = _address_space() + _RETIRE_SHARE * memory_bytes
    retires = False
    while not retires and (header := requests.read(HEADER.size)):
        (length,) = HEADER.unpack(header)
        request = json.loads(requests.read(length))
        limit_processor_seconds(request["seconds"])
        outcome, documents = _read(request, replies)
        retires = _address_space() > most_bytes
        send(replies, {**outcome, "documents": len(documents), "retires": retires})
        for document in documents:
            send(replies, [getattr(document, name) for name in SENT_FIELDS])


def _read(request: dict[str, Any], replies: BinaryIO) -> tuple[dict[str, Any], Sequence[Document]]:
    """Send the file's fingerprint, and then parse it; what came of it, and its documents.

    In this order, so that of a file that kills its reader it is known which it was.
    """
    path = Path(request["path"])
    columns = Columns(tuple(request["columns"]["text"]), request["columns"]["title"])
    try:
        data, status = _content(path, request["file_bytes"])
    except LoadError as error:
        send(replies, {"sha256": "", "loader": UNREAD, "size": 0, "mtime_ns": 0})
        return _failed(error), ()
    fingerprint = {"sha256": hashlib.sha256(data).hexdigest(), "loader": UNREAD}
    loader = None
    # A fault in a parser, ours or a library's, must not stop the other files: hence any Exception.
    try:
        loader = chosen_loader(path, data)
        fingerprint["loader"] = loader.identity(columns)
    except Exception as error:
        refusal = _failed(error)
    mtime_ns = min(status.st_mtime_ns, LATEST_NS)
    send(replies, {**fingerprint, "size": status.st_size, "mtime_ns": mtime_ns})
    if fingerprint == request["known"]:
        return _outcome("same"), ()
    if loader is None:
        return refusal, ()
    try:
        loaded = load(path, data, columns, loader=loader, sha256=fingerprint["sha256"])
    except Exception as error:
        return _failed(error), ()
    return _outcome("read", note=loaded.note), loaded.documents


def _outcome(outcome: str, reason: str | None = None, note: str | None = None) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, "note": note}


def _failed(error: Exception) -> dict[str, Any]:
    if isinstance(error, LoadError):
        reason = str(error)
    elif isinstance(error, MemoryError):
        reason = "needs more memory to read than it is given"
    else:
        reason = f"cannot be parsed: {type(error).__name__}: {error}"
    return _outcome("failed", reason=whole(reason))


def _content(path: Path, file_bytes: int) -> tuple[bytes, os.stat_result]:
    """The file's bytes, all from one state of it.

    Raises:
        LoadError: it cannot be read, is too large, or changes all the time.
    """
    try:
        for _ in range(_READ_TRIES):
            # Not to wait for a pipe that has taken the file's place.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as stream:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise LoadError("cannot be read: it is no longer a regular file")
                if before.st_size > file_bytes:
                    raise LoadError(f"has more than {file_bytes / 2**20:.3g} MB")
                # Nothing at all comes of some that lie under /proc.
                data = stream.read(before.st_size + 1) or b""
                after = os.fstat(descriptor)
            if (after.st_size, after.st_mtime_ns) == (len(data), before.st_mtime_ns):
                return data, after
            time.sleep(_PAUSE_SECONDS)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from error
    raise LoadError("keeps changing while it is read; index it again when it is at rest")


def _address_space() -> int:
    """How many bytes of its address space this process has taken; 0 where nobody says."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _main() -> None:
    memory_bytes = int(sys.argv[1])
    confine(memory_bytes=memory_bytes)
    _serve(sys.stdin.buffer, private_stdout(), memory_bytes)


if __name__ == "__main__":
    _main()

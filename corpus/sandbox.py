"""Documents read in processes of their own, so that one that hangs or dies costs itself alone.

Each worker process (`corpus.worker`) answers one request after another. It may
use so much memory and so many seconds for a file, changes no file, reaches no
network, and is replaced when it breaks a limit. What it says is believed only
as far as a run of the index cannot be broken by it: a hostile file may have
taken the process over.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, Literal, Self, TypeAlias, get_args

from corpus.cores import cores
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.load import UNREAD
from corpus.records import Document, document_id
from corpus.worker import HEADER, SENT_FIELDS, send

__all__ = ["Fingerprint", "Limits", "ReadFile", "Sandbox"]

_RETIRING_SECONDS = 1.0
"""So long a worker that ends by itself is waited for, so that its exit code is its own."""
_Types: TypeAlias = Mapping[str, tuple[type, ...]]
_TEXT, _NUMBER = (str,), (int,)
_MAYBE_TEXT, _MAYBE_NUMBER = (str, type(None)), (int, type(None))
_FINGERPRINT: _Types = {"sha256": _TEXT, "loader": _TEXT, "size": _NUMBER, "mtime_ns": _NUMBER}
_OUTCOME: _Types = {
    "outcome": _TEXT,
    "reason": _MAYBE_TEXT,
    "note": _MAYBE_TEXT,
    "documents": _NUMBER,
    "retires": (bool,),
}
_DOCUMENT: _Types = {
    "row": _MAYBE_NUMBER,
    "title": _TEXT,
    "text": _TEXT,
    "encoding": _MAYBE_TEXT,
    "date": _MAYBE_TEXT,
    "page_starts": (list,),
    "line_anchors": (list,),
}
"""What a worker's frames hold, and of which types."""
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
"""The numbers that SQLite can hold."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost."""

    seconds: float = 120.0
    """For one file."""
    memory_bytes: int = 3 * 2**30
    """Address space of a worker, its libraries included."""
    reply_bytes: int = 256 * 2**20
    """What a file may turn into, with all that is noted of its rows."""
    file_bytes: int = 64 * 2**20
    """Larger files are refused."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells whether a file would be read as before."""

    sha256: str
    loader: str


Outcome: TypeAlias = Literal["read", "same", "failed"]


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What came of reading one file."""

    path: Path
    outcome: Outcome
    """`same` when its fingerprint is the known one, so that it was not parsed again."""
    read_at: float
    """Seconds since 1970, taken before it was opened."""
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    """Empty when the file could not be opened."""
    loader: str = UNREAD
    documents: Sequence[Document] = ()
    reason: str | None = None
    """Why it failed."""
    note: str | None = None
    """What was left unread in it."""


class Sandbox:
    """A pool of worker processes, started as they are needed."""

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits | None = None,
        columns: Columns = DEFAULT_COLUMNS,
    ) -> None:
        self._columns = columns
        limits = limits or Limits()
        count = workers or cores()
        self._workers = [_Worker(limits) for _ in range(count)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count)

    def read(self, path: Path, known: Fingerprint | None = None) -> ReadFile:
        """Read one file; parse it only when its fingerprint is not the known one."""
        worker = self._idle.get()
        try:
            return worker.read(path, known, self._columns)
        finally:
            self._idle.put(worker)

    def read_all(self, files: Iterable[tuple[Path, Fingerprint | None]]) -> Iterator[ReadFile]:
        """Read many, all workers at once; the results come in the order of the files."""
        ahead: deque[Future[ReadFile]] = deque()
        for path, known in files:
            ahead.append(self._threads.submit(self.read, path, known))
            if len(ahead) > 2 * len(self._workers):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def close(self) -> None:
        """End the workers, also in the middle of a file."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = Lock()
        self._reading = Lock()
        self._closed = False

    def read(self, path: Path, known: Fingerprint | None, columns: Columns) -> ReadFile:
        """Have the process read one file; what breaks a limit has failed."""
        with self._reading:
            return self._read(path, known, columns)

    def _read(self, path: Path, known: Fingerprint | None, columns: Columns) -> ReadFile:
        limits = self._limits
        # Of a file that hangs or kills its reader it is known at least which it was, so that it
        # is not tried again and again.
        file: dict[str, Any] = {"path": path, "read_at": time.time()}
        try:
            return self._reply(file, known, columns)
        except TimeoutError:
            self.stop()
            reason = f"took more than {limits.seconds:.3g} s to read, and was given up"
        except OverflowError:
            self.stop()
            reason = (
                f"turns into more than {limits.reply_bytes / 2**20:,.0f} MB of text, titles and"
                " line numbers; split it into several files"
            )
        except (EOFError, BrokenPipeError):
            code = self.stop(grace_seconds=_RETIRING_SECONDS)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            reason = f"ended the process that read it ({how}); it may be damaged"
        except (ValueError, KeyError, TypeError, RecursionError):
            self.stop()
            reason = "made the process that read it break its rules; it may be meant to do harm"
        return ReadFile(**file, outcome="failed", reason=reason)

    def _reply(self, file: dict[str, Any], known: Fingerprint | None, columns: Columns) -> ReadFile:
        """What the process makes of the file, to which its fingerprint is added when it is known.

        Raises:
            TimeoutError, OverflowError: it took too long, or sent too much.
            EOFError, BrokenPipeError: it ended.
            ValueError, KeyError, TypeError, RecursionError: no honest worker replies so.
        """
        deadline = time.monotonic() + self._limits.seconds
        process = self._started()
        assert process.stdin is not None
        request = {
            "path": str(file["path"]),
            "known": asdict(known) if known else None,
            "columns": asdict(columns),
            "file_bytes": self._limits.file_bytes,
            "seconds": self._limits.seconds,
        }
        send(process.stdin, request)
        pipe = _Pipe(process, deadline, self._limits.reply_bytes)
        file.update(_checked(pipe.receive(), _FINGERPRINT))
        told = _checked(pipe.receive(), _OUTCOME)
        outcome, count = told["outcome"], told["documents"]
        if (
            outcome not in get_args(Outcome)
            or (outcome == "read") != (count > 0)
            or (outcome == "failed") != (told["reason"] is not None)
        ):
            raise ValueError(told)
        documents = [_document(file, pipe.receive()) for _ in range(count)]
        if count > 1 and any(
            one.row is None or other.row is None or one.row >= other.row
            for one, other in pairwise(documents)
        ):
            raise ValueError("rows out of order")
        if told["retires"]:
            self.stop(grace_seconds=_RETIRING_SECONDS)
        return ReadFile(
            **file, outcome=outcome, documents=documents, reason=told["reason"], note=told["note"]
        )

    def close(self) -> None:
        """Kill the process, also while a file is read, and start no other."""
        with self._starting:
            self._closed = True
            if (process := self._process) is not None:
                _kill(process)
        # Whoever reads from it finds its end now. Its pipes are closed only after that: their
        # numbers are given to other files at once, which would then be read from.
        with self._reading:
            self.stop()

    def stop(self, *, grace_seconds: float = 0.0) -> int:
        """Kill the process, if there is one that does not end by itself; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
        _kill(process)
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        return process.returncode

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._starting:
            if self._closed:
                raise EOFError
            if self._process is not None and self._process.poll() is not None:
                self.stop()  # It was ended from outside, between two files.
            if self._process is None:
                # -P: a folder of documents, where this may run, is not searched for modules.
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-P", "-m", "corpus.worker", str(self._limits.memory_bytes)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    # Of its own, so that a terminal's Ctrl-C is for the parent alone to heed.
                    process_group=0,
                )
            return self._process


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process, and what it may have started, which would keep its pipes open."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


class _Pipe:
    """A worker's replies, until a deadline and up to a size."""

    def __init__(self, process: "subprocess.Popen[bytes]", deadline: float, budget: int) -> None:
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()
        self._poll = select.poll()  # select.select takes no descriptor above 1,023
        self._poll.register(self._descriptor, select.POLLIN)
        self._deadline = deadline
        self._budget = budget
        self._buffer = bytearray()

    def receive(self) -> Any:
        """The next frame."""
        (length,) = HEADER.unpack(self._take(HEADER.size))
        self._budget -= length
        if self._budget < 0:
            raise OverflowError
        return json.loads(self._take(length))

    def _take(self, n: int) -> bytes:
        while len(self._buffer) < n:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(1000 * left):
                raise TimeoutError
            piece = os.read(self._descriptor, 1 << 20)
            if not piece:
                raise EOFError
            self._buffer += piece
        with memoryview(self._buffer) as view:
            taken = bytes(view[:n])
        del self._buffer[:n]
        return taken


def _checked(frame: Any, types: _Types) -> dict[str, Any]:
    """The frame, if it has just these fields, and in them nothing that cannot be stored."""
    if not isinstance(frame, dict):
        raise TypeError(frame)
    if frame.keys() != types.keys():
        raise ValueError(frame.keys())
    for name, value in frame.items():
        if type(value) not in types[name]:
            raise TypeError(name)
        if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
            raise ValueError(name)
        if isinstance(value, str):
            value.encode("utf-8")  # A lone surrogate is a ValueError.
    return frame


def _document(file: dict[str, Any], frame: Any) -> Document:
    fields = _checked(dict(zip(SENT_FIELDS, frame, strict=True)), _DOCUMENT)
    path, row, size = file["path"], fields["row"], len(fields["text"])
    anchors = [(at, line) for at, line in fields["line_anchors"]]
    _require_ascending(fields["page_starts"], size)
    _require_ascending([at for at, _ in anchors], size)
    if any(type(line) is not int for _, line in anchors):
        raise TypeError("line")
    fields |= {"page_starts": tuple(fields["page_starts"]), "line_anchors": tuple(anchors)}
    return Document(
        id=document_id(path, row),
        source=path,
        sha256=file["sha256"],
        loader=file["loader"],
        **fields,
    )


def _require_ascending(offsets: Sequence[Any], size: int) -> None:
    """Refuse what are no offsets in a text of this size, in order."""
    if any(type(offset) is not int for offset in offsets):
        raise TypeError("offset")
    if any(one > other for one, other in pairwise([0, *offsets, size])):
        raise ValueError(offsets)

"""Documents read in processes of their own, so that one that hangs or dies costs itself alone.

Each worker process answers one request after another: length-prefixed JSON on
its standard streams, nothing unpickled. It may use so much memory and so many
seconds for a file, may write no file, reaches no network, and is replaced when
it breaks a limit.

    parent                                  worker (python -m corpus.sandbox)
    {"path", "known", "columns", …}  ->
                                       <-   {"sha256", "loader", "size", "mtime_ns"}
                                       <-   {"outcome", "reason", "note", "documents"}
                                       <-   one frame a document
"""

import hashlib
import json
import os
import resource
import select
import signal
import stat
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import IO, Any, Literal, Self, TypeAlias, get_args

from corpus.confine import confine, limit_processor_seconds, private_stdout
from corpus.cores import cores
from corpus.errors import LoadError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.load import UNREAD, Loader, chosen_loader, load
from corpus.records import Document
from corpus.text import whole

__all__ = ["Fingerprint", "Limits", "ReadFile", "Sandbox"]

_HEADER = struct.Struct(">Q")
_NOTHING = {"reason": None, "note": None, "documents": 0, "retires": False}
_RETIRING_SECONDS = 1.0
_RETIRE_SHARE = 1 / 16
"""A worker that has grown by more than this part of its memory is replaced."""
_READ_TRIES = 3
_PAUSE_SECONDS = 0.05
_NoneType = type(None)
_FINGERPRINT = {"sha256": (str,), "loader": (str,), "size": (int,), "mtime_ns": (int,)}
_OUTCOME = {
    "outcome": (str,),
    "reason": (str, _NoneType),
    "note": (str, _NoneType),
    "documents": (int,),
    "retires": (bool,),
}
_SENT_FIELDS = {
    "id": (str,),
    "row": (int, _NoneType),
    "title": (str,),
    "text": (str,),
    "encoding": (str, _NoneType),
    "date": (str, _NoneType),
    "page_starts": (list, tuple),
    "line_anchors": (list, tuple),
}
"""What a worker's frames hold, and of which types."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost."""

    seconds: float = 120.0
    """For one file."""
    memory_bytes: int = 3 * 2**30
    """Address space of a worker, its libraries included."""
    reply_bytes: int = 256 * 2**20
    """What a file may turn into."""
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
        request = {
            "path": str(path),
            "known": asdict(known) if known else None,
            "columns": asdict(columns),
            "file_bytes": limits.file_bytes,
            "seconds": limits.seconds,
        }
        deadline = time.monotonic() + limits.seconds
        # Of a file that hangs or kills its reader it is known at least which it was, so that it
        # is not tried again and again.
        file: dict[str, Any] = {"path": path, "read_at": time.time()}
        try:
            process = self._started()
            assert process.stdin is not None
            _send(process.stdin, request)
            pipe = _Pipe(process, deadline, limits.reply_bytes)
            file |= _checked(pipe.receive(), _FINGERPRINT)
            outcome = _checked(pipe.receive(), _OUTCOME)
            if (outcome["outcome"] == "read") != (outcome["documents"] > 0):
                raise ValueError(outcome)
            documents = [
                _document(path, file, pipe.receive()) for _ in range(outcome.pop("documents"))
            ]
            if outcome.pop("retires"):
                self.stop(grace_seconds=_RETIRING_SECONDS)
            return ReadFile(**file, **outcome, documents=documents)
        except TimeoutError:
            self.stop()
            reason = f"took more than {limits.seconds:.3g} s to read, and was given up"
        except OverflowError:
            self.stop()
            reason = f"turns into more than {limits.reply_bytes / 2**20:,.0f} MB of text"
        except (EOFError, BrokenPipeError):
            code = self.stop(grace_seconds=_RETIRING_SECONDS)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            reason = f"ended the process that read it ({how}); it may be damaged"
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
            self.stop()
            reason = "made the process that read it talk nonsense; it may be made to do so"
        return ReadFile(**file, outcome="failed", reason=reason)

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
                    [sys.executable, "-P", "-m", "corpus.sandbox", str(self._limits.memory_bytes)],
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

    def receive(self) -> dict[str, Any]:
        """The next frame."""
        (length,) = _HEADER.unpack(self._take(_HEADER.size))
        self._budget -= length
        if self._budget < 0:
            raise OverflowError
        frame = json.loads(self._take(length))
        assert isinstance(frame, dict)
        return frame

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


def _checked(frame: dict[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """The frame, if it has just these fields: a hostile file may have taken the worker over."""
    for name, kind in kinds.items():
        if type(frame[name]) not in kind:
            raise TypeError(name)
    if frame.keys() != kinds.keys() or frame.get("outcome", "read") not in get_args(Outcome):
        raise ValueError(frame.keys())
    return frame


def _document(path: Path, head: dict[str, Any], fields: dict[str, Any]) -> Document:
    _checked(fields, _SENT_FIELDS)
    fields["page_starts"] = tuple(fields["page_starts"])
    fields["line_anchors"] = tuple((at, line) for at, line in fields["line_anchors"])
    return Document(source=path, sha256=head["sha256"], loader=head["loader"], **fields)


def _send(stream: IO[bytes], frame: dict[str, Any]) -> None:
    payload = json.dumps(frame, ensure_ascii=False).encode("utf-8")
    stream.write(_HEADER.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _serve(requests: IO[bytes], replies: IO[bytes], memory: int) -> None:
    """The worker's side: answer until there are no more requests.

    Or until it has grown, since what one file leaves in a process must not be
    what is missing for the next.
    """
    before = _address_space()
    retires = False
    while not retires and (header := requests.read(_HEADER.size)):
        (length,) = _HEADER.unpack(header)
        request = json.loads(requests.read(length))
        limit_processor_seconds(request["seconds"])
        path, known = Path(request["path"]), request["known"]
        columns = Columns(tuple(request["columns"]["text"]), request["columns"]["title"])
        try:
            data, status = _content(path, request["file_bytes"])
        except LoadError as error:
            _send(replies, {"sha256": "", "loader": UNREAD, "size": 0, "mtime_ns": 0})
            _send(replies, {**_NOTHING, "outcome": "failed", "reason": str(error)})
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        fingerprint = {"sha256": sha256, "loader": UNREAD}
        loader = None
        try:
            loader = chosen_loader(path, data)
            fingerprint["loader"] = loader.identity(columns)
        except Exception as error:
            refusal = _reason(error)
        _send(replies, {**fingerprint, "size": status.st_size, "mtime_ns": status.st_mtime_ns})
        if fingerprint == known:
            _send(replies, {**_NOTHING, "outcome": "same"})
            continue
        outcome: dict[str, Any]
        documents: Sequence[Document] = ()
        if loader is None:
            outcome = {**_NOTHING, "outcome": "failed", "reason": refusal}
        else:
            outcome, documents = _outcome(path, data, columns, loader, sha256)
        retires = _address_space() - before > _RETIRE_SHARE * memory
        _send(replies, {**outcome, "documents": len(documents), "retires": retires})
        for document in documents:
            _send(replies, {name: getattr(document, name) for name in _SENT_FIELDS})


def _address_space() -> int:
    """How many bytes of its address space this process has taken; 0 where nobody says."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _outcome(
    path: Path, data: bytes, columns: Columns, loader: Loader, sha256: str
) -> tuple[dict[str, Any], Sequence[Document]]:
    try:
        loaded = load(path, data, columns, loader=loader, sha256=sha256)
    except Exception as error:
        return {**_NOTHING, "outcome": "failed", "reason": _reason(error)}, ()
    return {**_NOTHING, "outcome": "read", "note": loaded.note}, loaded.documents


def _reason(error: Exception) -> str:
    """Why a file failed: a fault in a parser, ours or a library's, must not stop the others."""
    if isinstance(error, LoadError):
        return whole(str(error))
    if isinstance(error, MemoryError):
        return "needs more memory to read than it is given"
    return whole(f"cannot be parsed: {type(error).__name__}: {error}")


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


def _main() -> None:
    memory = int(sys.argv[1])
    confine(memory_bytes=memory)
    replies = private_stdout()
    _serve(sys.stdin.buffer, replies, memory)


if __name__ == "__main__":
    _main()

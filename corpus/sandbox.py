"""Documents read in processes of their own, so that one that hangs or dies costs itself alone.

Each worker process answers one request after another: length-prefixed JSON on
its standard streams, nothing unpickled. It may use so much memory and so many
seconds for a file, may write no file, and is replaced when it breaks a limit.

    parent                                  worker (python -m corpus.sandbox)
    {"path", "max_bytes", "known", …}  ->
                                       <-   {"outcome", "sha256", "loader", "documents", …}
                                       <-   one frame a document
"""

import hashlib
import json
import os
import resource
import select
import stat
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Literal, Self, TypeAlias

from corpus.cores import cores
from corpus.errors import LoadError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.load import UNREAD, chosen_loader, load
from corpus.records import Document
from corpus.text import whole

__all__ = ["Fingerprint", "Limits", "ReadFile", "Sandbox"]

_HEADER = struct.Struct(">Q")
_READ_TRIES = 3
_PAUSE_SECONDS = 0.05
_SENT_FIELDS = (
    "id", "row", "title", "text", "encoding", "date", "page_starts", "line_anchors",
)  # fmt: skip


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
        read_at = time.time()
        try:
            return worker.read(path, known, self._columns, read_at)
        except LoadError as error:
            return ReadFile(path, "failed", read_at, reason=str(error))
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
            worker.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def read(
        self, path: Path, known: Fingerprint | None, columns: Columns, read_at: float
    ) -> ReadFile:
        """Have the process read one file.

        Raises:
            LoadError: it broke a limit, or died.
        """
        limits = self._limits
        request = {
            "path": str(path),
            "known": asdict(known) if known else None,
            "columns": asdict(columns),
            "file_bytes": limits.file_bytes,
        }
        deadline = time.monotonic() + limits.seconds
        try:
            process = self._started()
            assert process.stdin is not None
            _send(process.stdin, request)
            pipe = _Pipe(process, deadline, limits.reply_bytes)
            head = pipe.receive()
            documents = [
                _document(path, head, pipe.receive()) for _ in range(head.pop("documents"))
            ]
        except TimeoutError:
            self.stop()
            raise LoadError(
                f"took more than {limits.seconds:.3g} s to read, and was given up"
            ) from None
        except OverflowError:
            self.stop()
            size = limits.reply_bytes / 2**20
            raise LoadError(f"turns into more than {size:,.0f} MB of text") from None
        except (EOFError, BrokenPipeError):
            code = self.stop(grace_seconds=1.0)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise LoadError(f"ended the process that read it ({how}); it may be damaged") from None
        return ReadFile(path, read_at=read_at, documents=documents, **head)

    def stop(self, *, grace_seconds: float = 0.0) -> int:
        """Kill the process, if there is one that does not end by itself; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        return process.returncode

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # -P: a folder of documents, where this may run, must not be searched for modules.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "corpus.sandbox", str(self._limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process


class _Pipe:
    """A worker's replies, until a deadline and up to a size."""

    def __init__(self, process: "subprocess.Popen[bytes]", deadline: float, budget: int) -> None:
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()
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
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(self._descriptor, 1 << 20)
            if not piece:
                raise EOFError
            self._buffer += piece
        taken = bytes(self._buffer[:n])
        del self._buffer[:n]
        return taken


def _document(path: Path, head: dict[str, Any], fields: dict[str, Any]) -> Document:
    fields["page_starts"] = tuple(fields["page_starts"])
    fields["line_anchors"] = tuple((at, line) for at, line in fields["line_anchors"])
    return Document(source=path, sha256=head["sha256"], loader=head["loader"], **fields)


def _send(stream: IO[bytes], frame: dict[str, Any]) -> None:
    payload = json.dumps(frame, ensure_ascii=False).encode("utf-8")
    stream.write(_HEADER.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """The worker's side: answer until there are no more requests."""
    while header := requests.read(_HEADER.size):
        (length,) = _HEADER.unpack(header)
        request = json.loads(requests.read(length))
        head, documents = _answer(request)
        _send(replies, {**head, "documents": len(documents)})
        for document in documents:
            _send(replies, document)


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head: dict[str, Any] = {"outcome": "failed"}
    path, known = Path(request["path"]), request["known"]
    columns = Columns(tuple(request["columns"]["text"]), request["columns"]["title"])
    try:
        data, status = _content(path, request["file_bytes"])
        head |= {
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        head["loader"] = chosen_loader(path, data).identity(columns)
        if known == {"sha256": head["sha256"], "loader": head["loader"]}:
            return {**head, "outcome": "same"}, []
        loaded = load(path, data, columns)
    except LoadError as error:
        return {**head, "reason": str(error)}, []
    except MemoryError:
        return {**head, "reason": "needs more memory to read than it is given"}, []
    except Exception as error:
        # A fault in a parser, ours or a library's, must not stop the other files.
        reason = f"cannot be parsed: {type(error).__name__}: {error}"
        return {**head, "reason": whole(reason)}, []
    documents = [
        {name: getattr(document, name) for name in _SENT_FIELDS} for document in loaded.documents
    ]
    return {**head, "outcome": "read", "note": loaded.note}, documents


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
                data = stream.read(before.st_size + 1)
                after = os.fstat(descriptor)
            if (after.st_size, after.st_mtime_ns) == (len(data), before.st_mtime_ns):
                return data, after
            time.sleep(_PAUSE_SECONDS)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from error
    raise LoadError("keeps changing while it is read; index it again when it is at rest")


def _main() -> None:
    memory = int(sys.argv[1])
    for limit, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    # What a library prints must not end up among the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    _main()

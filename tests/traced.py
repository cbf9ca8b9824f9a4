"""What an indexer does to its disk, as the kernel hears it from all of its libraries.

Run as a program, this keeps an index in each of some folders: one as it should,
and one each with a fault planted in the order of its flushes. Under `strace`
its system calls become a list of `Call`s, and `judge` says which of them
break the law of what may follow on what. SQLite's statements stand among the
calls, since each is written into a file beside the index before it is run.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "truncate"}
FLUSHES = {"fsync", "fdatasync"}
RENAMES = {"rename", "renameat", "renameat2"}
MAKES = {"mkdir", "mkdirat", "open", "openat", "openat2", "creat"}
REMOVES = {"unlink", "unlinkat", "rmdir"}
COPIES = {"sendfile", "copy_file_range"}
UNHEARD_OF = {"link", "linkat", "fallocate"}
"""Nothing of ours makes them, and what they would mean is not worked out here."""
CALLS = WRITES | FLUSHES | RENAMES | MAKES | REMOVES | COPIES | UNHEARD_OF | {"mmap"}
STATEMENTS = "statements"
"""Into this file beside the index goes each statement before SQLite runs it."""

_LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_RESULT = re.compile(r"\) += (-?\d+|0x[0-9a-f]+|\?)(.*)$")
_DESCRIPTOR = re.compile(r"(-?\w+)<((?:[^<>\\]|\\.)*)>")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded."""

    name: str
    paths: Sequence[Path]
    """What it is about; of a rename from what and to what."""
    started: int
    """The line of the trace on which it started."""
    ended: int
    """And on which it had ended; other calls may lie in between."""
    said: str = ""
    """What was written, the beginning of it; or how something is opened or mapped."""


def why_not() -> str | None:
    """Why nothing can be traced here; None where it can."""
    if not sys.platform.startswith("linux") or not shutil.which("strace"):
        return "there is no strace"
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True)
    return "this system lets nothing be traced" if done.returncode else None


def trace(folder: Path) -> list[Call]:
    """Run the program below in the folder; what it did, in order of the calls' ends."""
    calls = ",".join(f"?{name}" for name in sorted(CALLS))
    log = folder / "strace.log"
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "120", "-e", f"trace={calls}", "-e", "signal=none",
         "-o", log, sys.executable, __file__, folder / "indexes"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with log.open(encoding="utf-8", errors="surrogateescape") as lines:
        return list(parsed(lines))


def parsed(lines: Iterator[str]) -> Iterator[Call]:
    """The calls of a trace that `strace -f -y` wrote."""
    waiting: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        process, resumed, name, rest = found.groups()
        started = number
        if resumed is not None:
            name = resumed
            started, begun = waiting.pop(process)
            rest = begun + rest
        if rest.endswith("<unfinished ...>"):
            waiting[process] = (number, rest.removesuffix("<unfinished ...>"))
            continue
        result = _RESULT.search(rest)
        if result is not None and not result[1].startswith(("-", "?")):
            yield _call(name, rest[: result.start()], result[2], started, number)


def _call(name: str, arguments: str, result: str, started: int, ended: int) -> Call:
    strings = [match[1] for match in _STRING.finditer(arguments)]
    opened = [Path(match[2]) for match in _DESCRIPTOR.finditer(_STRING.sub('""', arguments))]
    if name in FLUSHES | {"mmap"} or (name in WRITES and opened):
        return Call(name, opened[:1], started, ended, strings[0] if strings else arguments)
    if name in COPIES:
        # `sendfile` names first where to, `copy_file_range` last.
        return Call(name, [opened[0 if name == "sendfile" else -1]], started, ended)
    # A path is relative to the folder of the descriptor before it.
    bases = opened or [Path()]
    paths = [Path(bases[min(n, len(bases) - 1)], path) for n, path in enumerate(strings)]
    if name in MAKES and (descriptor := _DESCRIPTOR.search(result)):
        paths = [Path(descriptor[2])]
    return Call(name, paths, started, ended, arguments)


@dataclass(slots=True)
class _Disk:
    """Which files hold bytes, and folders names, that may not be on the disk."""

    changed: dict[Path, int] = field(default_factory=dict)
    """When a file was last written to, or a name of a folder changed."""
    flushed: dict[Path, int] = field(default_factory=dict)
    """When the last flush that succeeded began."""

    def loose(self, path: Path) -> bool:
        return path in self.changed and self.flushed.get(path, -1) < self.changed[path]

    def change(self, path: Path, when: int) -> None:
        self.changed[path] = when

    def move(self, old: Path, new: Path) -> None:
        for known in (self.changed, self.flushed):
            for path in [path for path in known if path == new or new in path.parents]:
                del known[path]
            for path in [path for path in known if path == old or old in path.parents]:
                known[new / path.relative_to(old)] = known.pop(path)

    def forget(self, path: Path) -> None:
        self.changed.pop(path, None)
        self.flushed.pop(path, None)

    def under(self, path: Path) -> list[Path]:
        return [known for known in self.changed if known == path or path in known.parents]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of an index."""

    broken: Sequence[str]
    """What broke the law."""
    published: Sequence[str]
    """The generations whose folders got their names, in order."""
    committed: Sequence[str]
    """The generations that transactions named, flushes and all, in order."""


def judge(calls: Sequence[Call], index: Path) -> Verdict:
    """What in the calls breaks the law, for the index in this folder.

    - What gets a name is on the disk before it has it: every file under it was flushed after
      its last write, and every folder after its last name. So is the name, before anything
      else of the index gets one, and before a transaction ends.
    - The transaction that names a generation ends when the generation's folder has its name on
      the disk; and it is on the disk itself before anything of the generation before is removed.
    - A database takes another's place when the backup of that is on the disk.
    - A page goes from the log into the database when the log is on the disk, and the log is
      cut short or removed when the database is.
    """
    law = _Law(index)
    for call in sorted(calls, key=lambda call: call.ended):
        law.hear(call)
    law.due_names("the end")
    return Verdict(law.broken, law.published, law.committed)


class _Law:
    """What is known at a moment of the trace."""

    def __init__(self, index: Path) -> None:
        self._index = index
        self._disk = _Disk()
        self._due: list[Path] = []
        """Folders in which something was given a name."""
        self._names: str | None = None
        """The generation that the transaction at work names."""
        self._committing: str | None = None
        self._current = "00000000"
        """The generation of which it is known that the database on the disk names it."""
        self.broken: list[str] = []
        self.published: list[str] = []
        self.committed: list[str] = []

    def hear(self, call: Call) -> None:
        if call.paths and call.paths[0].name == STATEMENTS:
            if call.paths[0].parent == self._index.parent and call.name in WRITES:
                self._statement(call.said)
            return
        paths = [path for path in call.paths if path == self._index or self._index in path.parents]
        if not paths or any(part.startswith(".salvage-") for part in paths[0].parts):
            # The copy that a salvage reads is thrown away.
            return
        for names, hear in (
            (WRITES | COPIES, self._write),
            (FLUSHES, self._flush),
            (MAKES, self._make),
            (REMOVES, self._remove),
            (RENAMES, self._rename),
            ({"mmap"}, self._map),
            (UNHEARD_OF, self._wonder),
        ):
            if call.name in names:
                hear(call, paths[0])

    def due_names(self, before: str) -> None:
        for folder in self._due:
            self._say(f"{self._short(folder)} is not flushed between a rename into it and {before}")
        self._due.clear()

    def _statement(self, said: str) -> None:
        named = re.match(r"UPDATE meta SET value = '(\d+)' WHERE key = 'generation'", said)
        if named:
            self._names = f"{int(named[1]):08}"
        elif said.startswith("COMMIT"):
            self.due_names("a commit")
            self._committing, self._names = self._names, None
            if self._committing and self._committing not in self.published:
                self._say(f"generation {self._committing} is named before its folder is")
        elif said.startswith("BEGIN") and self._committing:
            self._say(f"the commit of generation {self._committing} is never flushed")
            self._committing = None

    def _wonder(self, call: Call, path: Path) -> None:
        self._say(f"{call.name} of {self._short(path)}, of which nothing is known")

    def _map(self, call: Call, path: Path) -> None:
        writable = "MAP_SHARED" in call.said and "PROT_WRITE" in call.said
        if writable and not path.name.endswith("-shm"):
            self._say(f"{self._short(path)} is written to through memory")

    def _write(self, call: Call, path: Path) -> None:
        database = path.with_name(path.name.removesuffix("-wal"))
        log = path.with_name(f"{path.name}-wal")
        if path != database and call.name in ("ftruncate", "truncate"):
            self._log_goes(path)
        elif self._disk.loose(log):
            self._say(f"{self._short(path)} is written to before its log is flushed")
        self._disk.change(path, call.ended)

    def _log_goes(self, log: Path) -> None:
        if self._disk.loose(log.with_name(log.name.removesuffix("-wal"))):
            self._say(f"{self._short(log)} goes before the database is flushed")

    def _flush(self, call: Call, path: Path) -> None:
        self._disk.flushed[path] = call.started
        self._due = [folder for folder in self._due if folder != path]
        log = self._index / "index.sqlite-wal"
        if path == log and self._committing and not self._disk.loose(log):
            self.committed.append(self._committing)
            self._current, self._committing = self._committing, None

    def _make(self, call: Call, path: Path) -> None:
        if "O_CREAT" not in call.said and not call.name.startswith("mkdir"):
            return
        # Whatever is there was made under our eyes, in a folder that was empty.
        if path not in self._disk.changed:
            self._disk.change(path, call.ended)
            self._disk.change(path.parent, call.ended)
        elif "O_TRUNC" in call.said:
            self._write(call, path)

    def _remove(self, call: Call, path: Path) -> None:
        if path.name.endswith("-wal"):
            self._log_goes(path)
        generations = self._index / "generations"
        if generations in path.parents:
            generation = path.relative_to(generations).parts[0]
            if self._committing or generation == self._current:
                self._say(f"{self._short(path)} is removed while the database may name it")
        self._disk.forget(path)
        self._disk.change(path.parent, call.ended)

    def _rename(self, call: Call, old: Path) -> None:
        new = call.paths[1]
        self.due_names(f"the next rename, of {self._short(old)}")
        needed = self._disk.under(old)
        if new == self._index / "index.sqlite":
            self._current = "00000000"
            # What it replaces is kept, or there was none.
            needed += [path for path in self._disk.changed if ".backup-" in path.name]
        for path in needed:
            if self._disk.loose(path):
                self._say(f"{self._short(path)} is not flushed before {self._short(new)} is named")
        self._disk.move(old, new)
        for folder in {old.parent, new.parent}:
            self._disk.change(folder, call.ended)
        if not any(folder.name.endswith(".partial") for folder in new.parents):
            # What is made in a folder without a name of its own waits for that name.
            self._due.append(new.parent)
        if new.parent == self._index / "generations":
            self.published.append(new.name)

    def _say(self, what: str) -> None:
        if what not in self.broken:
            self.broken.append(what)

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self._index)) if path != self._index else "the index"


# What is traced.


def _no_flush(_: Path) -> None:
    return


def _no_flush_of(kind: Callable[[Path], bool]) -> Callable[[Path], None]:
    from corpus.durable import flush

    return lambda path: None if kind(path) else flush(path)


def _no_backup_is_flushed() -> AbstractContextManager[Any]:
    return mock.patch("corpus.checkup.flush", _no_flush)


def _nothing_is_flushed() -> AbstractContextManager[Any]:
    return mock.patch("corpus.durable.flush", _no_flush)


def _no_file_is_flushed() -> AbstractContextManager[Any]:
    return mock.patch("corpus.durable.flush", _no_flush_of(Path.is_file))


def _no_name_is_flushed() -> AbstractContextManager[Any]:
    """The folder into which something is renamed."""
    return mock.patch(
        "corpus.durable.flush", _no_flush_of(lambda path: path.name in ("generations", "index"))
    )


@contextmanager
def _a_file_is_written_after_its_flush() -> Iterator[None]:
    from corpus.durable import flush

    def careless(path: Path) -> None:
        flush(path)
        if path.name == "manifest.json":
            with path.open("ab") as stream:
                stream.write(b"\n")

    with mock.patch("corpus.durable.flush", careless):
        yield


@contextmanager
def _sqlite_does_not_flush() -> Iterator[None]:
    from corpus.database import connect

    def careless(folder: Path, *, read_only: bool) -> Any:
        connection = connect(folder, read_only=read_only)
        if not read_only:
            connection.execute("PRAGMA synchronous = OFF")
        return connection

    with mock.patch("corpus.writer.connect", careless):
        yield


@contextmanager
def _the_commit_comes_first() -> Iterator[None]:
    """The folder is published when the transaction has named it."""
    from corpus import generations

    publish, sweep = generations.publish, generations.sweep
    late: list[tuple[Path, Any]] = []

    def later(folder: Path, fill: Any) -> str:
        if folder.name == "00000000":
            return publish(folder, fill)
        late.append((folder, fill))
        return ""

    def now(folder: Path, keep: str) -> None:
        while late:
            publish(*late.pop())
        sweep(folder, keep)

    with mock.patch.multiple(generations, publish=later, sweep=now):
        yield


@contextmanager
def _the_old_goes_first() -> Iterator[None]:
    """The generation that the database names is removed when the next one has its folder."""
    from corpus import generations

    publish = generations.publish

    def hasty(folder: Path, fill: Any) -> str:
        manifest = publish(folder, fill)
        generations.sweep(folder.parent, keep=folder.name)
        return manifest

    with mock.patch.object(generations, "publish", hasty):
        yield


FAULTS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], str]] = {
    "nothing is flushed": (_nothing_is_flushed, "is not flushed before generations/0"),
    "no file is flushed": (_no_file_is_flushed, "vectors.faiss is not flushed before"),
    "no name is flushed": (_no_name_is_flushed, "generations is not flushed between a rename"),
    "no backup is flushed": (_no_backup_is_flushed, "is not flushed before index.sqlite is named"),
    "a file is written after its flush": (
        _a_file_is_written_after_its_flush, "manifest.json is not flushed before",
    ),
    "SQLite does not flush": (_sqlite_does_not_flush, "is written to before its log is flushed"),
    "the commit comes first": (_the_commit_comes_first, "is named before its folder is"),
    "the old goes first": (_the_old_goes_first, "is removed while the database may name it"),
}  # fmt: skip
"""What is planted in an index of each name, and what the law then says among else."""


def _keep(folder: Path, encoder: Any) -> None:
    """An index from its making on: documents come, change, go, and are taken out; a salvage."""
    from conftest import TOY_RECIPE

    from corpus import writer as writers
    from corpus.checkup import salvage
    from corpus.writer import Writer
    from embeddings.follow import remove, update

    docs, connect = folder / "docs", writers.connect
    docs.mkdir(parents=True)
    statements = os.open(folder / STATEMENTS, os.O_WRONLY | os.O_CREAT)

    def told(folder: Path, *, read_only: bool) -> Any:
        connection = connect(folder, read_only=read_only)
        connection.set_trace_callback(lambda sql: os.write(statements, sql.encode()))
        return connection

    with mock.patch.object(writers, "connect", told):
        for n in range(9):
            (docs / f"{n}.txt").write_text(f"The first edition of part{n} is short. " * 9)
        for _ in range(2):
            with Writer.open(folder / "index", lambda: TOY_RECIPE) as writer:
                update(writer, [docs], encoder, max_bytes=2**20)
            (docs / "new.txt").write_text("This one came later. " * 9)
            (docs / "1.txt").write_text("The second edition of part1 is new. " * 9)
            (docs / "2.txt").unlink(missing_ok=True)
        with Writer.open_existing(folder / "index") as writer:
            remove(writer, ["3.txt"])
        salvage(folder / "index")
    os.close(statements)


def _main(folder: Path) -> None:
    from faults import toy_encoder

    from corpus.sandbox import Sandbox
    from embeddings import follow

    encoder = toy_encoder()
    with (
        Sandbox(workers=1) as sandbox,
        mock.patch.object(follow, "Sandbox", return_value=nullcontext(sandbox)),
    ):
        for name, (plant, _) in {"sound": (nullcontext, ""), **FAULTS}.items():
            with plant():
                _keep(folder / name, encoder)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))

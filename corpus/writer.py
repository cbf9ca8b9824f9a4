"""The one process that may change an index.

A writer collects its changes in temporary tables, which vanish with it, and
applies them in a single transaction that also names the new generation's
folder. Before that transaction a reader finds the old state, after it the new
one; there is nothing in between. Vectors alone are written ahead of it, as they
are made: until a passage names one it is only a cache, which spares a run that
was killed from embedding again.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import IO

from corpus import generations
from corpus.database import (
    DATABASE,
    GENERATIONS,
    Database,
    IndexedFile,
    VectorHash,
    batches,
    checksum_of,
    connect,
    create,
    trouble,
)
from corpus.errors import IndexStateError, LockedIndexError, NoIndexError
from corpus.extract import Columns
from corpus.migrations import migrate
from corpus.records import Document, Passage, Recipe
from corpus.split import Extent

__all__ = ["FileNotes", "Writer", "locked"]

_LOCK = "lock"
_MAX_SAID = 200
"""Characters of another library's message."""
_STAGING = """
CREATE TEMP TABLE staged_documents AS SELECT * FROM documents WHERE 0;
CREATE UNIQUE INDEX temp.staged_documents_by_id ON staged_documents (id);
CREATE TEMP TABLE staged_passages AS SELECT * FROM passages WHERE 0;
CREATE TEMP TABLE dropped (id TEXT PRIMARY KEY);
CREATE TEMP VIEW planned AS
    SELECT * FROM main.passages WHERE document NOT IN (SELECT id FROM dropped)
    UNION ALL SELECT * FROM staged_passages;
"""


@dataclass(slots=True)
class FileNotes:
    """What a run learnt of files, besides what is in them."""

    read: list[IndexedFile] = field(default_factory=list)
    """Files that were read, also those that failed."""
    forgotten: list[Path] = field(default_factory=list)
    """Files that are no longer there, or no longer wanted."""
    roots: list[Path] = field(default_factory=list)
    """Files and folders that from now on are followed, also where they were excluded."""
    unfollowed: list[Path] = field(default_factory=list)
    """Roots that from now on are none."""
    excluded: list[Path] = field(default_factory=list)
    """Files and folders that from now on stay out."""
    columns: Columns | None = None
    """Which columns of tables from now on are used; None leaves them as they are."""


class Writer(Database):
    """The one process that may change the index; holds its lock while it is open."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        super().__init__(folder, connection)
        with self._writing():
            connection.executescript(_STAGING)
        with self._legible():
            self._next_passage = int(self.meta("next_passage"))

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        recipe: Callable[[], Recipe],
        *,
        wait_seconds: float = 60.0,
        notify: Callable[[str], None] = lambda _: None,
        tidy: bool = True,
    ) -> Iterator["Writer"]:
        """The writer of the index in the folder, which is made with the recipe if there is none.

        Args:
            folder: where the index lies.
            recipe: what a new index is made with; an existing one keeps its own.
            wait_seconds: how long to wait for another writer.
            notify: told once when there is one to wait for.
            tidy: remove what a run that was killed left behind, and bring an index of an
                earlier version up to date.

        Raises:
            LockedIndexError: the other writer is still at work.
        """
        new = None if (folder / DATABASE).exists() else recipe()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error
        with locked(folder, wait_seconds=wait_seconds, notify=notify):
            if not (folder / DATABASE).exists():
                create(folder, new or recipe())
            elif tidy:
                migrate(folder)
            with cls._connected(folder, tidy=tidy) as writer:
                yield writer

    @classmethod
    @contextmanager
    def open_existing(
        cls, folder: Path, *, notify: Callable[[str], None] = lambda _: None
    ) -> Iterator["Writer"]:
        """The writer of an index that must be there.

        Raises:
            NoIndexError: there is none.
            LockedIndexError: another writer is still at work.
        """
        connect(folder, read_only=True).close()
        with locked(folder, notify=notify), cls._connected(folder) as writer:
            yield writer

    @classmethod
    @contextmanager
    def _connected(cls, folder: Path, *, tidy: bool = True) -> Iterator["Writer"]:
        connection = connect(folder, read_only=False)
        try:
            writer = cls(folder, connection)
            if tidy:
                generations.sweep(folder / GENERATIONS, keep=writer.artefacts.name)
            yield writer
            # Leaves no log behind, which a reader without rights could not follow; where another
            # reader holds it, that is not waited for. What was committed stands without it.
            connection.execute("PRAGMA busy_timeout = 0")
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def add_vectors(self, vectors: Iterable[tuple[VectorHash, bytes]]) -> None:
        """Keep these vectors at once, whether or not the run comes to its end."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", vectors)

    def drop_documents(self, source: Path) -> None:
        """Plan that the documents of this file leave the index."""
        with self._writing():
            self.connection.execute(
                "INSERT OR IGNORE INTO dropped SELECT id FROM main.documents WHERE source = ?",
                [str(source)],
            )

    def drop_orphans(self) -> None:
        """Plan that passages without a document leave the index, as no sound index has."""
        with self._writing():
            self.connection.execute(
                "INSERT OR IGNORE INTO dropped SELECT document FROM main.passages"
                " WHERE document NOT IN (SELECT id FROM main.documents)"
            )

    def stage(self, document: Document, passages: Sequence[tuple[Extent, VectorHash]]) -> None:
        """Plan that the document, with these passages, enters the index."""
        row: list[object] = [
            document.id,
            str(document.source),
            document.row,
            document.title,
            document.text,
            document.sha256,
            document.loader,
            document.encoding,
            document.date,
            json.dumps(document.page_starts),
            json.dumps(document.line_anchors),
            time.time(),
        ]
        kept = [
            (self._next_passage + n, document.id, start, end, vector)
            for n, ((start, end), vector) in enumerate(passages)
        ]
        self._next_passage += len(kept)
        row.append(checksum_of([row, *kept]))
        with self._writing():
            self.connection.execute(
                f"INSERT INTO staged_documents VALUES ({','.join('?' * len(row))})", row
            )
            self.connection.executemany("INSERT INTO staged_passages VALUES (?, ?, ?, ?, ?)", kept)

    def staged_passages(self) -> int:
        """How many passages will enter the index."""
        ((n,),) = self.rows("SELECT count(*) FROM staged_passages")
        return int(n)

    def planned_count(self) -> tuple[int, int]:
        """How many documents and passages the index will have."""
        (counts,) = self.rows(
            "SELECT (SELECT count(*) FROM main.documents WHERE id NOT IN (SELECT id FROM dropped))"
            " + (SELECT count(*) FROM staged_documents), (SELECT count(*) FROM planned)"
        )
        return counts[0], counts[1]

    def has_plans(self) -> bool:
        """Whether anything was dropped or staged."""
        (found,) = self.rows(
            "SELECT EXISTS (SELECT 1 FROM dropped) OR EXISTS (SELECT 1 FROM staged_documents)"
        )
        return bool(found[0])

    def planned(self, *, new_only: bool) -> Iterator[tuple[Passage, str, bytes]]:
        """The passages that the index will have, with their document's title and vector, by id.

        With `new_only`, those alone that it does not have yet.
        """
        table = "staged_passages" if new_only else "planned"
        rows = self.each(
            f'SELECT p.id, p.document, p.start, p."end", v.vector FROM {table} p'
            " JOIN vectors v ON v.hash = p.vector ORDER BY p.id"
        )
        document, title, text = "", "", ""
        for id_, name, start, end, vector in rows:
            if name != document:
                document = name
                ((title, text),) = self.rows(
                    "SELECT title, text FROM staged_documents WHERE id = ?1 UNION ALL"
                    " SELECT title, text FROM main.documents WHERE id = ?1 LIMIT 1",
                    [name],
                )
            yield Passage(id_, name, start, end, text[start:end]), title, vector

    def dropped_passages(self) -> list[int]:
        """The ids of the passages that will leave the index."""
        rows = self.rows(
            "SELECT id FROM main.passages WHERE document IN (SELECT id FROM dropped) ORDER BY id"
        )
        return [id_ for (id_,) in rows]

    def sources(self, passages: Sequence[int]) -> set[Path]:
        """The files that these passages are of."""
        return {
            Path(source)
            for batch in batches(passages)
            for (source,) in self.rows_in(
                "SELECT d.source FROM documents d JOIN passages p ON p.document = d.id"
                " WHERE p.id IN",
                batch,
            )
        }

    def note(self, notes: FileNotes) -> None:
        """Record what is known of files, without touching what the index answers."""
        with self._transaction():
            self._note(notes)

    def commit(self, fill: Callable[[Path], None], notes: FileNotes) -> None:
        """Make the plans the index's next generation.

        Args:
            fill: writes the generation's derived artefacts into the folder that it is given.
            notes: recorded in the same transaction.
        """
        generation = self.generation + 1
        folder = self.folder / GENERATIONS / f"{generation:08}"
        try:
            manifest = generations.publish(folder, fill)
        except OSError as error:
            first = " ".join((error.strerror or str(error)).split())[:_MAX_SAID]
            raise IndexStateError(
                f"{folder} cannot be written ({first}); the index is as it was. Make room, then try"
                " again; what was embedded is kept"
            ) from error
        with self._transaction() as connection:
            for table in ("passages WHERE document", "documents WHERE id"):
                connection.execute(f"DELETE FROM main.{table} IN (SELECT id FROM dropped)")
            connection.execute("INSERT INTO main.documents SELECT * FROM staged_documents")
            connection.execute("INSERT INTO main.passages SELECT * FROM staged_passages")
            connection.execute(
                "DELETE FROM vectors WHERE hash NOT IN (SELECT vector FROM main.passages)"
            )
            self._note(notes)
            for key, value in (
                ("generation", generation),
                ("manifest", manifest),
                ("next_passage", self._next_passage),
            ):
                connection.execute("UPDATE meta SET value = ? WHERE key = ?", [str(value), key])
        for table in ("dropped", "staged_passages", "staged_documents"):
            self.connection.execute(f"DELETE FROM temp.{table}")
        generations.sweep(self.folder / GENERATIONS, keep=folder.name)

    def calibrate(self, calibration: str | None) -> None:
        """From now on answers are as sure as this JSON says; None for the reader's own."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM meta WHERE key = 'calibration'")
            if calibration is not None:
                connection.execute("INSERT INTO meta VALUES ('calibration', ?)", [calibration])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._writing():
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute(
                    "UPDATE meta SET value = ?1 WHERE key = 'seal' AND value != ?1", [self.seal()]
                )
                self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Within it, SQLite's errors are told as they are told to users."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise trouble(self.folder, error, writing=True) from error

    def _note(self, notes: FileNotes) -> None:
        connection = self.connection
        connection.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(str(file.path), *astuple(file)[1:]) for file in notes.read],
        )
        for statement, paths in (
            ("DELETE FROM files WHERE path = ?", notes.forgotten),
            ("DELETE FROM roots WHERE path = ?", notes.unfollowed),
            ("INSERT OR IGNORE INTO roots VALUES (?)", notes.roots),
            ("DELETE FROM exclusions WHERE path = ?", notes.roots),
            ("INSERT OR IGNORE INTO exclusions VALUES (?)", notes.excluded),
        ):
            connection.executemany(statement, [[str(path)] for path in paths])
        if notes.columns is not None:
            columns = json.dumps(asdict(notes.columns))
            connection.execute("UPDATE meta SET value = ? WHERE key = 'columns'", [columns])


@contextmanager
def locked(
    folder: Path, *, wait_seconds: float = 60.0, notify: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Hold the index's lock, as only one process can.

    Raises:
        NoIndexError: nothing can be written in the folder.
        LockedIndexError: another process held it all the while.
    """
    try:
        lock = (folder / _LOCK).open("a+b", buffering=0)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        _acquire(lock, folder, wait_seconds, notify)
        yield


def _unwritable(folder: Path, error: OSError) -> NoIndexError:
    return NoIndexError(
        f"no index can be written at {folder}: {error.strerror};"
        " choose another folder with --index DIR"
    )


def _acquire(
    lock: IO[bytes], folder: Path, wait_seconds: float, notify: Callable[[str], None]
) -> None:
    """Take the writer's lock; the operating system frees it when the process ends, however."""
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().decode("utf-8", "replace").strip() or "another process"
        if not told:
            notify(f"waiting for {holder}, which is writing to {folder}")
            told = True
        if time.monotonic() > deadline:
            raise LockedIndexError(
                f"{folder} is being written by {holder}; wait until it ends, then try again"
            )
        time.sleep(0.05)
    lock.seek(0)
    lock.truncate()
    with suppress(OSError):  # The disk is full; who holds the lock is only said for convenience.
        lock.write(f"process {os.getpid()}".encode())

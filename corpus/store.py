"""The truth, in SQLite: documents, passages, vectors, roots, and which generation is current.

A reader opens a `Snapshot` and sees one generation for as long as it stays
open. The one writer collects its changes in temporary tables, which vanish
with it, and applies them in a single transaction that also names the new
generation's folder. Before that transaction a reader finds the old state, after
it the new one; there is nothing in between.

Vectors are kept by the hash of what was embedded. They are written as they are
made, ahead of the transaction: until a passage names one, it is only a cache,
which spares a run that was killed from embedding again.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Self, TypeAlias, TypeVar

from corpus import generations
from corpus.errors import (
    DamagedIndexError,
    IndexStateError,
    InputError,
    LockedIndexError,
    NoIndexError,
    RecipeError,
)
from corpus.records import Document, ModelIdentity, Passage, Recipe
from corpus.split import Extent

__all__ = ["DocumentSummary", "FileNotes", "IndexedFile", "Snapshot", "VectorHash", "Writer"]

VectorHash: TypeAlias = bytes
_T = TypeVar("_T")

_DATABASE = "index.sqlite"
_GENERATIONS = "generations"
_LOCK = "lock"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL, loader TEXT NOT NULL, read_at REAL NOT NULL, failure TEXT
) WITHOUT ROWID;
CREATE TABLE documents (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, row INTEGER, title TEXT NOT NULL,
    text TEXT NOT NULL, sha256 TEXT NOT NULL, loader TEXT NOT NULL, encoding TEXT,
    page_starts TEXT NOT NULL, indexed_at REAL NOT NULL
);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document TEXT NOT NULL REFERENCES documents (id),
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX passages_by_document ON passages (document);
CREATE TABLE vectors (hash BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
"""
_STAGING = """
CREATE TEMP TABLE staged_documents AS SELECT * FROM documents WHERE 0;
CREATE UNIQUE INDEX temp.staged_documents_by_id ON staged_documents (id);
CREATE TEMP TABLE staged_passages AS SELECT * FROM passages WHERE 0;
CREATE TEMP TABLE dropped (id TEXT PRIMARY KEY);
CREATE TEMP VIEW planned AS
    SELECT * FROM main.passages WHERE document NOT IN (SELECT id FROM dropped)
    UNION ALL SELECT * FROM staged_passages;
"""
_START_AGAIN = (
    "restore the folder from a backup, or index again into another: `citespan index PATH --index"
    " DIR`"
)
_BATCH = 500
"""How many ids one query names; SQLite takes 32,766."""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file as it was when it was last read."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str
    loader: str
    """The loader that read it, with its version."""
    read_at: float
    """Seconds since 1970, taken before the file was read."""
    failure: str | None
    """Why it could not be read; None when it was."""


@dataclass(slots=True)
class FileNotes:
    """What a run learnt of files, besides what is in them."""

    read: list[IndexedFile] = field(default_factory=list)
    """Files that were read, also those that failed."""
    forgotten: list[Path] = field(default_factory=list)
    """Files that are no longer there, or no longer wanted."""
    roots: list[Path] = field(default_factory=list)
    """Folders that from now on are roots."""


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """A document without its text."""

    id: str
    source: Path
    title: str
    row: int | None
    passages: int
    indexed_at: float


class _Database:
    """What reader and writer both ask of the database."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection

    @property
    def generation(self) -> int:
        """How many times the index has changed."""
        return int(self._meta("generation"))

    @property
    def recipe(self) -> Recipe:
        """With what the index was made."""
        fields = json.loads(self._meta("recipe"))
        for role in ("encoder", "reader"):
            fields[role] = ModelIdentity(**fields[role])
        return Recipe(**fields)

    @property
    def artefacts(self) -> Path:
        """The folder of the current generation's derived artefacts."""
        return self.folder / _GENERATIONS / f"{self.generation:08}"

    def roots(self) -> list[Path]:
        """The folders whose vanished files leave the index."""
        return [Path(path) for (path,) in self._rows("SELECT path FROM roots ORDER BY path")]

    def files(self) -> dict[Path, IndexedFile]:
        """Every file ever read and not removed, by path."""
        rows = self._rows(
            "SELECT path, size, mtime_ns, sha256, loader, read_at, failure FROM files"
        )
        return {Path(path): IndexedFile(Path(path), *rest) for path, *rest in rows}

    def require_models(self, *, encoder: ModelIdentity, reader: ModelIdentity) -> None:
        """Refuse to go on with other models than the index was made with.

        Raises:
            RecipeError: vectors or scores would not be comparable.
        """
        recipe = self.recipe
        for role, stored, loaded in (
            ("encoder", recipe.encoder, encoder),
            ("reader", recipe.reader, reader),
        ):
            if stored.sha256 != loaded.sha256:
                raise RecipeError(
                    f"the index at {self.folder} was made with the {role} {stored}, but {loaded}"
                    " is loaded; use the models it was made with, or index again into another"
                    " folder: `citespan index PATH --index DIR`"
                )

    def summaries(self) -> list[DocumentSummary]:
        """Every document, by source and row."""
        rows = self._rows(
            "SELECT d.id, d.source, d.title, d.row, count(p.id), d.indexed_at FROM documents d"
            " LEFT JOIN passages p ON p.document = d.id GROUP BY d.id ORDER BY d.source, d.row"
        )
        return [DocumentSummary(id_, Path(source), *rest) for id_, source, *rest in rows]

    def find(self, name: str) -> str:
        """The id of the one document with this id, path (or its last parts) or title.

        Raises:
            InputError: there is none, or there are several, which are named.
        """
        parts = Path(name).parts
        found = [
            s
            for s in self.summaries()
            if name in (s.id, s.title) or (parts and s.source.parts[-len(parts) :] == parts)
        ]
        if len(found) == 1:
            return found[0].id
        if not found:
            raise InputError(f"no document {name!r} in the index; `citespan list` names them")
        names = ", ".join(f"{s.id} ({s.source})" for s in found[:5])
        raise InputError(f"{name!r} names {len(found)} documents, {names}; give an id")

    def document(self, id_: str) -> Document:
        """The document with this id.

        Raises:
            DamagedIndexError: there is none, though something named it.
        """
        found = self._rows(
            "SELECT id, source, row, title, text, sha256, loader, encoding, page_starts"
            " FROM documents WHERE id = ?",
            [id_],
        )
        for id_, source, row, title, text, sha256, loader, encoding, page_starts in found:
            return Document(
                id=id_,
                source=Path(source),
                row=row,
                title=title,
                text=text,
                sha256=sha256,
                loader=loader,
                encoding=encoding,
                page_starts=tuple(json.loads(page_starts)),
            )
        raise DamagedIndexError(
            f"document {id_} is named in the index but not in it; {_START_AGAIN}"
        )

    def count(self) -> tuple[int, int]:
        """How many documents and passages there are."""
        (counts,) = self._rows(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages)"
        )
        return counts[0], counts[1]

    def vectors(self, hashes: Iterable[VectorHash]) -> dict[VectorHash, bytes]:
        """The stored vectors among these, float16 in the machine's order, by hash."""
        found: dict[VectorHash, bytes] = {}
        for batch in _batches(list(hashes)):
            found.update(self._rows_in("SELECT hash, vector FROM vectors WHERE hash IN", batch))
        return found

    def _meta(self, key: str) -> str:
        for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", [key]):
            return str(value)
        raise DamagedIndexError(f"{self.folder / _DATABASE} has no {key}; {_START_AGAIN}")

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise _damaged(self.folder, error) from error

    def _rows_in(self, sql: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        return self._rows(f"{sql} ({','.join('?' * len(values))})", values)


class Snapshot(_Database):
    """One generation of an index, unchanging while it is open."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, held: IO[str]) -> None:
        super().__init__(folder, connection)
        self._held = held

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The current generation of the index in the folder.

        Raises:
            NoIndexError: there is no index.
            DamagedIndexError: the database or a derived file is broken.
            RecipeError: the index was made by a version with another schema.
        """
        # A writer may replace the generation between reading its name and locking its folder.
        for _ in range(20):
            connection = _connect(folder, read_only=True)
            try:
                snapshot = cls(folder, connection, held=None)  # type: ignore[arg-type]
                if snapshot.generation == 0:
                    raise NoIndexError(
                        f"the index at {folder} has no documents yet; `citespan index PATH` adds"
                        " some"
                    )
                with suppress(FileNotFoundError):
                    snapshot._held = generations.hold(snapshot.artefacts)
                    return snapshot
                missing = snapshot.artefacts
            except BaseException:
                connection.close()
                raise
            connection.close()
            time.sleep(0.05)
        raise DamagedIndexError(
            f"{missing} is missing; run `citespan index` to rebuild it from the documents"
            " already indexed"
        )

    def passages(self, ids: Sequence[int]) -> list[Passage]:
        """The passages with these ids, in the order of the ids."""
        rows = {
            id_: (document, start, end)
            for batch in _batches(ids)
            for id_, document, start, end in self._rows_in(
                'SELECT id, document, start, "end" FROM passages WHERE id IN', batch
            )
        }
        texts = {document: "" for document, _, _ in rows.values()}
        for batch in _batches(list(texts)):
            texts.update(self._rows_in("SELECT id, text FROM documents WHERE id IN", batch))
        passages = []
        for id_ in ids:
            if id_ not in rows:
                raise DamagedIndexError(
                    f"passage {id_} is searched but not stored; run `citespan index` to rebuild"
                )
            document, start, end = rows[id_]
            # Sliced here and never in SQL, whose length() stops at a NUL character.
            passages.append(Passage(id_, document, start, end, texts[document][start:end]))
        return passages

    def passage_vectors(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The float16 vectors of these passages, by passage id."""
        return {
            id_: vector
            for batch in _batches(ids)
            for id_, vector in self._rows_in(
                "SELECT p.id, v.vector FROM passages p JOIN vectors v ON v.hash = p.vector"
                " WHERE p.id IN",
                batch,
            )
        }

    def close(self) -> None:
        """Let go of the generation; a writer may now remove its folder."""
        self._held.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Writer(_Database):
    """The one process that may change the index; holds its lock while it is open."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        super().__init__(folder, connection)
        connection.executescript(_STAGING)
        self._next_passage = int(self._meta("next_passage"))

    @classmethod
    @contextmanager
    def open(
        cls,
        folder: Path,
        recipe: Callable[[], Recipe],
        *,
        wait_seconds: float = 60.0,
        notify: Callable[[str], None] = lambda _: None,
    ) -> Iterator["Writer"]:
        """The writer of the index in the folder, which is made with the recipe if there is none.

        Args:
            folder: where the index lies.
            recipe: what a new index is made with; an existing one keeps its own.
            wait_seconds: how long to wait for another writer.
            notify: told once when there is one to wait for.

        Raises:
            LockedIndexError: the other writer is still at work.
        """
        new = None if (folder / _DATABASE).exists() else recipe()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / _LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise NoIndexError(
                f"no index can be written at {folder}: {error.strerror};"
                " choose another folder with --index DIR"
            ) from error
        with lock:
            _acquire(lock, folder, wait_seconds, notify)
            if not (folder / _DATABASE).exists():
                _create(folder, new or recipe())
            connection = _connect(folder, read_only=False)
            try:
                writer = cls(folder, connection)
                # What a run that was killed left behind.
                generations.sweep(folder / _GENERATIONS, keep=writer.artefacts.name)
                yield writer
                # Leaves no log behind, which a reader without rights could not follow.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def add_vectors(self, vectors: Iterable[tuple[VectorHash, bytes]]) -> None:
        """Keep these vectors at once, whether or not the run comes to its end."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", vectors)

    def drop_documents(self, source: Path) -> None:
        """Plan that the documents of this file leave the index."""
        self._connection.execute(
            "INSERT OR IGNORE INTO dropped SELECT id FROM main.documents WHERE source = ?",
            [str(source)],
        )

    def stage(self, document: Document, passages: Sequence[tuple[Extent, VectorHash]]) -> None:
        """Plan that the document, with these passages, enters the index."""
        self._connection.execute(
            "INSERT INTO staged_documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                document.id,
                str(document.source),
                document.row,
                document.title,
                document.text,
                document.sha256,
                document.loader,
                document.encoding,
                json.dumps(document.page_starts),
                time.time(),
            ],
        )
        for (start, end), vector in passages:
            self._connection.execute(
                "INSERT INTO staged_passages VALUES (?, ?, ?, ?, ?)",
                [self._next_passage, document.id, start, end, vector],
            )
            self._next_passage += 1

    def staged_passages(self) -> int:
        """How many passages will enter the index."""
        ((n,),) = self._rows("SELECT count(*) FROM staged_passages")
        return int(n)

    def has_plans(self) -> bool:
        """Whether anything was dropped or staged."""
        (found,) = self._rows(
            "SELECT EXISTS (SELECT 1 FROM dropped) OR EXISTS (SELECT 1 FROM staged_documents)"
        )
        return bool(found[0])

    def planned(self, *, new_only: bool) -> Iterator[tuple[Passage, str, bytes]]:
        """The passages that the index will have, with their document's title and vector, by id.

        With `new_only`, those alone that it does not have yet.
        """
        table = "staged_passages" if new_only else "planned"
        rows = self._connection.execute(
            f'SELECT p.id, p.document, p.start, p."end", v.vector FROM {table} p'
            " JOIN vectors v ON v.hash = p.vector ORDER BY p.id"
        )
        document, title, text = "", "", ""
        for id_, name, start, end, vector in rows:
            if name != document:
                document = name
                ((title, text),) = self._rows(
                    "SELECT title, text FROM staged_documents WHERE id = ?1 UNION ALL"
                    " SELECT title, text FROM main.documents WHERE id = ?1 LIMIT 1",
                    [name],
                )
            yield Passage(id_, name, start, end, text[start:end]), title, vector

    def dropped_passages(self) -> list[int]:
        """The ids of the passages that will leave the index."""
        rows = self._rows(
            "SELECT id FROM main.passages WHERE document IN (SELECT id FROM dropped) ORDER BY id"
        )
        return [id_ for (id_,) in rows]

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
        folder = self.folder / _GENERATIONS / f"{generation:08}"
        generations.publish(folder, fill)
        with self._transaction() as connection:
            for table in ("passages WHERE document", "documents WHERE id"):
                connection.execute(f"DELETE FROM main.{table} IN (SELECT id FROM dropped)")
            connection.execute("INSERT INTO main.documents SELECT * FROM staged_documents")
            connection.execute("INSERT INTO main.passages SELECT * FROM staged_passages")
            connection.execute(
                "DELETE FROM vectors WHERE hash NOT IN (SELECT vector FROM main.passages)"
            )
            self._note(notes)
            for key, value in (("generation", generation), ("next_passage", self._next_passage)):
                connection.execute("UPDATE meta SET value = ? WHERE key = ?", [str(value), key])
        for table in ("dropped", "staged_passages", "staged_documents"):
            self._connection.execute(f"DELETE FROM temp.{table}")
        generations.sweep(self.folder / _GENERATIONS, keep=folder.name)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise IndexStateError(
                f"{self.folder / _DATABASE} cannot be written ({error}); nothing of this step was"
                " kept, and the index is as it was"
            ) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _note(self, notes: FileNotes) -> None:
        connection = self._connection
        connection.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (str(f.path), f.size, f.mtime_ns, f.sha256, f.loader, f.read_at, f.failure)
                for f in notes.read
            ],
        )
        connection.executemany(
            "DELETE FROM files WHERE path = ?", [[str(path)] for path in notes.forgotten]
        )
        connection.executemany(
            "INSERT OR IGNORE INTO roots VALUES (?)", [[str(path)] for path in notes.roots]
        )


def _connect(folder: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection; a reader's stands in a read transaction, so that it sees one state."""
    path = folder / _DATABASE
    try:
        exists = path.exists()
    except OSError as error:
        raise NoIndexError(f"{folder} cannot be read: {error.strerror}") from error
    if not exists:
        raise NoIndexError(
            f"no index at {folder}; make one with `citespan index PATH`"
            " (or name another with --index DIR)"
        )
    try:
        connection = _open(path.absolute().as_uri() + (_reading_mode(path) if read_only else ""))
        if read_only:
            connection.execute("BEGIN")
        else:
            connection.execute("PRAGMA synchronous = FULL")
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    except sqlite3.DatabaseError as error:
        raise _damaged(folder, error) from error
    if version != _SCHEMA_VERSION:
        connection.close()
        raise RecipeError(
            f"the index at {folder} has schema {version}, this version reads"
            f" {_SCHEMA_VERSION}; index again into another folder with --index DIR"
        )
    return connection


def _reading_mode(path: Path) -> str:
    """How to open the database without ever changing it, also where nothing can be written.

    SQLite keeps two files beside a database with a write-ahead log, and makes
    them for a reader too. A reader who may not write the database must not:
    they would belong to it and lock out the owner. Such a reader opens the
    database as immutable, unless there is a log to be read with it.
    """
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return "?mode=ro"
    log = path.with_name(f"{path.name}-wal")
    return "?mode=ro" if log.exists() and log.stat().st_size else "?mode=ro&immutable=1"


def _open(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _create(folder: Path, recipe: Recipe) -> None:
    """A database of generation 0, complete before it gets its name."""
    partial = folder / f"{_DATABASE}.partial"
    for leftover in folder.glob(f"{_DATABASE}.partial*"):
        leftover.unlink()
    connection = _open(partial.absolute().as_uri())
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_SCHEMA)
    meta = {"generation": "0", "next_passage": "1", "recipe": json.dumps(asdict(recipe))}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    connection.close()
    generations.publish(folder / _GENERATIONS / f"{0:08}", lambda _: None)
    partial.rename(folder / _DATABASE)


def _acquire(
    lock: IO[str], folder: Path, wait_seconds: float, notify: Callable[[str], None]
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
            holder = lock.read().strip() or "another process"
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
    lock.write(f"process {os.getpid()}")
    lock.flush()


def _damaged(folder: Path, error: sqlite3.DatabaseError) -> DamagedIndexError:
    return DamagedIndexError(f"{folder / _DATABASE} cannot be read ({error}); {_START_AGAIN}")


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for low in range(0, len(values), _BATCH):
        yield values[low : low + _BATCH]

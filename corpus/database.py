"""The truth, in SQLite: documents, passages, vectors, roots, and which generation is current.

Readers open a `Snapshot` (store), the one writer a `Writer`; both are this
database with what they may do to it. Vectors are kept by the hash of what was
embedded, so that the same text is embedded once. A document has a checksum of
all that is kept of it, and what is noted beside documents a seal; only `doctor`
looks at them.
"""

import hashlib
import json
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TypeAlias, TypeVar

from corpus import generations
from corpus.durable import place
from corpus.errors import (
    DamagedIndexError,
    IndexStateError,
    InputError,
    LockedIndexError,
    NoIndexError,
    RecipeError,
)
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.records import Document, ModelIdentity, Recipe

__all__ = [
    "DATABASE",
    "GENERATIONS",
    "SCHEMA_VERSION",
    "Database",
    "DocumentSummary",
    "IndexedFile",
    "VectorHash",
    "batches",
    "checksum_of",
    "connect",
    "create",
    "parse_recipe",
    "trouble",
]

VectorHash: TypeAlias = bytes
_T = TypeVar("_T")

DATABASE = "index.sqlite"
GENERATIONS = "generations"
SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE exclusions (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL, loader TEXT NOT NULL, read_at REAL NOT NULL, failure TEXT, note TEXT
) WITHOUT ROWID;
CREATE TABLE documents (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, row INTEGER, title TEXT NOT NULL,
    text TEXT NOT NULL, sha256 TEXT NOT NULL, loader TEXT NOT NULL, encoding TEXT, date TEXT,
    page_starts TEXT NOT NULL, line_anchors TEXT NOT NULL, indexed_at REAL NOT NULL,
    checksum BLOB
);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document TEXT NOT NULL REFERENCES documents (id),
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX passages_by_document ON passages (document);
CREATE TABLE vectors (hash BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
"""
_START_AGAIN = (
    "`citespan doctor` says what can be saved; or restore the folder from a backup, or index again"
    " into another: `citespan index PATH --index DIR`"
)
_DISK_FAILS = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
}  # fmt: skip
"""What SQLite says when nothing is wrong with the database, but with what it lies on."""
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
    note: str | None = None
    """What in it was left unread."""


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """A document without its text."""

    id: str
    source: Path
    title: str
    row: int | None
    kind: str
    """The format: its loader's name."""
    date: str | None
    pages: int | None
    """None where the format has no pages."""
    passages: int
    indexed_at: float


class Database:
    """What reader and writer both ask of the database."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self.connection = connection

    @property
    def generation(self) -> int:
        """How many times the index has changed."""
        with self._legible():
            return int(self.meta("generation"))

    @cached_property
    def recipe(self) -> Recipe:
        """With what the index was made, which never changes."""
        with self._legible():
            return parse_recipe(self.meta("recipe"))

    @property
    def artefacts(self) -> Path:
        """The folder of the current generation's derived artefacts."""
        return self.folder / GENERATIONS / f"{self.generation:08}"

    def roots(self) -> list[Path]:
        """What was indexed by name: folders, whose vanished files leave the index, and files."""
        return [Path(path) for (path,) in self.rows("SELECT path FROM roots ORDER BY path")]

    def exclusions(self) -> list[Path]:
        """The files and folders that were taken out, and stay out until added by name."""
        return [Path(path) for (path,) in self.rows("SELECT path FROM exclusions ORDER BY path")]

    @property
    def columns(self) -> Columns:
        """Which columns of tables are used."""
        with self._legible():
            told = json.loads(self.meta("columns"))
            return Columns(tuple(told["text"]), told["title"])

    @property
    def calibration(self) -> str | None:
        """The confidence that was fitted to this index, as JSON; None for the reader's own."""
        for (value,) in self.rows("SELECT value FROM meta WHERE key = 'calibration'"):
            return str(value)
        return None

    @contextmanager
    def _legible(self) -> Iterator[None]:
        """Within it, what is noted and cannot be understood is damage."""
        try:
            yield
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedIndexError(
                f"{self.folder / DATABASE} holds something that makes no sense ({error});"
                f" {_START_AGAIN}"
            ) from error

    def files(self) -> dict[Path, IndexedFile]:
        """Every file ever read and not removed, by path."""
        rows = self.rows(
            "SELECT path, size, mtime_ns, sha256, loader, read_at, failure, note FROM files"
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
        rows = self.rows(
            "SELECT d.id, d.source, d.title, d.row, d.loader, d.date, d.page_starts, count(p.id),"
            " d.indexed_at FROM documents d LEFT JOIN passages p ON p.document = d.id"
            " GROUP BY d.id ORDER BY d.source, d.row"
        )
        with self._legible():
            return [
                DocumentSummary(
                    id_,
                    Path(source),
                    title,
                    row,
                    loader.partition("/")[0],
                    date,
                    len(json.loads(page_starts)) or None,
                    passages,
                    indexed_at,
                )
                for id_, source, title, row, loader, date, page_starts, passages, indexed_at in rows
            ]

    def find(self, name: str) -> str:
        """The id of the one document with this id, path (or its last parts) or title.

        Raises:
            InputError: there is none, or there are several, which are named.
        """
        found = [s for s in self.summaries() if name.strip() and _is_named(s, name)]
        if len(found) == 1:
            return found[0].id
        if not found:
            raise InputError(f"no document {name!r} in the index; `citespan list` names them")
        names = ", ".join(f"{s.id} ({s.source})" for s in found[:5])
        raise InputError(f"{name!r} names {len(found)} documents, {names}; give an id")

    def find_all(self, name: str) -> list[str]:
        """The ids of all documents that the name names as for `find`, or that lie in that folder.

        Raises:
            InputError: there is none.
        """
        folder = Path(os.path.abspath(name))
        found = [
            summary.id
            for summary in self.summaries()
            if name.strip() and (_is_named(summary, name) or folder in summary.source.parents)
        ]
        if not found:
            raise InputError(f"no document {name!r} in the index; `citespan list` names them")
        return found

    def named(self, names: Sequence[str]) -> list[str]:
        """The ids, ascending, of all documents that any of the names names; many ids are quick.

        Raises:
            InputError: a name fits none.
        """
        ids = {id_ for (id_,) in self.rows("SELECT id FROM documents")}
        others = (name for name in names if name not in ids)
        return sorted(ids.intersection(names).union(*map(self.find_all, others)))

    def document(self, id_: str) -> Document:
        """The document with this id.

        Raises:
            DamagedIndexError: there is none, though something named it.
        """
        found = self.rows(
            "SELECT id, source, row, title, text, sha256, loader, encoding, date, page_starts,"
            " line_anchors FROM documents WHERE id = ?",
            [id_],
        )
        for row in found:
            id_, source, number, title, text, sha256, loader, encoding, date, pages, anchors = row
            with self._legible():
                return Document(
                    id=id_,
                    source=Path(source),
                    row=number,
                    title=title,
                    text=text,
                    sha256=sha256,
                    loader=loader,
                    encoding=encoding,
                    date=date,
                    page_starts=tuple(json.loads(pages)),
                    line_anchors=tuple((at, line) for at, line in json.loads(anchors)),
                )
        raise DamagedIndexError(
            f"document {id_} is named in the index but not in it; {_START_AGAIN}"
        )

    def checksum(self, id_: str) -> bytes:
        """The checksum of the document as it is kept now."""
        ((*row, _),) = self.rows("SELECT * FROM documents WHERE id = ?", [id_])
        passages = self.rows("SELECT * FROM passages WHERE document = ? ORDER BY id", [id_])
        return checksum_of([row, *passages])

    def seal(self) -> str:
        """The checksum of what is noted beside documents, but for files, as it is kept now."""
        return checksum_of(
            self.rows(
                "SELECT 'meta', key, value FROM meta WHERE key != 'seal' UNION ALL"
                " SELECT 'root', path, '' FROM roots UNION ALL"
                " SELECT 'exclusion', path, '' FROM exclusions ORDER BY 1, 2"
            )
        ).hex()

    def count(self) -> tuple[int, int]:
        """How many documents and passages there are."""
        (counts,) = self.rows(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages)"
        )
        return counts[0], counts[1]

    def vectors(self, hashes: Iterable[VectorHash]) -> dict[VectorHash, bytes]:
        """The stored vectors among these, float16 in the machine's order, by hash."""
        found: dict[VectorHash, bytes] = {}
        for batch in batches(list(hashes)):
            found.update(self.rows_in("SELECT hash, vector FROM vectors WHERE hash IN", batch))
        return found

    def meta(self, key: str) -> str:
        """What is noted under the key."""
        for (value,) in self.rows("SELECT value FROM meta WHERE key = ?", [key]):
            return str(value)
        raise DamagedIndexError(f"{self.folder / DATABASE} has no {key}; {_START_AGAIN}")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        """All rows of a query."""
        try:
            found = self.connection.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            self._refuse_a_mix()
            raise trouble(self.folder, error) from error
        self._refuse_a_mix()
        return found

    def each(self, sql: str) -> Iterator[tuple]:  # type: ignore[type-arg]
        """The rows of a query, one after the other."""
        try:
            for row in self.connection.execute(sql):
                self._refuse_a_mix()
                yield row
        except sqlite3.DatabaseError as error:
            raise trouble(self.folder, error) from error

    def rows_in(self, sql: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        """All rows of a query that ends in IN, for these values."""
        return self.rows(f"{sql} ({','.join('?' * len(values))})", values)

    @property
    def rewritten(self) -> bool:
        """Whether others have changed the database under a reader that may not lock it.

        Such a reader can only be opened again.
        """
        return isinstance(self.connection, _Lockless) and self.connection.rewritten

    def _refuse_a_mix(self) -> None:
        """Let go of what was read of an old and a new state at once."""
        if self.rewritten:
            raise IndexStateError(
                f"the index at {self.folder} was rewritten while it was read; nothing is wrong"
                " with it: open it again"
            )


class _Lockless(sqlite3.Connection):
    """A reader's connection for which SQLite takes no locks, being told that nobody writes.

    Somebody may, and half of what is read is then new: so the file is watched here.
    """

    def __init__(self, path: Path, opened: tuple[int, ...]) -> None:
        self._path, self._opened = path, opened
        uri = f"{path.as_uri()}?mode=ro&immutable=1"
        super().__init__(uri, uri=True, isolation_level=None, check_same_thread=False)

    @property
    def rewritten(self) -> bool:
        """Whether the file is no longer what it was when it was opened."""
        return _status(self._path) != self._opened


def _status(path: Path) -> tuple[int, ...]:
    """What differs after any writing to the file; nothing where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def checksum_of(rows: Iterable[Sequence[object]]) -> bytes:
    """Of all the values of these rows, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for value in chain.from_iterable(rows):
        # Piece by piece, since a text may be large; with its kind and length, none is another.
        said = value if isinstance(value, bytes) else str(value).encode()
        digest.update(f"{type(value).__name__} {len(said)} ".encode())
        digest.update(said)
    return digest.digest()


def parse_recipe(stored: str) -> Recipe:
    """The recipe from how it is stored.

    Raises:
        ValueError, TypeError, KeyError: it is not one.
    """
    fields = json.loads(stored)
    for role in ("encoder", "reader"):
        fields[role] = ModelIdentity(**fields[role])
    return Recipe(**fields)


def _is_named(summary: DocumentSummary, name: str) -> bool:
    """Whether the name is the document's id, title or path, or the last parts of its path."""
    parts = Path(name).parts
    return name in (summary.id, summary.title) or (
        bool(parts) and summary.source.parts[-len(parts) :] == parts
    )


def connect(folder: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection; a reader's stands in a read transaction, so that it sees one state."""
    path = folder / DATABASE
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
        connection = _open_to_read(path) if read_only else _open(path.absolute().as_uri())
        if read_only:
            connection.execute("BEGIN")
        else:
            connection.execute("PRAGMA synchronous = FULL")
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    except sqlite3.DatabaseError as error:
        raise trouble(folder, error) from error
    if version == 0:
        connection.close()
        raise DamagedIndexError(f"{path} is no database of an index; {_START_AGAIN}")
    if version != SCHEMA_VERSION:
        connection.close()
        what_to_do = (
            f"`citespan index --index {shlex.quote(str(folder))}` brings it up to date"
            if version < SCHEMA_VERSION
            else "a later version made it: install that, or index again into another folder with"
            " --index DIR"
        )
        raise RecipeError(
            f"the index at {folder} has schema {version}, this version reads {SCHEMA_VERSION};"
            f" {what_to_do}"
        )
    return connection


def _open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that never changes the database, also where nothing can be written.

    SQLite keeps two files beside a database with a write-ahead log, and makes
    them for a reader too. A reader who may not write the database must not:
    they would belong to it and lock out the owner. Such a reader opens the
    database as immutable, unless there is a log to be read with it, and takes
    no locks then: what it reads after the owner has written is refused.
    """
    path = path.absolute()
    # Taken before the log is looked for: what of it goes into the database since is then noticed.
    opened = _status(path)
    log = path.with_name(f"{path.name}-wal")
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if may_write or (log.exists() and log.stat().st_size):
        return _open(f"{path.as_uri()}?mode=ro")
    return _Lockless(path, opened)


def _open(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def create(
    folder: Path, recipe: Recipe, fill: Callable[[sqlite3.Connection], None] = lambda _: None
) -> None:
    """A database of generation 0, complete, with what `fill` puts in, before it gets its name."""
    partial = folder / f"{DATABASE}.partial"
    for leftover in folder.glob(f"{DATABASE}.partial*"):
        leftover.unlink()
    try:
        with closing(_open(partial.absolute().as_uri())) as connection:
            _fill(connection, recipe, fill)
            connection.execute(
                "INSERT INTO meta VALUES ('seal', ?)", [Database(folder, connection).seal()]
            )
    except sqlite3.DatabaseError as error:
        raise trouble(folder, error, writing=True) from error
    generations.publish(folder / GENERATIONS / f"{0:08}", lambda _: None)
    place(partial, folder / DATABASE)


def _fill(
    connection: sqlite3.Connection, recipe: Recipe, fill: Callable[[sqlite3.Connection], None]
) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_SCHEMA)
    meta = {
        "generation": "0",
        "manifest": "",
        "next_passage": "1",
        "recipe": json.dumps(asdict(recipe)),
        "columns": json.dumps(asdict(DEFAULT_COLUMNS)),
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    fill(connection)


def trouble(
    folder: Path, error: sqlite3.DatabaseError, *, writing: bool = False
) -> IndexStateError:
    """What to tell the user of SQLite's error: a failing disk is not a damaged database."""
    path, code = folder / DATABASE, getattr(error, "sqlite_errorcode", 0) & 0xFF
    kept = "; nothing of this step was kept, and the index is as it was" if writing else ""
    if code == sqlite3.SQLITE_BUSY:
        return LockedIndexError(f"{path} is in use by another process{kept}; try again")
    if code in _DISK_FAILS:
        verb = "written" if writing else "read"
        return IndexStateError(
            f"{path} cannot be {verb} ({error}){kept}; the disk is full, failing or read-only:"
            " make room, then try again"
        )
    return DamagedIndexError(f"{path} cannot be read ({error}); {_START_AGAIN}")


def batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The values in runs short enough for one query."""
    for low in range(0, len(values), _BATCH):
        yield values[low : low + _BATCH]

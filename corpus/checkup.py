"""The truth examined: whether the database can be read, and whether it contradicts itself."""

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path

from corpus.database import (
    DATABASE,
    Database,
    connect,
    create,
    parse_recipe,
)
from corpus.durable import flush
from corpus.errors import DamagedIndexError
from corpus.extract import Columns

__all__ = ["backup", "contradictions", "salvage", "unreadable"]

_MAX_SAID = 200
_SIDE_FILES = ("", "-wal", "-shm")
"""What SQLite keeps beside a database belongs to it."""
_PAGE_SIZE = slice(16, 18)
"""Where a database says how large its pages are."""
_SOUND_VECTORS = (
    "SELECT hash, vector FROM vectors"
    " WHERE typeof(hash) = 'blob' AND length(hash) = 16 AND typeof(vector) = 'blob'"
)
_WRONG = {
    "has documents, but is not among the files": (
        "SELECT DISTINCT source FROM documents WHERE source NOT IN (SELECT path FROM files)"
    ),
    "has a document with another checksum or loader than the file": (
        "SELECT DISTINCT d.source FROM documents d JOIN files f ON f.path = d.source"
        " WHERE d.sha256 != f.sha256 OR d.loader != f.loader"
    ),
    "was read, but has no documents": (
        "SELECT path FROM files WHERE failure IS NULL"
        " AND path NOT IN (SELECT source FROM documents)"
    ),
    "has a document without passages": (
        "SELECT DISTINCT source FROM documents WHERE id NOT IN (SELECT document FROM passages)"
    ),
    "has passages without a vector": (
        "SELECT DISTINCT d.source FROM documents d JOIN passages p ON p.document = d.id"
        " LEFT JOIN vectors v ON v.hash = p.vector WHERE v.hash IS NULL"
    ),
    "has vectors of another length than most": (
        "SELECT DISTINCT d.source FROM documents d JOIN passages p ON p.document = d.id"
        " JOIN vectors v ON v.hash = p.vector WHERE length(v.vector) != (SELECT length(vector)"
        " FROM vectors GROUP BY length(vector) ORDER BY count(*) DESC LIMIT 1)"
    ),
}
"""What can be wrong, and how to find the files of which it is."""


def unreadable(folder: Path) -> str | None:
    """What SQLite finds wrong with the database; None when nothing.

    Raises:
        NoIndexError: there is no index.
        RecipeError: another version made it.
    """
    try:
        with closing(connect(folder, read_only=True)) as connection:
            database = Database(folder, connection)
            ((found,), *_) = database.rows("PRAGMA integrity_check(1)")
            if found != "ok":
                first = " ".join(str(found).split())[:_MAX_SAID]
                return f"{folder / DATABASE} fails SQLite's own check ({first})"
            ((page_size,),) = database.rows("PRAGMA page_size")
            if (size := (folder / DATABASE).stat().st_size) % page_size:
                # SQLite takes what is missing of the last page for zeros.
                return f"{folder / DATABASE} was cut short to {size:,} bytes"
            database.recipe  # noqa: B018 - whether it is there and can be read
            database.columns  # noqa: B018
            database.roots(), database.exclusions(), database.files()
            int(database.meta("generation")), int(database.meta("next_passage"))
            if database.seal() != database.meta("seal"):
                return (
                    f"what {folder / DATABASE} notes of models, roots and exclusions is not what"
                    " was written there, and can only be taken as it stands"
                )
    except DamagedIndexError as error:
        return str(error).partition(";")[0]
    except (ValueError, TypeError, KeyError) as error:
        return f"{folder / DATABASE} does not say what it was made with ({error})"
    return None


def contradictions(database: Database) -> dict[Path | None, str]:
    """Files of which the database does not say one consistent thing, with what is wrong.

    Under None what no file is to blame for: passages of no document. While there are such,
    nothing else is looked for.
    """
    ((orphans,),) = database.rows(
        "SELECT count(*) FROM passages WHERE document NOT IN (SELECT id FROM documents)"
    )
    if orphans:
        return {None: f"{orphans} passages belong to no document"}
    found: dict[Path | None, str] = {}
    for source, what in _contradictions(database):
        found.setdefault(source, what)
    return found


def _contradictions(database: Database) -> Iterator[tuple[Path, str]]:
    for what, sql in _WRONG.items():
        for (source,) in database.rows(sql):
            yield Path(source), what
    for id_, source, checksum in database.rows("SELECT id, source, checksum FROM documents"):
        try:
            if database.checksum(id_) != checksum:
                yield Path(source), "has a document that is not as it was indexed"
        except DamagedIndexError:
            yield Path(source), "has a document that cannot be read"


def backup(folder: Path) -> Path:
    """A copy of the database, beside it; the caller holds the index's lock."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    copy = folder / f"{DATABASE}.backup-{stamp}"
    for number in count(2):
        if not copy.exists():
            break
        copy = folder / f"{DATABASE}.backup-{stamp}-{number}"
    for side in _SIDE_FILES:
        original = folder / f"{DATABASE}{side}"
        if original.exists():
            shutil.copy2(original, f"{copy}{side}")
            flush(Path(f"{copy}{side}"))
    flush(folder)
    return copy


def salvage(folder: Path) -> tuple[Path, int]:
    """Put a new database in the place of one that cannot be read; the caller holds the lock.

    The new one knows the models, the roots, what was taken out, and as many of
    the vectors as could be read. It holds no documents until the roots are read
    again, which then embeds little.

    Returns:
        The backup, and the number of vectors saved.

    Raises:
        DamagedIndexError: not even the models can be read; nothing was changed but the
            backup made.
    """
    copy = backup(folder)
    with _opened(copy) as old:
        meta = dict(_readable(old, "SELECT key, value FROM meta"))
        try:
            recipe = parse_recipe(meta["recipe"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedIndexError(
                f"{folder / DATABASE} is beyond repair: not even the models that it was made with"
                " can be read; index the documents again: `citespan index PATH --index DIR`"
            ) from error
        saved = 0

        def fill(new: sqlite3.Connection) -> None:
            nonlocal saved
            new.execute("BEGIN")
            for table in ("roots", "exclusions"):
                rows = _readable(old, f"SELECT path FROM {table} WHERE typeof(path) = 'text'")
                new.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", rows)
            # From both ends, since what is damaged may lie in the middle.
            for order in ("ASC", "DESC"):
                rows = _readable(old, f"{_SOUND_VECTORS} ORDER BY hash {order}")
                new.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
            ((saved,),) = new.execute("SELECT count(*) FROM vectors")
            with suppress(KeyError, TypeError, ValueError):
                told = json.loads(meta["columns"])
                columns = json.dumps(asdict(Columns(tuple(told["text"]), told["title"])))
                new.execute("UPDATE meta SET value = ? WHERE key = 'columns'", [columns])
            new.execute("COMMIT")

        # A log of the old database must not be taken for one of the new.
        for side in _SIDE_FILES[1:]:
            (folder / f"{DATABASE}{side}").unlink(missing_ok=True)
        create(folder, recipe, fill)
    return copy, saved


@contextmanager
def _opened(copy: Path) -> Iterator[sqlite3.Connection]:
    """The copy of a damaged database, for reading as much as there is of it."""
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".salvage-") as work:
        for side in _SIDE_FILES:
            if (original := Path(f"{copy}{side}")).exists():
                shutil.copy(original, Path(work, f"{DATABASE}{side}"))
        _drop_half_page(Path(work, DATABASE))
        uri = f"{Path(work, DATABASE).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            # Without it SQLite refuses a file that has lost its end, also what is left of it.
            connection.execute("PRAGMA writable_schema = ON")
            yield connection


def _drop_half_page(database: Path) -> None:
    """Cut off a last page that is not whole: SQLite would take what it has lost for zeros."""
    with database.open("r+b") as file:
        page_size = int.from_bytes(file.read(18)[_PAGE_SIZE], "big")
        size = database.stat().st_size
        if page_size > 1:  # It is 1 for 65,536, which we do not make, and 0 in no database.
            file.truncate(size - size % page_size)


def _readable(connection: sqlite3.Connection, sql: str) -> Iterator[tuple]:  # type: ignore[type-arg]
    """The rows of the query up to the first that cannot be read."""
    try:
        yield from connection.execute(sql)
    except sqlite3.Error:
        return

"""Databases of earlier versions, brought up to date where they lie.

A step is a list of statements, and of what no statement can say, and holds
whole or not at all. Whatever an earlier version did not know is left to the run
that follows: the derived indexes are built again, and files are read again,
whose vectors are kept.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

from corpus.database import DATABASE, SCHEMA_VERSION, Database, trouble

__all__ = ["migrate"]

_Step: TypeAlias = Sequence[str | Callable[[Database], None]]


def _add_checksums(database: Database) -> None:
    for (id_,) in database.rows("SELECT id FROM documents"):
        checksum = database.checksum(id_)
        database.connection.execute(
            "UPDATE documents SET checksum = ? WHERE id = ?", [checksum, id_]
        )
    database.connection.execute("INSERT INTO meta VALUES ('seal', ?)", [database.seal()])


_STEPS: dict[int, _Step] = {
    1: (
        "CREATE TABLE exclusions (path TEXT PRIMARY KEY) WITHOUT ROWID",
        "ALTER TABLE files ADD COLUMN note TEXT",
        # ALTER TABLE adds columns at the end alone, and rows are copied in their order.
        "CREATE TABLE documents_2 (id TEXT PRIMARY KEY, source TEXT NOT NULL, row INTEGER,"
        " title TEXT NOT NULL, text TEXT NOT NULL, sha256 TEXT NOT NULL, loader TEXT NOT NULL,"
        " encoding TEXT, date TEXT, page_starts TEXT NOT NULL, line_anchors TEXT NOT NULL,"
        " indexed_at REAL NOT NULL)",
        "INSERT INTO documents_2 SELECT id, source, row, title, text, sha256, loader, encoding,"
        " NULL, page_starts, '[]', indexed_at FROM documents",
        "DROP TABLE documents",
        "ALTER TABLE documents_2 RENAME TO documents",
        "CREATE INDEX documents_by_source ON documents (source)",
        "INSERT INTO meta VALUES ('manifest', ''), ('columns', '{\"text\": [], \"title\": null}')",
        # Dates and lines are known once a file is read again, which it is without a hash.
        "UPDATE files SET sha256 = ''",
    ),
    2: ("ALTER TABLE documents ADD COLUMN checksum BLOB", _add_checksums),
}
"""How a database of each schema becomes one of the next."""


def migrate(folder: Path) -> None:
    """Bring the database up to date, if it is older; only one who holds the index's lock may.

    Raises:
        IndexStateError: the disk is full or read-only, or the database is damaged.
    """
    uri = (folder / DATABASE).absolute().as_uri()
    try:
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            # A text that has become illegible is left for `doctor` to find.
            connection.text_factory = partial(str, encoding="utf-8", errors="replace")
            while _step(Database(folder, connection)):
                pass
    except sqlite3.DatabaseError as error:
        raise trouble(folder, error, writing=True) from error


def _step(database: Database) -> bool:
    """Bring it to the next version; whether there was one."""
    ((version,),) = database.rows("PRAGMA user_version")
    if version not in _STEPS or version >= SCHEMA_VERSION:
        return False
    database.connection.execute("BEGIN IMMEDIATE")
    for statement in (*_STEPS[version], f"PRAGMA user_version = {version + 1}"):
        if isinstance(statement, str):
            database.connection.execute(statement)
        else:
            statement(database)
    database.connection.execute("COMMIT")
    return True

"""What readers see: one generation of an index, for as long as they keep it open."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from corpus import generations
from corpus.database import Database, batches, connect
from corpus.errors import DamagedIndexError, NoIndexError
from corpus.records import Passage

__all__ = ["Snapshot"]

_TRIES = 20
_PAUSE_SECONDS = 0.05
"""A writer may replace the generation between reading its name and locking its folder. Then the
name is read again, after a pause."""


class Snapshot(Database):
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
        for _ in range(_TRIES):
            connection = connect(folder, read_only=True)
            try:
                current = Database(folder, connection)
                if current.generation == 0:
                    raise NoIndexError(
                        f"the index at {folder} has no documents yet; `citespan index PATH` adds"
                        " some"
                    )
                with suppress(FileNotFoundError):
                    return cls(folder, connection, generations.hold(current.artefacts))
                missing = current.artefacts
            except BaseException:
                connection.close()
                raise
            connection.close()
            time.sleep(_PAUSE_SECONDS)
        raise DamagedIndexError(
            f"{missing} is missing; run `citespan index` to rebuild it from the documents"
            " already indexed"
        )

    def passages(self, ids: Sequence[int]) -> list[Passage]:
        """The passages with these ids, in the order of the ids.

        Raises:
            DamagedIndexError: one of them is not stored.
        """
        rows = {
            id_: (document, start, end)
            for batch in batches(ids)
            for id_, document, start, end in self.rows_in(
                'SELECT id, document, start, "end" FROM passages WHERE id IN', batch
            )
        }
        texts = {document: "" for document, _, _ in rows.values()}
        for batch in batches(list(texts)):
            texts.update(self.rows_in("SELECT id, text FROM documents WHERE id IN", batch))
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

    def passage_ids(self, documents: Sequence[str]) -> list[int]:
        """The ids of all passages of these documents, ascending."""
        return sorted(
            id_
            for batch in batches(documents)
            for (id_,) in self.rows_in("SELECT id FROM passages WHERE document IN", batch)
        )

    def extents(self, document: str) -> list[tuple[int, int, int]]:
        """Of each passage of the document its id, start and end, in order of the text."""
        return self.rows(
            'SELECT id, start, "end" FROM passages WHERE document = ? ORDER BY start, id',
            [document],
        )

    def passage_vectors(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The vectors of these passages, float16 and little-endian, by passage id."""
        return {
            id_: vector
            for batch in batches(ids)
            for id_, vector in self.rows_in(
                "SELECT p.id, v.vector FROM passages p JOIN vectors v ON v.hash = p.vector"
                " WHERE p.id IN",
                batch,
            )
        }

    def close(self) -> None:
        """Let go of the generation; a writer may now remove its folder."""
        self._held.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The open index of a server: asked by many at once, and brought up to date under them.

One pipeline serves everybody. When a new generation is published, by an upload
here or by `citespan index` elsewhere, or the index is calibrated, the next
question is asked of a new one with the same models, and the old one is closed
when its last user is done.
"""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TypeAlias

import anyio
import anyio.to_thread

from corpus.cores import cores
from corpus.database import Database, DocumentSummary, connect
from corpus.errors import (
    DamagedIndexError,
    InputError,
    LoadError,
    NoIndexError,
    UnknownDocumentError,
)
from corpus.generations import hold, verify_files
from corpus.records import Document
from embeddings.follow import Changes
from qa.examples import examples
from qa.indexing import index_files, remove_files
from qa.pipeline import Pipeline
from qa.results import Result
from qa.uploads import UPLOADS, UploadLimits, store

__all__ = ["Library", "Upload", "Uploaded"]

_LOOK_SECONDS = 1.0
"""How often it is looked whether another process has changed the index."""

_State: TypeAlias = tuple[int, str | None]
"""What answers depend on: the generation, and the calibration, which changes within one."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a visitor brings."""

    name: str
    stream: BinaryIO


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What came of some uploads."""

    documents: tuple[DocumentSummary, ...]
    """The documents in the files that are now in the index."""
    failed: tuple[tuple[str, str], ...]
    """Names of the other files, as the visitor gave them, and why they are not."""


class _Lent:
    """A pipeline and how many use it; it is closed when it is retired and nobody does."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.state = _state(pipeline.snapshot)
        self.users = 0
        self.retired = False


class Library:
    """An index for as long as a server runs; also one that is empty yet."""

    def __init__(
        self, folder: Path, *, models: str | None = None, limits: UploadLimits | None = None
    ) -> None:
        """The library over the index in the folder.

        Raises:
            DamagedIndexError: a part of the index is broken.
            RecipeError: it was made with other models.
        """
        self.folder = folder.absolute()
        self.limits = limits or UploadLimits()
        self._models = models
        self._lock = Lock()
        self._renewing = Lock()
        self._looked = -_LOOK_SECONDS
        self._current: _Lent | None = None
        self._asking = anyio.CapacityLimiter(cores())
        self._indexing = anyio.Lock()
        self._brought = self._indexed = 0
        self._hashed = 0
        self._changes = Changes()
        self._placed: set[Path] = set()
        self._examples: tuple[_State | None, tuple[str, ...]] = (None, ())
        self._finding_examples = anyio.Lock()
        for leftover in self.uploads.glob(".incoming-*"):
            leftover.unlink()
        self._renew()

    @property
    def uploads(self) -> Path:
        """The folder that uploads are kept in, which is a root of the index."""
        return self.folder / UPLOADS

    @contextmanager
    def pipeline(self) -> Iterator[Pipeline]:
        """The pipeline over the index as it is now, which stays open until it is given back.

        Raises:
            NoIndexError: nothing has been indexed yet.
        """
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._renew()
        with self._lock:
            lent = self._current
            if lent is None:
                raise NoIndexError(
                    "there are no documents yet; add some in the page, or with `citespan index"
                    f" PATH --index {shlex.quote(str(self.folder))}`"
                )
            lent.users += 1
        try:
            yield lent.pipeline
        finally:
            with self._lock:
                lent.users -= 1
                done = lent.retired and not lent.users
            if done:
                lent.pipeline.close()

    async def ask(
        self,
        question: str,
        *,
        answers: int = 5,
        min_confidence: float | None = None,
        search_for: str | None = None,
    ) -> Result:
        """What `Pipeline.ask` says; who came first is served first, a few at a time.

        Raises:
            InputError: the question is blank, or a number makes no sense.
            NoIndexError: nothing has been indexed yet.
        """

        def ask() -> Result:
            with self.pipeline() as pipeline:
                return pipeline.ask(
                    question,
                    answers=answers,
                    min_confidence=min_confidence,
                    search_for=search_for,
                )

        return await anyio.to_thread.run_sync(ask, limiter=self._asking)

    def documents(self) -> list[DocumentSummary]:
        """Every document, by source and row; none where nothing has been indexed yet."""
        with suppress(NoIndexError), self.pipeline() as pipeline:
            return pipeline.snapshot.summaries()
        return []

    def document(self, id_: str) -> Document:
        """The document with this id.

        Raises:
            UnknownDocumentError: there is none.
        """
        with suppress(NoIndexError), self.pipeline() as pipeline:
            if pipeline.snapshot.rows("SELECT 1 FROM documents WHERE id = ?", [id_]):
                return pipeline.snapshot.document(id_)
        raise UnknownDocumentError(
            f"no document {id_!r} in the index; GET /api/documents lists all"
        )

    @property
    def generation(self) -> int:
        """How many times the index has changed; 0 where there is none yet."""
        with suppress(NoIndexError), self.pipeline() as pipeline:
            return pipeline.snapshot.generation
        return 0

    def damage(self) -> list[str]:
        """What is wrong with the indexes that answer, one sentence each; empty when they are whole.

        Files are hashed once a generation, and afterwards only their sizes looked at.
        """
        with suppress(NoIndexError), self.pipeline() as pipeline:
            snapshot = pipeline.snapshot
            if self._hashed != snapshot.generation:
                found = verify_files(snapshot.artefacts, snapshot.meta("manifest"))
                if not found:
                    self._hashed = snapshot.generation
                return found
            try:
                hold(snapshot.artefacts).close()
            except FileNotFoundError:
                return [f"{snapshot.artefacts} is missing"]
            except DamagedIndexError as error:
                return [str(error)]
        return []

    async def add(self, uploads: Sequence[Upload]) -> Uploaded:
        """Keep the files, and bring the index in line with them; questions are answered meanwhile.

        Files that came while others were being indexed are indexed together.

        Raises:
            IndexStateError: the index cannot be written.
        """
        placed: list[tuple[str, Path]] = []
        failed: list[tuple[str, str]] = []
        for upload in uploads:
            try:
                place = await anyio.to_thread.run_sync(
                    store, upload.stream, upload.name, self.uploads, self.limits
                )
                placed.append((upload.name, place))
            except LoadError as error:
                failed.append((upload.name, str(error)))
        if not placed:
            return Uploaded((), tuple(failed))
        changes = await self._follow_uploads(place for _, place in placed)
        reasons = {**changes.skipped, **changes.failed}
        read = set(changes.added) | set(changes.changed)
        for name, place in placed:
            # Skipped in part is no failure, and what was there before is not read again.
            if place in changes.failed or (place in changes.skipped and place not in read):
                failed.append((name, reasons[place]))
                place.unlink(missing_ok=True)
        sources = {place for _, place in placed}
        documents = await anyio.to_thread.run_sync(self.documents)
        return Uploaded(tuple(d for d in documents if d.source in sources), tuple(failed))

    async def remove(self, id_: str, *, whole_file: bool = False) -> Path:
        """Take the document out of the index; the file that it was in comes back.

        An uploaded file is deleted. Another one is left where it lies, and stays
        out until it is indexed by name again.

        Args:
            id_: of the document.
            whole_file: also where it is one row of a table; all its rows go.

        Raises:
            UnknownDocumentError: there is none.
            InputError: it is a row of a table, and not the whole file was meant.
        """
        document = await anyio.to_thread.run_sync(self.document, id_)
        source = document.source
        if document.row is not None and not whole_file:
            raise InputError(
                f"{id_} is row {document.row} of {source}; a table is taken out whole:"
                f" `citespan rm {shlex.quote(str(source))}`"
            )
        if source.is_relative_to(self.uploads):
            source.unlink(missing_ok=True)
            await self._follow_uploads()
        else:
            await self._change(lambda: remove_files(self.folder, [str(source)]))
        return source

    async def examples(self) -> tuple[str, ...]:
        """Questions that the documents answer, made of their own words; found once a state."""
        async with self._finding_examples:
            state = await anyio.to_thread.run_sync(self._answering)
            if self._examples[0] != state:
                found = await anyio.to_thread.run_sync(self._find_examples, limiter=self._asking)
                self._examples = (state, found)
        return self._examples[1]

    def close(self) -> None:
        """Let go of the index; whoever is using it finishes first."""
        with self._renewing:
            self._lend(None)

    def _answering(self) -> _State | None:
        """The state of the index that answers; None where nothing has been indexed yet."""
        with suppress(NoIndexError), self.pipeline() as pipeline:
            return _state(pipeline.snapshot)
        return None

    def _find_examples(self) -> tuple[str, ...]:
        with suppress(NoIndexError), self.pipeline() as pipeline:
            return examples(pipeline)
        return ()

    async def _follow_uploads(self, placed: Iterable[Path] = ()) -> Changes:
        """Bring the index in line with the uploads as they are now, or later.

        Args:
            placed: what was brought just now.
        """
        self._brought += 1
        ticket = self._brought
        self._placed.update(placed)
        async with self._indexing:
            # The lock is given in the order of the tickets: whoever's files an earlier run has
            # read gets the changes of that very run.
            if self._indexed < ticket:
                covered, named = self._brought, frozenset(self._placed)
                self._changes = await self._run(lambda: self._index_uploads(named))
                self._indexed = covered
                self._placed -= named
            return self._changes

    def _index_uploads(self, placed: frozenset[Path]) -> Changes:
        """Index the folder, and by name what was taken out with `citespan rm` and brought again."""
        again: list[Path] = []
        with suppress(NoIndexError), self._database() as database:
            again = [path for path in database.exclusions() if path in placed and path.exists()]
        return index_files(
            self.folder,
            [self.uploads, *again],
            models=self._models,
            max_bytes=self.limits.file_bytes,
            allow_empty=True,  # Nobody else's folder: empty is what was asked for.
        )

    async def _change(self, change: Callable[[], Changes]) -> Changes:
        async with self._indexing:
            return await self._run(change)

    async def _run(self, change: Callable[[], Changes]) -> Changes:
        changes = await anyio.to_thread.run_sync(change)
        await anyio.to_thread.run_sync(self._renew)
        return changes

    def _renew(self) -> None:
        """Open the index as it is now, if it is open as it was before."""
        with self._renewing:
            self._looked = time.monotonic()
            state = self._published()
            with self._lock:
                old = self._current
            rewritten = old is not None and old.pipeline.snapshot.rewritten
            if state == (old.state if old else None) and not rewritten:
                return
            pipeline = (
                old.pipeline.renewed() if old else Pipeline.open(self.folder, models=self._models)
            )
            self._lend(_Lent(pipeline))

    def _lend(self, lent: _Lent | None) -> None:
        """From now on this one; that of before is closed now, or by the last who uses it."""
        with self._lock:
            old, self._current = self._current, lent
            if old is None:
                return
            old.retired = True
            unused = not old.users
        if unused:
            old.pipeline.close()

    def _published(self) -> _State | None:
        """The state that is current; None where nothing has been indexed yet."""
        with suppress(NoIndexError), self._database() as database:
            return _state(database)
        return None

    @contextmanager
    def _database(self) -> Iterator[Database]:
        with closing(connect(self.folder, read_only=True)) as connection:
            yield Database(self.folder, connection)


def _state(database: Database) -> _State | None:
    """The state of this index; None where nothing has been indexed yet."""
    return (database.generation, database.calibration) if database.generation else None

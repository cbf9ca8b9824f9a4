"""Bring an index in line with files: read what changed, embed what is new, publish the whole."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from corpus import generations
from corpus.errors import CitespanError, InputError, LoadError
from corpus.load import LOADER, load
from corpus.scan import Listing, scan
from corpus.split import split
from corpus.store import FileNotes, IndexedFile, VectorHash, Writer
from embeddings.encoder import Encoder
from embeddings.lexical import LexicalIndex
from embeddings.search import lexical_folder
from embeddings.vectors import STORED, Floats, Ids, VectorIndex

__all__ = ["Changes", "update"]

_EMBED_BATCH = 256
"""How many passages are embedded between two saves of their vectors."""
_TOMBSTONES = 0.05
"""BM25 counts deleted passages; past this share the derived indexes are built afresh."""
_MAX_GROWTH = 0.5
"""Past this share of new passages too: inverted lists are trained on what was there."""
_RACY_SECONDS = 2.0
"""A file changed so shortly before it was read may have changed again with the same time stamp."""
_STATE = "derived.json"


@dataclass(slots=True)
class Changes:
    """What a run did; paths are absolute, one entry a file."""

    added: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    unchanged: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)
    kept_roots: dict[Path, str] = field(default_factory=dict)
    """Roots that were missing or empty, so that their documents were kept; with the reason."""
    documents: int = 0
    passages: int = 0
    embedded: int = 0
    seconds: float = 0.0
    generation: int = 0
    recall: float = 1.0
    """Measured recall@10 of the dense index; 1.0 where it is exact."""


def update(
    writer: Writer,
    paths: Sequence[Path],
    encoder: Encoder,
    *,
    max_bytes: int,
    allow_empty: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Changes:
    """Bring the index in line with the files at and under the paths.

    A folder among the paths becomes a root: files that vanish from it leave the
    index. Without paths the index follows its roots, and the files that were
    once added by name. A file that cannot be read leaves the index too and is
    listed in `failed`; it stops nothing else.

    Args:
        writer: of the index.
        paths: files and folders.
        encoder: the one that the index was made with.
        max_bytes: larger files are skipped.
        allow_empty: take the documents of missing and empty roots out of the index.
        progress: receives a line now and then.

    Raises:
        InputError: a path does not exist, or there is nothing to follow.
    """
    started = time.monotonic()
    run = _Run(writer, encoder, max_bytes, allow_empty, progress)
    run.follow([Path(os.path.abspath(path)) for path in paths])
    run.publish()
    run.changes.documents, run.changes.passages = writer.count()
    run.changes.generation = writer.generation
    run.changes.seconds = time.monotonic() - started
    return run.changes


class _Run:
    """One run of `update`: what was found, and what is still to be embedded."""

    def __init__(
        self,
        writer: Writer,
        encoder: Encoder,
        max_bytes: int,
        allow_empty: bool,
        progress: Callable[[str], None],
    ) -> None:
        self.changes = Changes()
        self._writer = writer
        self._encoder = encoder
        self._max_bytes = max_bytes
        self._allow_empty = allow_empty
        self._progress = progress
        self._known = writer.files()
        self._notes = FileNotes()
        self._pending: dict[VectorHash, str] = {}

    def follow(self, paths: Sequence[Path]) -> None:
        """Compare what lies at the paths with what is known, and stage the difference."""
        roots = self._writer.roots()
        named = paths or [*roots, *(p for p in self._known if not _under(p, roots))]
        if not named:
            raise InputError(
                f"the index at {self._writer.folder} has no roots yet; name a file or folder:"
                " `citespan index PATH`"
            )
        listing = Listing()
        for path in named:
            try:
                found = scan([path], max_bytes=self._max_bytes)
            except CitespanError as error:
                self._missing(path, str(error), followed=not paths or path in roots)
                continue
            if path.is_dir():
                if not found.files and self._keeps_documents(path, "is suddenly empty"):
                    continue
                self._notes.roots.append(path)
                self._forget_vanished(path, found)
            listing.files.update(found.files)
            listing.skipped.update(found.skipped)

        self.changes.skipped.update(listing.skipped)
        for path in listing.skipped:
            self._forget(path)
        for number, (path, status) in enumerate(sorted(listing.files.items()), 1):
            self._visit(path, status)
            if number % 100 == 0:
                self._progress(f"read {number:,} of {len(listing.files):,} files")
        self._embed()

    def publish(self) -> None:
        """Make what was staged the next generation, if there is anything new."""
        self.changes.removed.sort()
        damage = generations.verify_files(self._writer.artefacts)
        if self._writer.has_plans() or damage or self._writer.generation == 0:
            self._progress("building the indexes")
            self._writer.commit(
                lambda folder: self._fill(folder, rebuild=bool(damage)), self._notes
            )
        else:
            self._writer.note(self._notes)

    def _missing(self, path: Path, reason: str, *, followed: bool) -> None:
        """Something named is not there: an error for new paths, a question for known ones."""
        known = [file for file in self._known if file == path or path in file.parents]
        if not followed and not known:
            raise InputError(reason)
        if path in self._known and not path.exists():
            self._forget(path)
            self.changes.removed.append(path)
        elif not self._keeps_documents(path, "is missing or cannot be listed"):
            for file in known:
                self._forget(file)
                self.changes.removed.append(file)

    def _keeps_documents(self, root: Path, what: str) -> bool:
        """Whether the root's documents stay although nothing was found there."""
        kept = sum(root in file.parents for file in self._known)
        if not kept or self._allow_empty:
            return False
        self.changes.kept_roots[root] = (
            f"{root} {what}; its {kept} files were kept in the index."
            " Mount or restore it, or let them go with --allow-empty"
        )
        return True

    def _forget_vanished(self, root: Path, found: Listing) -> None:
        for file in self._known:
            if (
                root in file.parents
                and file not in found.files
                and file not in found.skipped
                and not _under(file, found.unlisted)
            ):
                self._forget(file)
                self.changes.removed.append(file)
        for folder, reason in found.unlisted.items():
            self.changes.failed[folder] = reason

    def _forget(self, path: Path) -> None:
        if path in self._known:
            self._writer.drop_documents(path)
            self._notes.forgotten.append(path)

    def _visit(self, path: Path, status: os.stat_result) -> None:
        known = self._known.get(path)
        if known and _same_status(known, status):
            self._unchanged(known)
            return
        file = _fingerprint(path, status)
        if known and file.failure is None and _same_content(known, file):
            self._notes.read.append(replace(file, failure=known.failure))
            self._unchanged(known)
            return

        if known:
            self._writer.drop_documents(path)
        if file.failure is None:
            try:
                self._stage(path)
            except LoadError as error:
                file = replace(file, failure=str(error))
        self._notes.read.append(file)
        if file.failure is not None:
            self.changes.failed[path] = file.failure
        elif known and known.failure is None:
            self.changes.changed.append(path)
        else:
            self.changes.added.append(path)

    def _unchanged(self, known: IndexedFile) -> None:
        if known.failure is None:
            self.changes.unchanged += 1
        else:
            self.changes.failed[known.path] = known.failure

    def _stage(self, path: Path) -> None:
        recipe = self._writer.recipe
        for document in load(path):
            extents = split(
                document.text,
                self._encoder.tokenizer,
                max_tokens=recipe.passage_tokens,
                overlap_tokens=recipe.overlap_tokens,
            )
            texts = [document.text[start:end] for start, end in extents]
            hashes = [_vector_hash(recipe.encoder.sha256, text) for text in texts]
            self._writer.stage(document, list(zip(extents, hashes, strict=True)))
            self._pending.update(zip(hashes, texts, strict=True))
            if len(self._pending) >= _EMBED_BATCH:
                self._embed()

    def _embed(self) -> None:
        """Give every pending text a stored vector; those that have one cost nothing."""
        stored = self._writer.vectors(self._pending)
        missing = [(hash_, text) for hash_, text in self._pending.items() if hash_ not in stored]
        self._pending.clear()
        for low in range(0, len(missing), _EMBED_BATCH):
            batch = missing[low : low + _EMBED_BATCH]
            vectors = self._encoder.encode_passages([text for _, text in batch])
            rounded = vectors.astype(STORED)
            self._writer.add_vectors(
                (hash_, row.tobytes()) for (hash_, _), row in zip(batch, rounded, strict=True)
            )
            self.changes.embedded += len(batch)
            self._progress(f"embedded {self.changes.embedded:,} passages")

    def _fill(self, folder: Path, *, rebuild: bool) -> None:
        """Write the derived indexes of what is planned: by amending the last ones, or afresh."""
        amended = None if rebuild else self._amend(folder)
        if amended is None:
            for leftover in folder.iterdir():
                shutil.rmtree(leftover)
            amended = self._build(folder)
        vectors, tombstones = amended
        vectors.save(folder)
        (folder / _STATE).write_text(json.dumps({"tombstones": tombstones}), encoding="utf-8")
        self.changes.recall = vectors.recall

    def _build(self, folder: Path) -> tuple[VectorIndex, int]:
        lexical = LexicalIndex.create(lexical_folder(folder))
        ids, vectors = self._gather(lexical, (), new_only=False)
        return VectorIndex.build(ids, vectors), 0

    def _amend(self, folder: Path) -> tuple[VectorIndex, int] | None:
        """The last indexes with this run's changes; None where building afresh is better."""
        last = self._writer.artefacts
        if not (last / _STATE).exists():
            return None
        state = json.loads((last / _STATE).read_text(encoding="utf-8"))
        removed = self._writer.dropped_passages()
        vectors = VectorIndex.open(last, writable=True)
        tombstones = state["tombstones"] + len(removed)
        if tombstones > _TOMBSTONES * len(vectors):
            return None
        shutil.copytree(lexical_folder(last), lexical_folder(folder))
        lexical = LexicalIndex.open(lexical_folder(folder))
        ids, new = self._gather(lexical, removed, new_only=True)
        if len(ids) > _MAX_GROWTH * len(vectors):
            return None
        vectors.remove(removed)
        vectors.add(ids, new)
        return vectors, tombstones

    def _gather(
        self, lexical: LexicalIndex, removed: Sequence[int], *, new_only: bool
    ) -> tuple[Ids, Floats]:
        """Feed planned passages to the lexical index; their ids and vectors come back."""
        ids: list[int] = []
        vectors: list[bytes] = []

        def texts() -> Iterator[tuple[int, str]]:
            for passage, title, vector in self._writer.planned(new_only=new_only):
                ids.append(passage.id)
                vectors.append(vector)
                # The title's words help BM25 (R@5 +1.8 on held-out questions) and blur vectors
                # (-1.6), so it is searched and not embedded.
                yield passage.id, f"{title}\n{passage.text}"

        lexical.update(removed, texts())
        dim = len(vectors[0]) // STORED.itemsize if vectors else 1
        stored = np.frombuffer(b"".join(vectors), dtype=STORED).reshape(-1, dim)
        return np.asarray(ids, dtype=np.int64), stored.astype(np.float32)


def _vector_hash(encoder: str, text: str) -> VectorHash:
    return hashlib.blake2b(f"{encoder}\0{text}".encode(), digest_size=16).digest()


def _fingerprint(path: Path, status: os.stat_result) -> IndexedFile:
    """What tells whether the file has changed since; its failure, when it cannot be read."""
    read_at = time.time()
    sha256, failure = "", None
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        failure = f"cannot be read: {error.strerror}"
    return IndexedFile(path, status.st_size, status.st_mtime_ns, sha256, LOADER, read_at, failure)


def _same_content(known: IndexedFile, file: IndexedFile) -> bool:
    return (known.sha256, known.loader) == (file.sha256, file.loader)


def _same_status(known: IndexedFile, status: os.stat_result) -> bool:
    return (known.size, known.mtime_ns, known.loader) == (
        status.st_size,
        status.st_mtime_ns,
        LOADER,
    ) and known.read_at - known.mtime_ns / 1e9 > _RACY_SECONDS


def _under(path: Path, folders: Sequence[Path] | dict[Path, str]) -> bool:
    return any(folder in path.parents for folder in folders)

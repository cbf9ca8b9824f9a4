"""Bring an index in line with files: read what changed, embed what is new, publish the whole."""

import hashlib
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpus.database import IndexedFile, VectorHash
from corpus.errors import InputError, LoadError
from corpus.load import LOADER, load
from corpus.scan import Listing, scan
from corpus.split import split
from corpus.writer import FileNotes, Writer
from embeddings.build import build, damaged
from embeddings.encoder import Encoder
from embeddings.vectors import STORED

__all__ = ["Changes", "update"]

_EMBED_BATCH = 256
"""How many passages are embedded between two saves of their vectors."""
_RACY_SECONDS = 2.0
"""A file changed so shortly before it was read may have changed again with the same time stamp."""


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
        self._recipe = writer.recipe
        self._pending: dict[VectorHash, str] = {}

    def follow(self, paths: Sequence[Path]) -> None:
        """Compare what lies at the paths with what is known, and stage the difference."""
        roots = set(self._writer.roots())
        named = self._named(paths, roots)
        concerned = [path for path in self._known if path in named or _under(path, named)]
        listing = Listing()
        for path in sorted(named):
            if path.exists():
                scan(path, listing, max_bytes=self._max_bytes)
            if path.is_dir():
                self._notes.roots.append(path)
        # A known file that no walk meets, being hidden or behind a link, was once named itself.
        for path in concerned:
            if path not in listing.files and path not in listing.skipped and path.is_file():
                scan(path, listing, max_bytes=self._max_bytes)

        self.changes.kept_roots = self._lost(named & {*roots, *self._notes.roots}, listing)
        self.changes.failed.update(listing.unlisted)
        self.changes.skipped.update(listing.skipped)
        unknown = {*self.changes.kept_roots, *listing.unlisted}
        for path in concerned:
            if path not in listing.files and not _under(path, unknown):
                self._writer.drop_documents(path)
                self._notes.forgotten.append(path)
                self.changes.removed.append(path)
        for number, (path, status) in enumerate(sorted(listing.files.items()), 1):
            self._visit(path, status)
            if number % 100 == 0:
                self._progress(f"read {number:,} of {len(listing.files):,} files")
        self._embed()

    def publish(self) -> None:
        """Make what was staged the next generation, if there is anything new."""
        afresh = damaged(self._writer)

        def fill(folder: Path) -> None:
            self.changes.recall = build(self._writer, folder, afresh=afresh).recall

        if self._writer.has_plans() or afresh:
            self._progress("building the indexes")
            self._writer.commit(fill, self._notes)
        else:
            self._writer.note(self._notes)

    def _named(self, paths: Sequence[Path], roots: set[Path]) -> set[Path]:
        """What to look at: the paths, or everything known, with the roots that lie within."""
        if not paths and not roots and not self._known:
            raise InputError(
                f"the index at {self._writer.folder} has no roots yet; name a file or folder:"
                " `citespan index PATH`"
            )
        for path in paths:
            if not path.exists() and path not in self._known and path not in roots:
                raise InputError(f"{path} does not exist; nothing was changed")
        named = set(paths) or {*roots, *self._known}
        return named | {root for root in roots if _under(root, named)}

    def _lost(self, roots: set[Path], listing: Listing) -> dict[Path, str]:
        """Roots under which nothing is left of what was, with what to tell the user."""
        if self._allow_empty:
            return {}
        lost = {}
        for root in roots:
            kept = sum(root in file.parents for file in self._known)
            if not kept or any(root in file.parents for file in listing.files):
                continue
            what = "is suddenly empty" if root.is_dir() else "is missing, or is no folder any more"
            lost[root] = (
                f"{root} {what}; its {kept} files were kept in the index."
                " Mount or restore it, or let them go with --allow-empty"
            )
        return lost

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
        recipe = self._recipe
        for document in load(path):
            extents = split(
                document.text,
                self._encoder.tokenizer,
                max_tokens=recipe.passage_tokens,
                overlap_tokens=recipe.overlap_tokens,
            )
            texts = [document.text[start:end] for start, end in extents]
            hashes = [_vector_hash(self._encoder, text) for text in texts]
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


def _vector_hash(encoder: Encoder, text: str) -> VectorHash:
    key = f"{encoder.identity.sha256}\0{encoder.passage_prompt}\0{text}"
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


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
    if not known.sha256:
        return False  # It could not be read at all; what changed may have left no trace in these.
    return (known.size, known.mtime_ns, known.loader) == (
        status.st_size,
        status.st_mtime_ns,
        LOADER,
    ) and known.read_at - known.mtime_ns / 1e9 > _RACY_SECONDS


def _under(path: Path, folders: Collection[Path]) -> bool:
    return any(parent in folders for parent in path.parents)

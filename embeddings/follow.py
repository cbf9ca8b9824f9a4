"""Bring an index in line with files: read what changed, embed what is new, publish the whole."""

import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corpus.database import IndexedFile, VectorHash
from corpus.errors import InputError
from corpus.extract import Columns
from corpus.load import is_current
from corpus.log import Stages, event
from corpus.records import Document
from corpus.sandbox import Fingerprint, Limits, ReadFile, Sandbox
from corpus.scan import Listing, scan
from corpus.split import split
from corpus.worker import LATEST_NS
from corpus.writer import FileNotes, Writer
from embeddings.build import build, damage
from embeddings.encoder import Encoder, vector_hash
from embeddings.progress import Progress
from embeddings.vectors import STORED, VectorIndex

__all__ = ["Changes", "publish", "remove", "update"]

_EMBED_BATCH = 256
"""How many passages are embedded between two saves of their vectors."""
_RACY_SECONDS = 2.0
"""A file changed so shortly before it was read may have changed again with the same time stamp."""
_TAKEN_OUT = "was taken out with `citespan rm`; `citespan index` with this path takes it in again"


@dataclass(slots=True)
class Changes:
    """What a run did; paths are absolute, one entry a file."""

    added: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    unchanged: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)
    """Files left out, and parts of files."""
    kept_roots: dict[Path, str] = field(default_factory=dict)
    """Roots that were missing or empty, so that their documents were kept; with the reason."""
    documents: int = 0
    passages: int = 0
    embedded: int = 0
    seconds: float = 0.0
    generation: int = 0
    unread: int = 0
    """Files that were not come to, because the run was asked to stop."""
    recall: float = 1.0
    """Measured recall@10 of the dense index; 1.0 where it is exact, and in a dry run."""


def update(
    writer: Writer,
    paths: Sequence[Path],
    encoder: Encoder,
    *,
    max_bytes: int,
    allow_empty: bool = False,
    columns: Columns | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Changes:
    """Bring the index in line with the files at and under the paths.

    Each of the paths becomes a root: files that vanish from a folder among them
    leave the index. Without paths the index follows its roots. A file that
    cannot be read leaves the index too and is listed in `failed`; it stops
    nothing else.

    Args:
        writer: of the index.
        paths: files and folders.
        encoder: the one that the index was made with.
        max_bytes: larger files are skipped.
        allow_empty: take the documents of missing and empty roots out of the index.
        columns: which columns of tables to use from now on; None leaves them as they were.
        dry_run: find out what there is to do, and change nothing.
        progress: receives a line now and then.
        stop: asked after each file; once it says yes, what was read is made the index's
            next generation, and the rest is left as it was.

    Raises:
        InputError: a path does not exist, or there is nothing to follow.
    """
    started = time.monotonic()
    run = _Run(writer, encoder, max_bytes, allow_empty, columns, dry_run, progress, stop)
    run.follow([Path(os.path.abspath(path)) for path in paths])
    if not dry_run:
        run.changes.recall = publish(writer, run.notes, progress, run.stages)
    return _concluded(writer, run.changes, run.stages, started, dry_run=dry_run)


def remove(
    writer: Writer, names: Sequence[str], *, progress: Callable[[str], None] = lambda _: None
) -> Changes:
    """Take files out of the index, for as long as they are not added by name again.

    Args:
        writer: of the index.
        names: paths of files or folders, there or not, or what else names a document.
        progress: receives a line now and then.

    Raises:
        InputError: a name fits nothing in the index, or several documents.
    """
    started = time.monotonic()
    known, roots = writer.files(), set(writer.roots())
    targets = {_target(writer, name, known, roots) for name in names}
    changes, notes, stages = Changes(), FileNotes(), Stages()
    for path in known:
        if path in targets or _under(path, targets):
            writer.drop_documents(path)
            notes.forgotten.append(path)
            changes.removed.append(path)
    notes.unfollowed = [root for root in roots if root in targets or _under(root, targets)]
    notes.excluded = sorted(targets)
    changes.recall = publish(writer, notes, progress, stages)
    return _concluded(writer, changes, stages, started)


def _concluded(
    writer: Writer, changes: Changes, stages: Stages, started: float, *, dry_run: bool = False
) -> Changes:
    """The changes with what is known at the end of a run, which is logged."""
    counted = writer.planned_count() if dry_run else writer.count()
    changes.documents, changes.passages = counted
    changes.generation = writer.generation
    changes.seconds = time.monotonic() - started
    for path, reason in {**changes.failed, **changes.kept_roots}.items():
        event("not read", path=path, reason=reason)
    event(
        "indexed",
        index=writer.folder.absolute(),
        dry_run=dry_run,
        added=len(changes.added),
        changed=len(changes.changed),
        removed=len(changes.removed),
        unchanged=changes.unchanged,
        failed=len(changes.failed),
        skipped=len(changes.skipped),
        documents=changes.documents,
        passages=changes.passages,
        embedded=changes.embedded,
        generation=changes.generation,
        seconds={**stages.seconds, "total": changes.seconds},
    )
    return changes


def _target(writer: Writer, name: str, known: Collection[Path], roots: Collection[Path]) -> Path:
    """The file or folder that the name names."""
    path = Path(os.path.abspath(name))
    is_place = path in roots or path in known or any(path in file.parents for file in known)
    if name.strip() and is_place:
        return path
    parts = Path(name).parts
    matching = [file for file in known if parts and file.parts[-len(parts) :] == parts]
    if len(matching) == 1:
        return matching[0]
    document = writer.document(writer.find(name))
    if document.row is not None:
        raise InputError(
            f"{name!r} is row {document.row} of {document.source}; a table is taken out whole:"
            f" `citespan rm {shlex.quote(str(document.source))}`"
        )
    return document.source


def publish(
    writer: Writer,
    notes: FileNotes,
    progress: Callable[[str], None],
    stages: Stages | None = None,
) -> float:
    """Make the plans the next generation, if there are any; the dense index's recall comes back."""
    stages = stages or Stages()
    afresh = bool(damage(writer))

    def fill(folder: Path) -> None:
        build(writer, folder, stages, afresh=afresh)

    with stages("store"):
        if writer.has_plans() or afresh:
            progress("building the indexes")
            writer.commit(fill, notes)
        else:
            writer.note(notes)
    return VectorIndex.open(writer.artefacts).recall


class _Run:
    """One run of `update`: what was found, and what is still to be embedded."""

    def __init__(
        self,
        writer: Writer,
        encoder: Encoder,
        max_bytes: int,
        allow_empty: bool,
        columns: Columns | None,
        dry_run: bool,
        progress: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self.changes = Changes()
        self.notes = FileNotes(columns=columns)
        self.stages = Stages()
        self._writer = writer
        self._encoder = encoder
        self._max_bytes = max_bytes
        self._allow_empty = allow_empty
        self._columns = writer.columns if columns is None else columns
        self._dry_run = dry_run
        self._progress = Progress(progress)
        self._stop = stop
        self._known = writer.files()
        self._recipe = writer.recipe
        self._pending: dict[VectorHash, str] = {}
        self._would_embed: set[VectorHash] = set()

    def follow(self, paths: Sequence[Path]) -> None:
        """Compare what lies at the paths with what is known, and stage the difference."""
        roots = set(self._writer.roots())
        named = self._named(paths, roots)
        self.notes.roots = list(paths)
        listing = Listing()
        with self.stages("scan"):
            for path in sorted(named):
                scan(path, listing, max_bytes=self._max_bytes)
        self._leave_excluded_out(listing, named)
        # That the index which is written is no document need not be said.
        listing.skipped.pop(Path(os.path.abspath(self._writer.folder)), None)

        self.changes.kept_roots = self._lost(named, listing)
        self.changes.failed.update(listing.unlisted)
        self.changes.skipped.update(listing.skipped)
        unknown = {*self.changes.kept_roots, *listing.unlisted}
        for path in self._known:
            concerned = not paths or path in named or _under(path, named)
            gone = path not in listing.files and path not in unknown and not _under(path, unknown)
            if concerned and gone:
                self._writer.drop_documents(path)
                self.notes.forgotten.append(path)
                self.changes.removed.append(path)
        self._read(sorted(listing.files.items()), set(paths))
        self._embed()

    def _named(self, paths: Sequence[Path], roots: set[Path]) -> set[Path]:
        """What to look at: the paths, or the roots, with the roots that lie within."""
        if not paths and not roots:
            raise InputError(
                f"the index at {self._writer.folder} has no roots yet; name a file or folder:"
                " `citespan index PATH`"
            )
        for path in paths:
            if not path.exists() and path not in self._known and path not in roots:
                raise InputError(f"{path} does not exist; nothing was changed")
        named = set(paths) or roots
        return named | {root for root in roots if _under(root, named)}

    def _leave_excluded_out(self, listing: Listing, named: set[Path]) -> None:
        """Take from the listing what was taken out of the index, unless it is named itself."""
        excluded = set(self._writer.exclusions()) - named
        if not excluded:
            return
        for path in list(listing.files):
            nearest = next((p for p in (path, *path.parents) if p in excluded or p in named), None)
            if nearest in excluded:
                assert nearest is not None
                del listing.files[path]
                listing.skipped[nearest] = _TAKEN_OUT

    def _lost(self, named: set[Path], listing: Listing) -> dict[Path, str]:
        """Roots under which nothing is left of what was, with what to tell the user."""
        if self._allow_empty:
            return {}
        lost = {}
        unseen = [p for p in self._known if p in listing.unlisted or _under(p, listing.unlisted)]
        known, found = _count(self._known, named), _count([*listing.files, *unseen], named)
        for root, kept in known.items():
            if found[root] or (root in self._known and root.parent.is_dir()):
                continue  # Something is there; and a single file may go.
            what = "is suddenly empty" if root.is_dir() else "is missing, or is no folder any more"
            lost[root] = (
                f"{root} {what}; its {kept} files were kept in the index."
                " Mount or restore it, or let them go with --allow-empty"
            )
        return lost

    def _read(self, files: Sequence[tuple[Path, os.stat_result]], named: set[Path]) -> None:
        """Stage what the files hold, where it is not what is known of them.

        One that failed is tried again when it is named itself.
        """
        to_read: list[tuple[Path, Fingerprint | None]] = []
        sizes: list[int] = []
        for path, status in files:
            known = self._known.get(path)
            again = known is not None and known.failure is not None and path in named
            if known and not again and self._same_status(known, status):
                self._unchanged(known)
                continue
            before = Fingerprint(known.sha256, known.loader) if known and not again else None
            to_read.append((path, before))
            sizes.append(status.st_size)
        if not to_read:
            return
        limits = Limits(file_bytes=self._max_bytes)
        self._progress.start(sizes)
        with Sandbox(limits=limits, columns=self._columns) as sandbox:
            files_read = self.stages.waiting("load", sandbox.read_all(to_read))
            for number, file in enumerate(files_read, 1):
                self._take(file)
                self._progress.read(number)
                if self._stop():
                    self.changes.unread = len(to_read) - number
                    break

    def _take(self, file: ReadFile) -> None:
        known = self._known.get(file.path)
        same = known if file.outcome == "same" else None
        self.notes.read.append(
            IndexedFile(
                file.path,
                file.size,
                file.mtime_ns,
                file.sha256,
                file.loader,
                file.read_at,
                failure=same.failure if same else file.reason,
                note=same.note if same else file.note,
            )
        )
        if same:
            self._unchanged(same)
            return
        if known:
            self._writer.drop_documents(file.path)
        if file.reason is not None:
            self.changes.failed[file.path] = file.reason
            return
        for document in file.documents:
            self._stage(document)
        if file.note is not None:
            self.changes.skipped[file.path] = file.note
        if known and known.failure is None:
            self.changes.changed.append(file.path)
        else:
            self.changes.added.append(file.path)

    def _unchanged(self, known: IndexedFile) -> None:
        if known.failure is not None:
            self.changes.failed[known.path] = known.failure
            return
        self.changes.unchanged += 1
        if known.note is not None:
            self.changes.skipped[known.path] = known.note

    def _same_status(self, known: IndexedFile, status: os.stat_result) -> bool:
        """Whether the file is so surely the one that was read that it need not be opened."""
        if not known.sha256:
            return False  # It could not be read at all; what changed may have left no trace.
        mtime_ns = min(status.st_mtime_ns, LATEST_NS)
        same = (known.size, known.mtime_ns) == (status.st_size, mtime_ns)
        at_rest = known.read_at - known.mtime_ns / 1e9 > _RACY_SECONDS
        return same and at_rest and is_current(known.loader, self._columns)

    def _stage(self, document: Document) -> None:
        recipe = self._recipe
        with self.stages("split"):
            extents = split(
                document.text,
                self._encoder.tokenizer,
                max_tokens=recipe.passage_tokens,
                overlap_tokens=recipe.overlap_tokens,
            )
        texts = [document.text[start:end] for start, end in extents]
        hashes = [vector_hash(self._encoder, text) for text in texts]
        with self.stages("store"):
            self._writer.stage(document, list(zip(extents, hashes, strict=True)))
        self._pending.update(zip(hashes, texts, strict=True))
        if len(self._pending) >= _EMBED_BATCH:
            self._embed()

    def _embed(self) -> None:
        """Give every pending text a stored vector; those that have one cost nothing."""
        stored = self._writer.vectors(self._pending)
        missing = [(hash_, text) for hash_, text in self._pending.items() if hash_ not in stored]
        self._pending.clear()
        if self._dry_run:
            self._would_embed.update(hash_ for hash_, _ in missing)
            self.changes.embedded = len(self._would_embed)
            return
        for low in range(0, len(missing), _EMBED_BATCH):
            batch = missing[low : low + _EMBED_BATCH]
            with self.stages("embed"):
                vectors = self._encoder.encode_passages([text for _, text in batch])
            rounded = vectors.astype(STORED)
            with self.stages("store"):
                self._writer.add_vectors(
                    (hash_, row.tobytes()) for (hash_, _), row in zip(batch, rounded, strict=True)
                )
            self.changes.embedded += len(batch)
            self._progress.embedded(self.changes.embedded)


def _count(paths: Iterable[Path], roots: Collection[Path]) -> Counter[Path]:
    """How many of the paths are at or under each of the roots; roots without any are left out."""
    return Counter(at for path in paths for at in (path, *path.parents) if at in roots)


def _under(path: Path, folders: Collection[Path]) -> bool:
    return any(parent in folders for parent in path.parents)

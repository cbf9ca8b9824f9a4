"""Which index a command is about, and how it is brought in line with documents first."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.errors import InputError, RootError, StoppedError
from qa.cli.output import print_failures, progress_line

if TYPE_CHECKING:
    from corpus.store import Snapshot
    from embeddings.follow import Changes

__all__ = [
    "brought_in_line",
    "chosen_index",
    "named_documents",
    "opened_snapshot",
    "ready_index",
    "require_success",
]

_DEFAULT_INDEX = ".citespan"


def named_documents(docs: list[Path] | None, sample: bool) -> list[Path]:
    """The documents that `--docs` and `--sample` name."""
    if not sample:
        return list(docs or [])
    from qa.indexing import SAMPLE

    return [*(docs or []), SAMPLE]


def chosen_index(
    index: Path | None,
    docs: list[Path] | None = None,
    sample: bool = False,
    models: str | None = None,
) -> Path:
    """The named index; for documents named on the spot one of their own; else the default."""
    if index is not None:
        return index
    if documents := named_documents(docs, sample):
        from qa.indexing import own_index

        with progress_line() as progress:
            return own_index(documents, models or "bundled", progress=progress)
    return Path(os.environ.get("CITESPAN_INDEX") or _DEFAULT_INDEX)


def brought_in_line(
    folder: Path,
    paths: list[Path],
    models: str | None,
    **options: Any,
) -> "Changes":
    """The index brought in line with these paths; Ctrl-C keeps what was read. See `index_files`."""
    from qa.indexing import index_files

    with progress_line() as progress, _stoppable() as stop:
        return index_files(folder, paths, models=models, progress=progress, stop=stop, **options)


def ready_index(
    index: Path | None,
    docs: list[Path] | None,
    sample: bool,
    models: str | None,
    *,
    always_tell: bool = False,
) -> Path:
    """The index to ask, in line with the documents that are named on the spot, if any are.

    Args:
        index: as in `--index`.
        docs: as in `--docs`.
        sample: as in `--sample`.
        models: as in `--models`.
        always_tell: say which documents could not be read also where stderr is no terminal.
    """
    folder = chosen_index(index, docs, sample, models)
    if documents := named_documents(docs, sample):
        changes = brought_in_line(folder, documents, models)
        if always_tell or sys.stderr.isatty():
            print_failures(changes)
        require_success(changes, strict=False)
    return folder


def require_success(changes: "Changes", *, strict: bool) -> None:
    """Fail when a root was lost or nothing could be read; when strict, if any file could not."""
    if changes.unread:
        raise StoppedError(
            f"stopped before {changes.unread:,} of the files were read; what was read is kept, and"
            " `citespan index` goes on with the rest"
        )
    for reason in changes.kept_roots.values():
        raise RootError(reason)
    read = len(changes.added) + len(changes.changed) + changes.unchanged
    trouble = {**changes.skipped, **changes.failed} if not read else changes.failed
    if trouble and (strict or not read):
        path, reason = next(iter(trouble.items()))
        raise InputError(f"{len(trouble)} of the files could not be read, such as {path}: {reason}")


@contextmanager
def opened_snapshot(index: Path | None) -> "Iterator[Snapshot]":
    """The index that `--index` names, as it is now."""
    from corpus.store import Snapshot

    with Snapshot.open(chosen_index(index)) as snapshot:
        yield snapshot


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, once; pressed again it ends the run at once."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        if sys.stderr.isatty():
            # Not by way of the stream, in the middle of whose own work this may be called.
            os.write(2, b"\r\033[Kstopping; what was read is kept (Ctrl-C again: at once)\n")

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)

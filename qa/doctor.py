"""The index examined, part by part, and mended where that is safe.

What is derived is made again without asking. The truth is only touched when
asked to, and after a backup.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus.checkup import backup, contradictions, salvage, unreadable
from corpus.errors import CitespanError, DamagedIndexError
from corpus.writer import FileNotes, Writer, locked
from embeddings.build import damage
from embeddings.follow import publish
from embeddings.runtime import identify
from qa.settings import model_pair

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one part of the index."""

    part: Literal["truth", "derived", "models", "sources"]
    state: Literal["whole", "mended", "damaged", "note"]
    """`damaged` when there is something left to do."""
    message: str


def examine(
    folder: Path, *, repair: bool = False, progress: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """What is wrong with the index in the folder, and what was done about it.

    Args:
        folder: the index.
        repair: mend the truth too, after a backup.
        progress: receives a line now and then.

    Raises:
        NoIndexError: there is no index, or nothing can be written there.
        LockedIndexError: another process is writing.
    """
    progress("reading the database")
    if (broken := unreadable(folder)) is not None:
        return [_salvaged(folder, broken) if repair else _not_repaired(broken)]
    with Writer.open_existing(folder, notify=progress) as writer:
        return [
            *_truth(writer, repair, progress),
            *_derived(writer, progress),
            *_models(writer),
            *_sources(writer),
        ]


def _salvaged(folder: Path, broken: str) -> Finding:
    try:
        with locked(folder):
            copy, saved = salvage(folder)
    except DamagedIndexError as error:
        return Finding("truth", "damaged", str(error))
    return Finding(
        "truth",
        "mended",
        f"{broken.partition(';')[0]}; a new one was made with its models, roots and {saved:,}"
        f" vectors, and the old one kept as {copy}; `citespan index` reads the documents again",
    )


def _not_repaired(broken: str) -> Finding:
    return Finding(
        "truth",
        "damaged",
        f"{broken.partition(';')[0]}; `citespan doctor --repair` saves what can be read, after"
        " a backup",
    )


def _truth(writer: Writer, repair: bool, progress: Callable[[str], None]) -> Iterator[Finding]:
    try:
        wrong = contradictions(writer)
    except DamagedIndexError as error:
        yield _not_repaired(str(error))
        return
    if not wrong:
        documents, passages = writer.count()
        message = f"{documents:,} documents and {passages:,} passages agree with each other"
        yield Finding("truth", "whole", message)
    elif not repair:
        for path, what in wrong.items():
            yield _not_repaired(f"{path} {what}")
    else:
        copy = backup(writer.folder)
        for path in wrong:
            writer.drop_documents(path)
        publish(writer, FileNotes(forgotten=list(wrong)), progress)
        for path, what in wrong.items():
            yield Finding(
                "truth",
                "mended",
                f"{path} {what}; its documents were taken out, and `citespan index` reads it"
                f" again; the old database was kept as {copy}",
            )


def _derived(writer: Writer, progress: Callable[[str], None]) -> Iterator[Finding]:
    progress("checking the derived indexes")
    reasons = damage(writer)
    if not reasons:
        yield Finding("derived", "whole", f"generation {writer.generation} is as it was written")
        return
    publish(writer, FileNotes(), progress)
    for reason in reasons:
        yield Finding("derived", "mended", f"{reason}; the indexes were built again")


def _models(writer: Writer) -> Iterator[Finding]:
    recipe = writer.recipe
    try:
        pair = model_pair(recipe.models)
        for source, made_with in ((pair.encoder, recipe.encoder), (pair.reader, recipe.reader)):
            found = identify(source)
            if found.sha256 == made_with.sha256:
                yield Finding("models", "whole", f"{found} is the one it was made with")
            else:
                yield Finding(
                    "models",
                    "damaged",
                    f"the index was made with {made_with}, but {found} is here; index again into"
                    " another folder: `citespan index PATH --index DIR`",
                )
    except CitespanError as error:
        yield Finding("models", "damaged", str(error))


def _sources(writer: Writer) -> Iterator[Finding]:
    """Files that are gone since the last run: nothing is wrong with the index for that."""
    for root in writer.roots():
        if not root.exists():
            yield Finding("sources", "note", f"{root} is not there now")
    gone = sum(not path.exists() for path in writer.files())
    failed = sum(file.failure is not None for file in writer.files().values())
    if gone:
        yield Finding("sources", "note", f"{gone} files are gone since; `citespan index` follows")
    if failed:
        yield Finding("sources", "note", f"{failed} files could not be read when last indexed")

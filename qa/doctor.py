"""The index examined, part by part, and mended where that is safe.

What is derived is made again without asking. The truth is only touched when
asked to, and after a backup.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus.checkup import backup, contradictions, salvage, unreadable
from corpus.errors import CitespanError, DamagedIndexError
from corpus.writer import FileNotes, Writer, locked
from embeddings.build import altered, damage
from embeddings.exports import identify
from embeddings.follow import publish
from qa.settings import model_pair

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one part of the index."""

    part: Literal["truth", "derived", "models", "sources"]
    state: Literal["whole", "mended", "damaged", "note"]
    """`damaged` when there is something left to do."""
    message: str


_NOT_LOOKED_AT = Finding("derived", "note", "not looked at while the truth is damaged")


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
        return [_salvaged(folder, broken, progress) if repair else _not_repaired(broken)]
    with Writer.open_existing(folder, notify=progress) as writer:
        truth = list(_mended(writer, progress) if repair else _truth(writer, _wrong(writer)))
        sound = all(finding.state != "damaged" for finding in truth)
        return [
            *truth,
            *(_derived(writer, progress) if sound else [_NOT_LOOKED_AT]),
            *_models(writer),
            *_sources(writer),
        ]


def _salvaged(folder: Path, broken: str, progress: Callable[[str], None]) -> Finding:
    try:
        with locked(folder, notify=progress):
            copy, saved = salvage(folder)
    except DamagedIndexError as error:
        return Finding("truth", "damaged", str(error))
    return Finding(
        "truth",
        "mended",
        f"{broken}; a new one was made with its models, roots and {saved:,} vectors, and the old"
        f" one kept as {copy}; `citespan index` reads the documents again",
    )


def _not_repaired(broken: str) -> Finding:
    return Finding(
        "truth",
        "damaged",
        f"{broken}; `citespan doctor --repair` saves what can be read, after a backup",
    )


def _wrong(writer: Writer) -> dict[Path | None, str]:
    """Files of which the truth contradicts itself, or its own checksums; with what is wrong."""
    wrong = contradictions(writer)
    if wrong or damage(writer):
        return wrong
    what = "has a vector that is not the one in the index"
    return dict.fromkeys(writer.sources(altered(writer)), what)


def _truth(writer: Writer, wrong: Mapping[Path | None, str]) -> Iterator[Finding]:
    for path, what in wrong.items():
        yield _not_repaired(f"{path} {what}" if path else what)
    if not wrong:
        documents, passages = writer.count()
        message = f"{documents:,} documents and {passages:,} passages agree with each other"
        yield Finding("truth", "whole", message)


def _mended(writer: Writer, progress: Callable[[str], None]) -> Iterator[Finding]:
    """Take out what contradicts itself, so that it is read again."""
    copy = None
    while wrong := _wrong(writer):
        copy = copy or backup(writer.folder)
        files = [source for source in wrong if source is not None]
        for source in files:
            writer.drop_documents(source)
        writer.drop_orphans()
        publish(writer, FileNotes(forgotten=files), progress)
        for path, what in wrong.items():
            yield Finding(
                "truth",
                "mended",
                f"{path or ''} {what}; taken out, and `citespan index` reads it again; the old"
                f" database was kept as {copy}".strip(),
            )
    if copy is None:
        yield from _truth(writer, {})


def _derived(writer: Writer, progress: Callable[[str], None]) -> Iterator[Finding]:
    if writer.generation == 0:
        yield Finding("derived", "note", "nothing is indexed yet; `citespan index` does it")
        return
    progress("checking the derived indexes")
    reasons = damage(writer)
    if not reasons:
        yield Finding("derived", "whole", f"generation {writer.generation} is as it was written")
        return
    publish(writer, FileNotes(), progress)
    for reason in reasons:
        seen = reason.partition(";")[0]
        yield Finding("derived", "mended", f"{seen}; the indexes were built again")


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

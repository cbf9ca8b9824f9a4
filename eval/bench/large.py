"""An index of made passages, as large as wanted, in little memory."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from corpus.log import Stages
from corpus.records import Document, Recipe, document_id
from corpus.split import Extent
from corpus.writer import FileNotes, Writer
from embeddings.build import build
from embeddings.vectors import STORED, Floats

__all__ = ["GAP", "PASSAGES_A_DOCUMENT", "Built", "add_made"]

PASSAGES_A_DOCUMENT = 20
_BATCH = 5_000
GAP = "\n\n"


@dataclass(frozen=True, slots=True)
class Built:
    """What it took to build an index from ready vectors; making the data is not counted."""

    store_seconds: float
    """Documents, passages and vectors put down for the writer."""
    index_seconds: float
    """Both indexes, and the transaction that publishes them."""
    recall: float
    """The dense index's own measure, on queries near its vectors."""


def add_made(
    folder: Path, texts: Iterable[str], vectors: Iterable[Floats], recipe: Recipe
) -> Built:
    """Add these passages to the index in the folder, which is made where there is none.

    Args:
        folder: of the index.
        texts: one passage each; twenty become a document.
        vectors: those of the passages, in batches of any size.
        recipe: what a new index is made with.
    """
    spent = 0.0
    recall = 1.0
    rows = (row for batch in vectors for row in batch)
    texts = iter(texts)
    with Writer.open(folder, lambda: recipe) as writer:
        number = writer.count()[0]
        while passages := list(islice(texts, _BATCH)):
            stored = [row.astype(STORED).tobytes() for row in islice(rows, len(passages))]
            hashes = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in passages]
            started = time.perf_counter()
            writer.add_vectors(zip(hashes, stored, strict=True))
            for document, placed in _documents(passages, hashes, number):
                writer.stage(document, placed)
                number += 1
            spent += time.perf_counter() - started

        def fill(artefacts: Path) -> None:
            nonlocal recall
            recall = build(writer, artefacts, Stages(), afresh=True).recall

        started = time.perf_counter()
        writer.commit(fill, FileNotes())
        return Built(spent, time.perf_counter() - started, recall)


def _documents(
    passages: list[str], hashes: list[bytes], number: int
) -> Iterator[tuple[Document, list[tuple[Extent, bytes]]]]:
    """The passages as documents, each with where its passages stand in it."""
    for low in range(0, len(passages), PASSAGES_A_DOCUMENT):
        members = range(low, min(low + PASSAGES_A_DOCUMENT, len(passages)))
        placed: list[tuple[Extent, bytes]] = []
        start = 0
        for member in members:
            end = start + len(passages[member])
            placed.append(((start, end), hashes[member]))
            start = end + len(GAP)
        path = Path(f"/made/{number:06}.txt")
        yield (
            Document(
                id=document_id(path),
                source=path,
                row=None,
                title=f"Made document {number}",
                text=GAP.join(passages[member] for member in members),
                sha256="",
                loader="text/made",
                encoding="utf-8",
            ),
            placed,
        )
        number += 1

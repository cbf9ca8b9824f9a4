"""BEIR collections: documents, queries and judgements, for measuring search alone."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from corpus.errors import GoldError
from corpus.extract import Columns
from eval.gold import require_indexed
from qa.indexing import MAX_FILE_BYTES, index_files, own_index

__all__ = ["Beir", "index_beir", "read_beir"]


@dataclass(frozen=True, slots=True)
class Beir:
    """A retrieval collection: documents, queries, and how relevant which is to which."""

    corpus: Path
    """`corpus.jsonl`, whose n-th object is its n-th document."""
    titled: bool
    """Whether its documents have titles."""
    rows: dict[str, int]
    """Of each document's id, its place in the corpus, from 1."""
    queries: dict[str, str]
    relevance: dict[str, dict[str, int]]
    """Of each query, the documents judged, by id."""


def read_beir(folder: Path, *, split: str = "test", limit: int | None = None) -> Beir:
    """The BEIR collection in the folder (Thakur et al. 2021); the first `limit` queries of it.

    Raises:
        GoldError: a file is missing, a line malformed, an id given twice, or a judgement
            names a query or a document that is not there.
    """
    corpus, asked = folder / "corpus.jsonl", folder / "queries.jsonl"
    titled = False
    rows: dict[str, int] = {}
    for line, entry in _objects(corpus):
        _text(entry, "text", corpus, line)
        rows[_new_id(entry, rows, corpus, line)] = len(rows) + 1
        titled = titled or "title" in entry
    queries: dict[str, str] = {}
    for line, entry in _objects(asked):
        queries[_new_id(entry, queries, asked, line)] = _text(entry, "text", asked, line)
    path = folder / "qrels" / f"{split}.tsv"
    relevance: dict[str, dict[str, int]] = {}
    for number, judgement in _lines(path):
        fields = judgement.strip().split("\t")
        if number == 1 and fields[-1] == "score":
            continue
        where = f"{path}, line {number}"
        if len(fields) != 3 or not re.fullmatch(r"-?\d+", fields[2]):
            raise GoldError(
                f"{where} is {judgement!r}; expected query, document and a whole number"
            )
        query, document, score = fields
        if query not in queries or document not in rows:
            missing = query if query not in queries else document
            raise GoldError(f"{where} names {missing!r}, which is not in the collection")
        relevance.setdefault(query, {})[document] = int(score)
    if not relevance:
        raise GoldError(f"{path} holds no judgements")
    return Beir(corpus, titled, rows, queries, dict(islice(relevance.items(), limit)))


def index_beir(
    beir: Beir, models: str, *, progress: Callable[[str], None] = lambda _: None
) -> Path:
    """An index of the collection's documents, in the user's cache.

    Raises:
        GoldError: they cannot be indexed, or not all of them.
    """
    index = own_index([beir.corpus], models, purpose="BEIR", progress=progress)
    size = beir.corpus.stat().st_size
    changes = index_files(
        index,
        [beir.corpus],
        models=models,
        columns=Columns(("text",), "title" if beir.titled else None),
        max_bytes=max(MAX_FILE_BYTES, size),
        progress=progress,
    )
    require_indexed(beir.corpus, changes)
    return index


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    except FileNotFoundError:
        raise GoldError(
            f"no {path}; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/test.tsv"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GoldError(f"{path} cannot be read: {error}") from error


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(path):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise GoldError(f"{path}, line {number} is not JSON ({error})") from error


def _new_id(entry: Any, known: Collection[str], path: Path, line: int) -> str:
    id_ = _text(entry, "_id", path, line)
    if id_ in known:
        raise GoldError(f"{path}, line {line} has the _id {id_!r}, as an earlier line has")
    return id_


def _text(entry: Any, key: str, path: Path, line: int) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise GoldError(f"{path}, line {line} has {key} = {value!r}; expected text")
    return value

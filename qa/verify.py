"""Check saved answers against the files as they are now, without the index."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from corpus.errors import InputError, LoadError
from corpus.load import load
from corpus.records import Document

__all__ = ["Status", "read_citations", "verify"]

Status: TypeAlias = Literal["unchanged", "moved", "changed", "missing", "reader-changed"]

_KEYS = {
    "document": str,
    "source": str,
    "sha256": str,
    "start": int,
    "end": int,
    "quote": str,
    "sentence": str,
    "sentence_start": int,
}


def verify(citations: list[dict[str, Any]]) -> dict[str, Any]:
    """Each citation with its `status`, and how many there are of each.

    `unchanged`: the same characters stand at the same offsets. `moved`: not
    there, but the quote within its sentence stands elsewhere, at the added
    `start_now` and `end_now`. `reader-changed`: the file's bytes are the same
    but today's loader makes another text of them. `missing`: the file, or its
    row, is gone. `changed`: everything else.
    """
    loaded: dict[Path, list[Document] | None] = {}
    checked = [{**citation, **_check(citation, loaded)} for citation in citations]
    counts: dict[str, int] = {}
    for citation in checked:
        counts[citation["status"]] = counts.get(citation["status"], 0) + 1
    return {"citations": checked, "counts": counts}


def read_citations(path: Path) -> list[dict[str, Any]]:
    """The citations in a file of saved answers: one JSON object, a list, or JSON lines.

    Raises:
        InputError: the file cannot be read, is no JSON, or a citation lacks a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        saved = json.loads(text)
    except ValueError:
        saved = [_parsed(path, number, line) for number, line in _lines(text)]
    citations = list(_citations(saved))
    for number, citation in enumerate(citations, 1):
        for key, kind in _KEYS.items():
            if not isinstance(citation.get(key), kind) or isinstance(citation.get(key), bool):
                raise InputError(
                    f"{path}: citation {number} has {key} = {citation.get(key)!r}, expected"
                    f" {'text' if kind is str else 'a whole number'};"
                    " save answers with `citespan ask QUESTION --json`"
                )
    return citations


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(
            f"{path}: line {number} is not JSON ({error});"
            " save answers with `citespan ask QUESTION --json`"
        ) from error


def _citations(saved: Any) -> Iterator[dict[str, Any]]:
    """Every object under a key `citations`, however deep it lies."""
    if isinstance(saved, list):
        for item in saved:
            yield from _citations(item)
    elif isinstance(saved, dict):
        for key, value in saved.items():
            if key == "citations" and isinstance(value, list):
                yield from (item for item in value if isinstance(item, dict))
            else:
                yield from _citations(value)


def _check(citation: dict[str, Any], loaded: dict[Path, list[Document] | None]) -> dict[str, Any]:
    source = Path(citation["source"])
    if source not in loaded:
        loaded[source] = None
        if source.is_file():
            try:
                loaded[source] = load(source)
            except LoadError as error:
                return {"status": "changed", "reason": f"{source} {error}"}
    documents = loaded[source]
    document = next((d for d in documents or () if d.id == citation["document"]), None)
    if document is None:
        return {"status": "missing" if not source.is_file() or documents else "changed"}
    start, quote = citation["start"], citation["quote"]
    if document.text[start : citation["end"]] == quote:
        return {"status": "unchanged"}
    if document.sha256 == citation["sha256"]:
        return {"status": "reader-changed"}
    found = document.text.find(citation["sentence"]) if citation["sentence"] else -1
    if found < 0:
        return {"status": "changed"}
    start_now = found + start - citation["sentence_start"]
    return {"status": "moved", "start_now": start_now, "end_now": start_now + len(quote)}

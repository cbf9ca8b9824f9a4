"""Check saved answers against the files as they are now, without the index."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from corpus.errors import InputError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.records import Document
from corpus.sandbox import Limits, ReadFile, Sandbox
from corpus.split import sentence_around
from qa.saved import citation_with, objects, read_saved

__all__ = ["Status", "read_citations", "verify"]

Status: TypeAlias = Literal["unchanged", "moved", "changed", "missing", "reader-changed"]

_HOW_TO_SAVE = "save answers with `citespan ask QUESTION --json`"
_MAX_FILE_BYTES = 2**31
"""An index may have been told to take larger files than is usual."""
_NUMBER = re.compile(r", row \d+$")
"""What ends the title of a row that has none of its own."""
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


def verify(citations: list[dict[str, Any]], columns: Columns = DEFAULT_COLUMNS) -> dict[str, Any]:
    """Each citation with its `status`, and how many there are of each.

    `unchanged`: the same characters stand at the same offsets. `moved`: not
    there, but the quote within its whole sentence stands elsewhere, at the added
    `start_now` and `end_now`; where a table's row has moved, in the row with the added
    id `document_now`. `reader-changed`: the file's bytes are the same but today's
    loader makes another text of them. `missing`: the file, or its row, is gone.
    `changed`: everything else. Where a file cannot be read, the added `reason` says
    why.

    Args:
        citations: as `read_citations` gives them.
        columns: which columns of tables were used when the answers were saved.
    """
    sources = sorted({Path(citation["source"]) for citation in citations})
    with Sandbox(columns=columns, limits=Limits(file_bytes=_MAX_FILE_BYTES)) as sandbox:
        files = sandbox.read_all((source, None) for source in sources if _may_be_read(source))
        loaded = {file.path: file for file in files}
    checked = [{**citation, **_check(citation, loaded)} for citation in citations]
    counts = Counter(citation["status"] for citation in checked)
    return {"citations": checked, "counts": dict(counts)}


def read_citations(path: Path) -> list[dict[str, Any]]:
    """The citations in a file of saved answers, in its order.

    Raises:
        InputError: the file cannot be read, holds no answers, or a citation lacks a key.
    """
    found = list(objects(read_saved(path, _HOW_TO_SAVE)))
    if not any({"answers", "citations", "error"} & entry.keys() for entry in found):
        raise InputError(f"{path} holds no saved answers; {_HOW_TO_SAVE}")
    lists = [entry.get("citations") for entry in found]
    citations = [citation for listed in lists if isinstance(listed, list) for citation in listed]
    return [
        _checked(citation, f"{path}: citation {number}")
        for number, citation in enumerate(citations, 1)
    ]


def _checked(saved: Any, where: str) -> dict[str, Any]:
    """The citation, unless it lacks a key, or its sentence does not hold its quote."""
    citation = citation_with(saved, _KEYS, where, _HOW_TO_SAVE)
    quote, at = citation["quote"], citation["start"] - citation["sentence_start"]
    if at < 0 or citation["sentence"][at : at + len(quote)] != quote or not quote:
        raise InputError(
            f"{where} has the quote {quote!r}, which does not stand in its"
            f" sentence at {at}; the file was altered"
        )
    return citation


def _may_be_read(source: Path) -> bool:
    """Whether there is a file, as far as can be seen."""
    try:
        return source.is_file()
    except OSError:
        return True  # Reading it will say what the matter is.


def _check(citation: dict[str, Any], loaded: dict[Path, ReadFile]) -> dict[str, Any]:
    file = loaded.get(Path(citation["source"]))
    if file is None:
        return {"status": "missing"}
    same_file = file.sha256 == citation["sha256"]
    if file.reason is not None:
        return {
            "status": "reader-changed" if same_file else "changed",
            "reason": f"{file.path} {file.reason}",
        }
    document = next((d for d in file.documents if d.id == citation["document"]), None)
    if document is not None and _stands(document, citation, same_file=same_file):
        return {"status": "unchanged"}
    if same_file:
        return {"status": "reader-changed"}
    for other in _where_it_may_be(document, file, citation):
        start_now = _moved_to(other.text, citation)
        if start_now is not None:
            moved = {"start_now": start_now, "end_now": start_now + len(citation["quote"])}
            elsewhere = {} if other is document else {"document_now": other.id}
            return {"status": "moved", **moved, **elsewhere}
    return {"status": "missing" if document is None else "changed"}


def _stands(document: Document, citation: dict[str, Any], *, same_file: bool) -> bool:
    """Whether the document has the quote where it was cited.

    Of a changed table's row the title and the whole sentence must be there too: the row of
    this number may be another by now.
    """
    start, first = citation["start"], citation["sentence_start"]
    if document.text[start : citation["end"]] != citation["quote"]:
        return False
    if document.row is None or same_file:
        return True
    sentence = citation["sentence"]
    return document.text[first : first + len(sentence)] == sentence and _is_called(
        document, citation
    )


def _where_it_may_be(
    document: Document | None, file: ReadFile, citation: dict[str, Any]
) -> Iterator[Document]:
    """The cited document; of a table every row with its title, the nearest to it first."""
    if document is not None and document.row is None:
        yield document
        return
    at = (document.row if document else None) or 0
    rows = [row for row in file.documents if row.row is not None and _is_called(row, citation)]
    yield from sorted(rows, key=lambda row: abs((row.row or 0) - at))


def _is_called(row: Document, citation: dict[str, Any]) -> bool:
    """Whether the row has the title that was cited, where one was; its number is no title."""
    cited = citation.get("title")
    return cited is None or _NUMBER.sub("", row.title) == _NUMBER.sub("", str(cited))


def _moved_to(text: str, citation: dict[str, Any]) -> int | None:
    """Where the quote stands now within the same sentence, whole, nearest to where it stood."""
    sentence, quote = citation["sentence"], citation["quote"]
    within = citation["start"] - citation["sentence_start"]
    places = [
        match.start() + within
        for match in re.finditer(re.escape(sentence), text)
        if sentence_around(text, match.start() + within, match.start() + within + len(quote))
        == (match.start(), match.end())
    ]
    return min(places, key=lambda place: abs(place - citation["start"]), default=None)

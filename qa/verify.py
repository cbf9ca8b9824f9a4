"""Check saved answers against the files as they are now, without the index."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from corpus.errors import InputError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.sandbox import Limits, ReadFile, Sandbox
from corpus.split import sentence_around

__all__ = ["Status", "read_citations", "verify"]

Status: TypeAlias = Literal["unchanged", "moved", "changed", "missing", "reader-changed"]

_HOW_TO_SAVE = "save answers with `citespan ask QUESTION --json`"
_MAX_FILE_BYTES = 2**31
"""An index may have been told to take larger files than is usual."""
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
    `start_now` and `end_now`. `reader-changed`: the file's bytes are the same
    but today's loader makes another text of them. `missing`: the file, or its
    row, is gone. `changed`: everything else. Where a file cannot be read, the
    added `reason` says why.

    Args:
        citations: as `read_citations` gives them.
        columns: which columns of tables were used when the answers were saved.
    """
    sources = sorted({Path(citation["source"]) for citation in citations})
    with Sandbox(columns=columns, limits=Limits(file_bytes=_MAX_FILE_BYTES)) as sandbox:
        files = sandbox.read_all((source, None) for source in sources if _may_be_read(source))
        loaded = {file.path: file for file in files}
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
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        saved = json.loads(text)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be saved answers") from None
    except ValueError:
        saved = [_parsed(path, number, line) for number, line in _lines(text)]
    if not saved or not _has_answers(saved):
        raise InputError(f"{path} holds no saved answers; {_HOW_TO_SAVE}")
    citations = list(_citations(saved))
    for number, citation in enumerate(citations, 1):
        _require(path, number, citation)
    return citations


def _require(path: Path, number: int, citation: Any) -> None:
    """Refuse a citation that lacks a key, or whose sentence does not hold its quote."""
    if not isinstance(citation, dict):
        raise InputError(f"{path}: citation {number} is {citation!r}, expected an object")
    for key, kind in _KEYS.items():
        if not isinstance(citation.get(key), kind) or isinstance(citation.get(key), bool):
            raise InputError(
                f"{path}: citation {number} has {key} = {citation.get(key)!r}, expected"
                f" {'text' if kind is str else 'a whole number'}; {_HOW_TO_SAVE}"
            )
    quote, at = citation["quote"], citation["start"] - citation["sentence_start"]
    if at < 0 or citation["sentence"][at : at + len(quote)] != quote or not quote:
        raise InputError(
            f"{path}: citation {number} has the quote {quote!r}, which does not stand in its"
            f" sentence at {at}; the file was altered"
        )


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); {_HOW_TO_SAVE}") from error


def _has_answers(saved: Any) -> bool:
    """Whether there is a key `answers` or `error` anywhere, as in what `ask` prints."""
    if isinstance(saved, list):
        return any(map(_has_answers, saved))
    if isinstance(saved, dict):
        return bool({"answers", "citations", "error"} & saved.keys()) or any(
            map(_has_answers, saved.values())
        )
    return False


def _citations(saved: Any) -> Iterator[Any]:
    """Everything in a list under a key `citations`, however deep it lies."""
    if isinstance(saved, list):
        for item in saved:
            yield from _citations(item)
    elif isinstance(saved, dict):
        for key, value in saved.items():
            yield from (
                value if key == "citations" and isinstance(value, list) else _citations(value)
            )


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
    if document is None:
        return {"status": "reader-changed" if same_file else "missing"}
    start, quote = citation["start"], citation["quote"]
    if document.text[start : citation["end"]] == quote:
        return {"status": "unchanged"}
    if same_file:
        return {"status": "reader-changed"}
    start_now = _moved_to(document.text, citation)
    if start_now is None:
        return {"status": "changed"}
    return {"status": "moved", "start_now": start_now, "end_now": start_now + len(quote)}


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

"""What visitors say of answers, as gold questions that `citespan eval` reads."""

import json
import tempfile
from pathlib import Path
from threading import Lock

from corpus.durable import place
from corpus.errors import InputError
from corpus.records import Document
from qa.gold import GoldRow, Place, row_as_json

__all__ = ["FEEDBACK", "forget", "gold_span", "keep"]

FEEDBACK = "feedback.jsonl"
"""The gold file within the index."""
_LOCK = Lock()


def keep(
    folder: Path, id_: str, question: str, spans: list[tuple[Document, int, int]], tag: str
) -> None:
    """Write the gold question into the index's file, in the place of an earlier one of its id.

    Args:
        folder: the index.
        id_: of the question.
        question: in full, so that it can be understood alone.
        spans: where it is answered; none where the documents do not answer it.
        tag: what the visitor did.
    """
    answers = dict.fromkeys(document.text[start:end] for document, start, end in spans)
    places = tuple(Place(document.id, start, end) for document, start, end in spans)
    _write(folder, id_, GoldRow(id_, question, tuple(answers), places, ("feedback", tag)))


def forget(folder: Path, id_: str) -> None:
    """Take the gold question out of the index's file."""
    _write(folder, id_, None)


def gold_span(document: Document, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends.

    Raises:
        InputError: there is nothing in it, or it is not in the document.
    """
    if not 0 <= start < end <= len(document.text):
        raise InputError(
            f"{start}-{end} is no span of {document.title!r}, which has {len(document.text)}"
            " characters"
        )
    marked = document.text[start:end]
    start += len(marked) - len(marked.lstrip())
    end -= len(marked) - len(marked.rstrip())
    if start >= end:
        raise InputError("only white space was marked; mark the words that answer the question")
    return start, end


def _write(folder: Path, id_: str, row: GoldRow | None) -> None:
    with _LOCK:
        path = folder / FEEDBACK
        # By line feeds alone: within a line JSON keeps other ends of lines as they are.
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        kept = [line for line in lines if line.strip() and json.loads(line).get("id") != id_]
        kept += [json.dumps(row_as_json(row), ensure_ascii=False)] if row else []
        # Whole or not at all: a reader never finds half a line.
        with tempfile.NamedTemporaryFile(
            "w", dir=folder, prefix=f".{FEEDBACK}-", encoding="utf-8", delete=False
        ) as stream:
            stream.writelines(f"{line}\n" for line in kept)
        place(Path(stream.name), path)

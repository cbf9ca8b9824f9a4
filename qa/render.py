"""Results for people and for programs."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus.database import DocumentSummary
from corpus.records import Document
from qa.results import Answer, Citation, Result

__all__ = [
    "as_json",
    "as_text",
    "document_json",
    "harmless",
    "printable",
    "short",
    "summary_json",
]

_BOLD, _DIM, _MARK, _PLAIN = "\033[1m", "\033[2m", "\033[1;7m", "\033[0m"
_NEAREST = 3
_RIVAL = 0.5
"""A further answer is given for people when it is at least so many times as probable as the best:
a judgement. Programs get all of them."""
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Control characters, lone surrogates, and the marks that change the direction of text. Joiners,
which Persian and emoji need, are left alone."""


def as_json(result: Result) -> dict[str, Any]:
    """The result as `citespan ask --json` prints it."""
    return {
        "question": result.question,
        "answered": result.answered,
        "threshold": result.threshold,
        "disagreement": result.disagreement,
        "answers": [
            {
                "text": answer.text,
                "confidence": answer.confidence,
                "disagrees_with": list(answer.disagrees_with),
                "citations": [asdict(citation) for citation in answer.citations],
            }
            for answer in result.answers
        ],
        "passages": [
            {
                "id": hit.passage.id,
                "document": hit.passage.document_id,
                "start": hit.passage.start,
                "end": hit.passage.end,
                "text": hit.passage.text,
                "score": hit.score,
                "rank": hit.rank,
            }
            for hit in result.hits
        ],
        "seconds": asdict(result.seconds),
        "index": asdict(result.index),
    }


def summary_json(summary: DocumentSummary) -> dict[str, Any]:
    """The document as `citespan list --json` prints it."""
    return {
        "id": summary.id,
        "title": summary.title,
        "source": str(summary.source),
        "row": summary.row,
        "type": summary.kind,
        "date": summary.date,
        "pages": summary.pages,
        "passages": summary.passages,
        "indexed_at": summary.indexed_at,
    }


def document_json(document: Document) -> dict[str, Any]:
    """The document with its text as `citespan show --json` prints it."""
    return {
        "id": document.id,
        "title": document.title,
        "source": str(document.source),
        "row": document.row,
        "sha256": document.sha256,
        "loader": document.loader,
        "encoding": document.encoding,
        "date": document.date,
        "page_starts": list(document.page_starts),
        "text": document.text,
    }


def as_text(result: Result, *, colour: bool) -> str:
    """The result for a terminal: each answer with its sentences, the answer marked in them.

    Only answers that reach the threshold are given as such, and further ones only
    where they come near the first, or contradict it. Where none does, the nearest
    quotes are shown and marked as not answering.
    """
    if not result.answered:
        return "\n".join(_no_answer(result, colour))
    best = result.answers[0]
    least = max(result.threshold, _RIVAL * best.confidence)
    against = [result.answers[number] for number in best.disagrees_with]
    given = [a for a in result.answers if a.confidence >= least and a not in against]
    blocks = ["\n".join(_answer(answer, colour)) for answer in given]
    if against:
        blocks.append("Other documents disagree:")
        blocks += ["\n".join(_answer(answer, colour)) for answer in against]
    return "\n\n".join(blocks)


def printable(text: str) -> str:
    """The text on one line, with what would move the cursor or turn the text made harmless."""
    return harmless(" ".join(text.replace("\ufeff", "").split()))


def harmless(text: str) -> str:
    """The text with its lines and tabs, but nothing else that steers a terminal."""
    return _HARMFUL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _answer(answer: Answer, colour: bool) -> Iterator[str]:
    yield f"{_style(printable(answer.text), _BOLD, colour)}  (confidence {answer.confidence:.2f})"
    for citation in answer.citations:
        yield ""
        yield f"    {_marked(citation, colour)}"
        yield _style(f"    {_place(citation)}", _DIM, colour)


def _no_answer(result: Result, colour: bool) -> Iterator[str]:
    yield "The documents do not say."
    nearest = result.answers[:_NEAREST]
    if nearest:
        yield ""
        yield f"Nearest, below the threshold of {result.threshold:.2f}:"
    for answer in nearest:
        yield ""
        yield f"    {_marked(answer.citations[0], colour)}"
        place = f"{_place(answer.citations[0])}, confidence {answer.confidence:.2f}"
        yield _style(f"    {place}", _DIM, colour)


def _marked(citation: Citation, colour: bool) -> str:
    """The sentence with the quote marked in it."""
    at = citation.start - citation.sentence_start
    before, after = citation.sentence[:at], citation.sentence[at + len(citation.quote) :]
    quote = printable(citation.quote)
    marked = _style(quote, _MARK, colour) if colour else f"[{quote}]"
    left = printable(before) + (" " if before[-1:].isspace() else "")
    right = (" " if after[:1].isspace() else "") + printable(after)
    return left + marked + right


def _place(citation: Citation) -> str:
    parts = [
        printable(short(Path(citation.source))),
        *([f"page {citation.page}"] if citation.page is not None else []),
        *([f"line {citation.line}"] if citation.line is not None else []),
        f"characters {citation.start}-{citation.end}",
    ]
    return ", ".join(parts)


def short(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _style(text: str, code: str, colour: bool) -> str:
    return f"{code}{text}{_PLAIN}" if colour else text

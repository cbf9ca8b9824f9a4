"""Saved answers and corrections to gold rows, with offsets that were checked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus.errors import GoldError, InputError
from corpus.store import Snapshot
from qa.answers import whole_words
from qa.gold import GoldRow, Place, append_row, parse_row, read_rows
from qa.saved import citation_with, objects, read_saved

__all__ = ["add_gold", "locate", "rows_of"]

_EXPECTED = (
    "expected what `citespan ask QUESTION --json` prints, or corrections such as"
    ' {"question": "Who wrote it?", "answers": ["Ada Moreau"]}'
)
_CITATION = {"document": str, "start": int, "end": int, "quote": str}
_PLACES_SHOWN = 4


def add_gold(
    saved: Path,
    gold: Path,
    snapshot: Snapshot,
    *,
    answer: str | None = None,
    no_answer: bool = False,
    within: str | None = None,
    tags: Sequence[str] = (),
) -> list[GoldRow]:
    """The rows made of the saved file, which now stand at the end of the gold file.

    All of them are made and checked before the first is written.

    Args:
        saved: what `rows_of` reads.
        gold: a JSON lines file; made where there is none.
        snapshot: the index whose documents the offsets count in.
        answer: what would have been right, where the file holds one question.
        no_answer: the documents do not answer the one question of the file.
        within: names the document in which a corrected answer stands.
        tags: put on every row.

    Raises:
        GoldError: a row cannot be made, or its question is already in the gold file.
        InputError: the file holds nothing of the kind.
    """
    rows = rows_of(saved, snapshot, answer=answer, no_answer=no_answer, within=within)
    rows = [replace(row, tags=tuple(dict.fromkeys([*row.tags, *tags]))) for row in rows]
    known = {row.id for row in read_rows(gold)} if _has_rows(gold) else set()
    for row in rows:
        if row.id in known:
            raise GoldError(f"{gold} already has the question {row.question!r}; nothing was added")
        known.add(row.id)
    for row in rows:
        append_row(gold, row)
    return rows


def _has_rows(gold: Path) -> bool:
    """Whether there is anything in the file; one that is new or empty is as good as none."""
    try:
        return bool(gold.read_bytes().strip())
    except FileNotFoundError:
        return False


def rows_of(
    saved: Path,
    snapshot: Snapshot,
    *,
    answer: str | None = None,
    no_answer: bool = False,
    within: str | None = None,
) -> list[GoldRow]:
    """The gold rows that a saved file makes.

    Its objects with a `question` and `answers` count, however deep they lie in JSON or
    JSON lines. A saved answer is taken as right as it stands: the best answer with all
    of its places, or, where none was given, that the documents do not say. Of a
    conversation those turns are left out that failed or whose answer the visitor called
    wrong, and a question that follows another counts with what it follows. A
    correction holds its answers as plain texts; without spans each must stand in one
    place of the documents alone.

    Raises:
        GoldError: an answer stands nowhere, in several places, or no longer there.
        InputError: the file holds nothing of the kind.
    """
    found = objects(read_saved(saved, _EXPECTED))
    asked = [item for item in found if "question" in item and "answers" in item]
    if not asked:
        raise InputError(f"{saved} holds no answers; {_EXPECTED}")
    items = [item for item in asked if not _is_wrong(item)]
    if answer is not None or no_answer:
        questions = {str(_in_full(item)) for item in asked}
        if len(questions) > 1:
            raise InputError(
                f"{saved} holds {len(questions)} questions, and --answer and --no-answer correct"
                " one; save that one alone, or write the corrections as JSON lines"
            )
        answers = [] if answer is None else [answer]
        items = [{"question": questions.pop(), "answers": answers}]
    if not items:
        raise InputError(
            f"{saved} holds no answers but failed ones and such as were called wrong; correct one"
            " with --answer or --no-answer"
        )
    documents = _Documents(snapshot)
    return [
        _row(item, documents, within, f"{saved}, answer {n}") for n, item in enumerate(items, 1)
    ]


def locate(snapshot: Snapshot, text: str, within: str | None = None) -> Place:
    """The one place where the text stands as whole words.

    Raises:
        GoldError: there is none, or there are several, which are named.
    """
    return _Documents(snapshot).locate(text, within, "the answer")


class _Documents:
    """The documents of an index, and what gold calls them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._summaries = snapshot.summaries()
        known = Counter(summary.source.name for summary in self._summaries)
        # The file's name, which is the same elsewhere too, where it names one document alone.
        self._names = {
            s.id: s.source.name if known[s.source.name] == 1 else s.id for s in self._summaries
        }

    def checked(self, document: str, start: int, end: int, quote: str, where: str) -> Place:
        """The place, if the document still has the quote there."""
        if document not in self._names:
            raise GoldError(
                f"{where} cites {document}, which is not in the index; name the index that"
                " answered with --index"
            )
        seen = self._snapshot.document(document).text[start:end]
        if seen != quote or not 0 <= start < end == start + len(quote):
            raise GoldError(
                f"{where} cites {quote!r}, but {self._names[document]} has {seen!r} at"
                f" {start}:{end} now; ask again and save the new answer"
            )
        return Place(self._names[document], start, end)

    def at(self, place: Place) -> tuple[str, str]:
        """The id of the place's document, and the characters that it has there."""
        id_ = self._snapshot.find(place.document)
        return id_, self._snapshot.document(id_).text[place.start : place.end]

    def locate(self, text: str, within: str | None, where: str) -> Place:
        """See the function of this name."""
        pattern = whole_words(text)
        chosen = self._snapshot.find_all(within) if within else [s.id for s in self._summaries]
        found = [
            Place(self._names[id_], *match.span())
            for id_ in chosen
            for match in pattern.finditer(self._snapshot.document(id_).text)
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            among = f"in {within!r}" if within else "in any document of the index"
            raise GoldError(f"{where}: {text!r} does not stand {among}; give it as it is written")
        shown = ", ".join(f"{p.document} {p.start}:{p.end}" for p in found[:_PLACES_SHOWN])
        more = ", …" if len(found) > _PLACES_SHOWN else ""
        raise GoldError(
            f"{where}: {text!r} stands in {len(found)} places ({shown}{more}); say in which"
            " document with --in, or give `spans`"
        )


def _is_wrong(item: dict[str, Any]) -> bool:
    """Whether it is a turn of a conversation that is no gold as it stands."""
    return bool(item.get("error")) or item.get("verdict") in {"wrong", "marked"}


def _in_full(item: dict[str, Any]) -> Any:
    """Its question, with what it follows where it is a turn that follows another."""
    return item.get("topic") or item["question"]


def _row(item: dict[str, Any], documents: _Documents, within: str | None, where: str) -> GoldRow:
    answers = item["answers"]
    if "answered" not in item:
        row = parse_row(item, where)
        if row.spans:
            return replace(row, spans=tuple(_respanned(row, documents, where)))
        places = (documents.locate(answer, within, where) for answer in row.answers)
        return replace(row, spans=tuple(places))
    question = _in_full(item)
    if not item["answered"] or item.get("verdict") == "unanswerable":
        return parse_row({"question": question, "answers": []}, where)
    best = answers[0] if isinstance(answers, list) and answers else None
    citations = best.get("citations") if isinstance(best, dict) else None
    if not isinstance(citations, list) or not citations:
        raise InputError(f"{where} has no citations; {_EXPECTED}")
    spans, quotes = [], []
    for number, saved in enumerate(citations, 1):
        citation = citation_with(saved, _CITATION, f"{where}: citation {number}", _EXPECTED)
        document, start, end, quote = (citation[key] for key in _CITATION)
        spans.append(documents.checked(document, start, end, quote, where))
        quotes.append(quote)
    answered = parse_row({"question": question, "answers": quotes}, where)
    return replace(answered, spans=tuple(spans))


def _respanned(row: GoldRow, documents: _Documents, where: str) -> Iterator[Place]:
    """The row's own spans, each checked to hold one of its answers."""
    for span in row.spans:
        id_, text = documents.at(span)
        if text not in row.answers:
            raise GoldError(
                f"{where}: {span.document} has {text!r} at {span.start}:{span.end}, which is none"
                " of its answers"
            )
        yield documents.checked(id_, span.start, span.end, text, where)

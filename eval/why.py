"""One question walked through every stage, to see which of them lost the answer."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from corpus.errors import InputError
from embeddings.search import Hit
from eval.causes import RIGHT_F1, Cause, Evidence, cause_of
from qa.answers import f1, whole_words
from qa.pipeline import Pipeline
from qa.render import printable

__all__ = ["Explanation", "PassageTrace", "SpanTrace", "as_json", "as_text", "explain"]

_FUSED_DEPTH = 100
"""Up to this rank the fused order is the very one in which `ask` reads."""
_WIDE_DEPTH = 10_000
_SHOWN_PASSAGES = 5
_SHOWN_SPANS = 3
_SPANS = 20

_VERDICTS: dict[Cause | None, str] = {
    None: "Nothing was lost: this is the answer that is given.",
    "not indexed": "The index lost it: no passage holds this text.",
    "not retrieved": "Search lost it: the passages that hold it were not among those read.",
    "not read first": "The reader lost it: a span of another passage was ranked before it.",
    "wrong span": "The reader lost it: in the right passage it preferred other words.",
    "wrong document": "It was answered from another document.",
    "abstained wrongly": "The threshold lost it: the right answer was not sure enough to be given.",
}


@dataclass(frozen=True, slots=True)
class SpanTrace:
    """A candidate answer of one passage."""

    text: str
    score: float
    """The sum of its start and end logits, less what its length costs."""
    null_score: float
    """The sum of both at "no answer here"."""
    margin: float
    """How far the first beats the second."""
    right: bool
    """Whether it matches the gold."""


@dataclass(frozen=True, slots=True)
class PassageTrace:
    """A passage that holds the gold text, at every stage."""

    id: int
    source: str
    start: int
    end: int
    text: str
    dense_rank: int | None
    lexical_rank: int | None
    fused_rank: int | None
    """None beyond the first hundred."""
    fused_score: float | None
    read: bool
    """Whether it was among those that the reader was given."""
    spans: tuple[SpanTrace, ...]
    """The reader's best spans of it, and its best right one; best first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What every stage did with the gold answer of a question."""

    question: str
    gold: str
    cause: Cause | None
    verdict: str
    searched: int
    """How many passages the index has."""
    read: int
    """How many of them were read."""
    passages: tuple[PassageTrace, ...]
    """The passages that hold the gold text, the best ranked first, not more than five."""
    holding: int
    """How many there are."""
    answers: tuple[tuple[str, float, str], ...]
    """What was answered: text, confidence, file."""
    gold_position: int | None
    """Which of the answers is the first that matches the gold, from 1."""
    threshold: float


def explain(pipeline: Pipeline, question: str, gold: str, *, read: int = 10) -> Explanation:
    """Which stage lost the gold answer, with the evidence.

    The gold is found in the documents as whole words in any case; everywhere that
    it stands counts as right.

    Raises:
        InputError: the gold is blank.
    """
    if not gold.strip():
        raise InputError("--gold is blank; give the words that would have been right")
    result = pipeline.ask(question, read=read)
    total = pipeline.snapshot.count()[1]
    wide = {hit.passage.id: hit for hit in pipeline.search(question, min(total, _WIDE_DEPTH) or 1)}
    narrow = {hit.passage.id: hit for hit in pipeline.search(question, max(read, _FUSED_DEPTH))}
    were_read = {hit.passage.id for hit in result.hits}

    holding = list(_holding(pipeline, gold))
    holding.sort(key=lambda found: _rank(narrow.get(found[0]), wide.get(found[0])))
    passages = tuple(
        _trace(pipeline, question, gold, found, narrow, wide, were_read)
        for found in holding[:_SHOWN_PASSAGES]
    )
    best = result.answers[0] if result.answers else None
    holders = {id_ for id_, *_ in holding}
    cause = cause_of(
        Evidence(
            answerable=True,
            f1=f1(best.text, [gold]) if best else 0.0,
            answered=result.answered,
            indexed=bool(holding),
            retrieved=bool(holders & were_read),
            read_first=best is not None and best.citations[0].passage in holders,
            right_document=True,
        )
    )
    return Explanation(
        question=result.question,
        gold=gold,
        cause=cause,
        verdict=_VERDICTS[cause],
        searched=total,
        read=len(result.hits),
        passages=passages,
        holding=len(holding),
        answers=tuple(
            (answer.text, answer.confidence, answer.citations[0].source)
            for answer in result.answers
        ),
        gold_position=next(
            (n for n, a in enumerate(result.answers, 1) if _matches(a.text, gold)), None
        ),
        threshold=result.threshold,
    )


def _holding(pipeline: Pipeline, gold: str) -> Iterator[tuple[int, str, int, int]]:
    """The passages that hold the gold whole: id, document, start and end."""
    pattern = whole_words(gold, any_case=True)
    for summary in pipeline.snapshot.summaries():
        matches = [m.span() for m in pattern.finditer(pipeline.document(summary.id).text)]
        if matches:
            for id_, start, end in pipeline.snapshot.extents(summary.id):
                if any(start <= low and high <= end for low, high in matches):
                    yield id_, summary.id, start, end


def _matches(text: str, gold: str) -> bool:
    return f1(text, [gold]) >= RIGHT_F1


def _rank(narrow: Hit | None, wide: Hit | None) -> tuple[float, float]:
    fused = narrow.rank if narrow else float("inf")
    ranks = [r for r in (wide.dense_rank, wide.lexical_rank) if r] if wide else []
    return fused, min(ranks, default=float("inf"))


def _trace(
    pipeline: Pipeline,
    question: str,
    gold: str,
    found: tuple[int, str, int, int],
    narrow: dict[int, Hit],
    wide: dict[int, Hit],
    were_read: set[int],
) -> PassageTrace:
    id_, document_id, start, end = found
    document = pipeline.document(document_id)
    text = document.text[start:end]
    (scored,) = pipeline.reader.read(question, [text], n=_SPANS)
    spans = [
        SpanTrace(
            words := text[span.start : span.end],
            span.score,
            span.null_score,
            span.margin,
            _matches(words, gold),
        )
        for span in scored
    ]
    right = next((span for span in spans if span.right), None)
    shown = spans[:_SHOWN_SPANS]
    if right is not None and right not in shown:
        shown.append(right)
    near, far = narrow.get(id_), wide.get(id_)
    return PassageTrace(
        id=id_,
        source=str(document.source),
        start=start,
        end=end,
        text=text,
        dense_rank=far.dense_rank if far else None,
        lexical_rank=far.lexical_rank if far else None,
        fused_rank=near.rank if near else None,
        fused_score=near.score if near else None,
        read=id_ in were_read,
        spans=tuple(shown),
    )


def as_json(explanation: Explanation) -> dict[str, Any]:
    """What `citespan why --json` prints."""
    return asdict(explanation) | {
        "answers": [
            {"text": text, "confidence": confidence, "source": source}
            for text, confidence, source in explanation.answers
        ]
    }


def as_text(explanation: Explanation) -> str:
    """The walk for a terminal, stage by stage."""
    return "\n".join(_lines(explanation))


def _lines(e: Explanation) -> Iterator[str]:
    yield e.verdict
    yield ""
    yield f"index    {e.holding} of {e.searched} passages hold {printable(e.gold)!r}"
    for passage in e.passages:
        name = printable(passage.source.rpartition("/")[2])
        yield f"         {name}, characters {passage.start}-{passage.end}"
        yield (
            f"search     BM25 rank {_or_none(passage.lexical_rank)},"
            f" dense rank {_or_none(passage.dense_rank)},"
            f" fused rank {_or_none(passage.fused_rank)}"
            + ("" if passage.fused_score is None else f" (score {passage.fused_score:.3f})")
            + (" – read" if passage.read else f" – not among the {e.read} read")
        )
        for span in passage.spans:
            yield (
                f"reader     {'*' if span.right else ' '} {_short(span.text)}  margin"
                f" {span.margin:+.1f} (span {span.score:.1f}, no answer here {span.null_score:.1f})"
            )
    yield ""
    for number, (text, confidence, source) in enumerate(e.answers, 1):
        mark = "*" if _matches(text, e.gold) else " "
        given = "given" if number == 1 and confidence >= e.threshold else ""
        name = printable(source.rpartition("/")[2])
        yield f"answer {number} {mark} {confidence:.2f}  {_short(text)}  ({name})  {given}".rstrip()
    if not e.answers:
        yield "no answer was found in what was read"
    yield f"threshold  {e.threshold:.2f}; * marks what matches the gold"


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _or_none(rank: int | None) -> str:
    return "–" if rank is None else str(rank)

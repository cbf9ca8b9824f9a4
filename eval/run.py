"""Ask every gold question, and note at each stage what came of it.

Three things are measured side by side, so that a loss can be placed: search
alone (do the passages found hold the answer?), the reader alone (given the
right paragraph, does it find the answer?), and the whole from question to
cited answer.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from corpus.records import Document
from embeddings.search import Hit
from eval.beir import Beir
from eval.causes import Cause, Evidence, cause_of
from eval.gold import Gold
from eval.metrics import ndcg
from qa.answers import exact_match, f1, whole_words
from qa.calibration import logistic
from qa.gold import Place
from qa.pipeline import Pipeline
from qa.reader import Reader
from qa.results import Citation, Result

__all__ = ["Excerpt", "Outcome", "contexts", "measure", "measure_reader", "measure_retrieval"]

NDCG_AT = 10
_MARGIN_CHARS = 400
"""How much of a text is kept on each side of an answer, to be shown."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a document, to be shown with an answer marked in it."""

    source: str
    """The file's name."""
    page: int | None
    line: int | None
    offset: int
    """Where the text begins in the document."""
    text: str
    start: int
    end: int
    """The answer is `text[start:end]`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question."""

    id: str
    question: str
    golds: tuple[str, ...]
    best: str
    """The best answer, whether or not it was sure enough to be given."""
    confidence: float
    answered: bool
    em: float
    """Of the best answer, as if it were always given; in [0, 1]."""
    f1: float
    hit_rank: int | None
    """Rank of the first passage that holds a whole gold span; in a retrieval collection, of the
    first relevant document."""
    seconds: float
    tags: tuple[str, ...] = ()
    cluster: str = ""
    """The document that it is drawn with when it is asked how sure a mean is."""
    kind: str | None = None
    """The format of the document that answers it; None where that is not known."""
    placed: bool = True
    """Whether the gold says where the answer stands."""
    document_rank: int | None = None
    """Rank of the first passage of a document that answers it."""
    ndcg: float | None = None
    """Of the passages found; None where search cannot be measured."""
    relevant_ranks: tuple[int, ...] = ()
    """In a retrieval collection, the ranks of the relevant documents that were found."""
    n_relevant: int | None = None
    """How many there are; None outside such a collection, where one place is enough."""
    read: bool = True
    """Whether it went through the reader, and not through search alone."""
    alone: str | None = None
    """What the reader answers when it is given the right paragraph; None where it was not."""
    alone_em: float | None = None
    alone_f1: float | None = None
    cited: bool | None = None
    """Whether the best answer's citation overlaps a gold span; None where that cannot be told."""
    disagreement: bool = False
    """Whether the answers were said to contradict each other."""
    cause: Cause | None = None
    """Why it went wrong; None where it did not."""
    answer_shown: Excerpt | None = None
    gold_shown: Excerpt | None = None

    @property
    def prediction(self) -> str:
        """The answer that was given; empty where none was."""
        return self.best if self.answered else ""


def measure(pipeline: Pipeline, gold: Sequence[Gold], *, read: int = 10) -> Iterator[Outcome]:
    """Ask every question; one outcome each, in order."""
    places = _Places(pipeline)
    # Then a citation for what the documents do not say is a wrong one among others that may be
    # right. Where no place is known none can be, and a share of right ones would say nothing.
    judged = any(item.placed for item in gold)
    for item in gold:
        started = time.perf_counter()
        result = pipeline.ask(item.question, read=read)
        seconds = time.perf_counter() - started
        yield _outcome(pipeline, places, item, result, seconds, judged=judged)


def measure_reader(reader: Reader, gold: Sequence[tuple[Gold, str]]) -> Iterator[Outcome]:
    """Give the reader each question with its right text, and nothing else.

    The confidence is the reader's own, of its best span against "no answer here",
    and an answer is given from one half on.

    Args:
        reader: the reader.
        gold: each question with the text it was asked about.
    """
    for item, text in gold:
        started = time.perf_counter()
        best, margin, extent = _alone(reader, item.question, text)
        seconds = time.perf_counter() - started
        confidence = 0.0 if margin is None else float(logistic(margin))
        em, overlap = exact_match(best, item.golds), f1(best, item.golds)
        answered = margin is not None and confidence >= 0.5
        yield Outcome(
            id=item.id,
            question=item.question,
            golds=item.golds,
            best=best,
            confidence=confidence,
            answered=answered,
            em=em,
            f1=overlap,
            hit_rank=None,
            seconds=seconds,
            tags=item.tags,
            cluster=_cluster(item),
            placed=False,
            alone=best,
            alone_em=em if item.golds else None,
            alone_f1=overlap if item.golds else None,
            cause=cause_of(
                Evidence(
                    answerable=bool(item.golds),
                    f1=overlap,
                    answered=answered,
                    indexed=True,
                    retrieved=True,
                    read_first=True,
                    right_document=True,
                )
            ),
            answer_shown=_clipped("", None, None, text, *extent) if best else None,
        )


def measure_retrieval(pipeline: Pipeline, beir: Beir, *, k: int = 10) -> Iterator[Outcome]:
    """Search for every query; a document ranks as its best passage does.

    Some collections ask with texts that are documents themselves; none is to find itself
    (Thakur et al. 2021).
    """
    source = Path(os.path.abspath(beir.corpus))  # As it was indexed.
    ids = {
        summary.row: summary.id
        for summary in pipeline.snapshot.summaries()
        if summary.source == source
    }
    for query, judged in beir.relevance.items():
        started = time.perf_counter()
        # So many passages that `k` documents are among them, as far as there are so many.
        hits = pipeline.search(beir.queries[query], 10 * k)
        seconds = time.perf_counter() - started
        itself = ids.get(beir.rows.get(query, 0))
        others = dict.fromkeys(hit.passage.document_id for hit in hits)
        found = [id_ for id_ in others if id_ != itself][:k]
        gains = {ids.get(beir.rows[name], name): score for name, score in judged.items()}
        relevant = {id_: gain for id_, gain in gains.items() if gain > 0}
        ranks = tuple(rank for rank, id_ in enumerate(found, 1) if id_ in relevant)
        yield Outcome(
            id=query,
            question=beir.queries[query],
            golds=(),
            best="",
            confidence=0.0,
            answered=False,
            em=0.0,
            f1=0.0,
            hit_rank=ranks[0] if ranks else None,
            seconds=seconds,
            cluster=query,
            relevant_ranks=ranks,
            n_relevant=len(relevant),
            ndcg=ndcg([relevant.get(id_, 0) for id_ in found], list(relevant.values()), NDCG_AT),
            read=False,
            cause=None if ranks else "not retrieved",
        )


class _Places:
    """Where the passages of an index lie, and which of them hold a span."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._extents = lru_cache(maxsize=4096)(pipeline.snapshot.extents)

    def holders(self, spans: Sequence[Place]) -> dict[int, Place]:
        """The passages that hold a whole span, by id, each with the first span that it holds."""
        found: dict[int, Place] = {}
        for span in spans:
            for id_, _, _ in self._passages_with(span):
                found.setdefault(id_, span)
        return found

    def context(self, gold: Gold) -> tuple[Document, int, int] | None:
        """The paragraph that the question was asked about, or the passage with its first span."""
        if gold.paragraph is not None:
            place = gold.paragraph
            return self._pipeline.document(place.document), place.start, place.end
        for span in gold.spans:
            for _, start, end in self._passages_with(span):
                return self._pipeline.document(span.document), start, end
        return None

    def anywhere(self, answers: Sequence[str]) -> bool:
        """Whether any document holds one of the answers as whole words."""
        sought = _sought(answers)
        summaries = self._pipeline.snapshot.summaries()
        return any(_holds(self._pipeline.document(s.id).text, sought) for s in summaries)

    def _passages_with(self, span: Place) -> Iterator[tuple[int, int, int]]:
        """The passages that hold the whole span: id, start and end in the document."""
        for id_, start, end in self._extents(span.document):
            if start <= span.start and span.end <= end:
                yield id_, start, end


def contexts(pipeline: Pipeline, gold: Sequence[Gold]) -> Iterator[tuple[Gold, str]]:
    """The questions that say what they were asked about, each with that text."""
    places = _Places(pipeline)
    for item in gold:
        if context := places.context(item):
            document, start, end = context
            yield item, document.text[start:end]


def _outcome(
    pipeline: Pipeline,
    places: _Places,
    item: Gold,
    result: Result,
    seconds: float,
    *,
    judged: bool,
) -> Outcome:
    best = result.answers[0] if result.answers else None
    text = best.text if best else ""
    em, overlap = exact_match(text, item.golds), f1(text, item.golds)
    citation = best.citations[0] if best else None

    holders = places.holders(item.spans)
    right = holders.keys() if item.placed else _with_words(result.hits, item.golds)
    hit_rank = _first(result.hits, [hit.passage.id in right for hit in result.hits])
    documents = {span.document for span in item.spans}
    in_documents = [hit.passage.document_id in documents for hit in result.hits]
    cited_documents = {c.document for c in best.citations} if best else set()
    gain = None
    if item.placed:
        gains = [float(hit.passage.id in holders) for hit in result.hits]
        gain = ndcg(gains, [1.0] * len(holders), NDCG_AT)

    alone = alone_em = alone_f1 = None
    context = places.context(item) if item.golds else None
    if context:
        document, start, end = context
        alone, _, _ = _alone(pipeline.reader, item.question, document.text[start:end])
        alone_em, alone_f1 = exact_match(alone, item.golds), f1(alone, item.golds)

    indexed = bool(right)
    if not indexed and not item.placed and item.golds:
        indexed = places.anywhere(item.golds)
    cause = cause_of(
        Evidence(
            answerable=bool(item.golds),
            f1=overlap,
            answered=result.answered,
            indexed=indexed,
            retrieved=hit_rank is not None,
            read_first=citation is not None and citation.passage in right,
            right_document=not item.placed or bool(cited_documents & documents),
        )
    )
    can_judge = item.placed or (judged and not item.golds)
    first = item.spans[0] if item.spans else None
    # Of several right places the one to be shown is that of the passage answered from.
    near = holders.get(citation.passage, first) if citation else first
    return Outcome(
        id=item.id,
        question=item.question,
        golds=item.golds,
        best=text,
        confidence=best.confidence if best else 0.0,
        answered=result.answered,
        em=em,
        f1=overlap,
        hit_rank=hit_rank,
        seconds=seconds,
        tags=item.tags,
        cluster=_cluster(item),
        kind=pipeline.document(first.document).kind if first else None,
        placed=item.placed,
        document_rank=_first(result.hits, in_documents),
        ndcg=gain,
        alone=alone,
        alone_em=alone_em,
        alone_f1=alone_f1,
        cited=_overlaps(citation, item.spans) if can_judge and citation else None,
        disagreement=result.disagreement,
        cause=cause,
        answer_shown=_shown(pipeline, _place(citation)) if citation else None,
        gold_shown=_shown(pipeline, near) if near else None,
    )


def _cluster(item: Gold) -> str:
    """The document of a question; one of its own where it has none."""
    if item.article is not None:
        return item.article
    if item.paragraph is not None:
        return item.paragraph.document
    if item.placed:
        return item.spans[0].document if item.spans else item.absent[0]
    return f"question {item.id}"


def _alone(reader: Reader, question: str, text: str) -> tuple[str, float | None, tuple[int, int]]:
    """The reader's best span of the text, its margin over no answer, and where it stands."""
    (spans,) = reader.read(question, [text], n=1)
    if not spans:
        return "", None, (0, 0)
    span = spans[0]
    return text[span.start : span.end].strip(), span.margin, (span.start, span.end)


def _first(hits: Sequence[Hit], relevant: Sequence[bool]) -> int | None:
    """The rank of the first relevant hit."""
    return next((hit.rank for hit, is_so in zip(hits, relevant, strict=True) if is_so), None)


def _overlaps(citation: Citation, spans: Sequence[Place]) -> bool:
    return any(
        citation.document == span.document
        and citation.start < span.end
        and span.start < citation.end
        for span in spans
    )


def _sought(answers: Sequence[str]) -> list[re.Pattern[str]]:
    """What finds the answers as whole words, in any case.

    So open-domain question answering tells what was retrieved where no spans are
    known (Chen et al. 2017).
    """
    return [whole_words(answer, any_case=True) for answer in answers]


def _holds(text: str, sought: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.search(text) for pattern in sought)


def _with_words(hits: Sequence[Hit], answers: Sequence[str]) -> set[int]:
    """The passages found that hold one of the answers, by id."""
    sought = _sought(answers)
    return {hit.passage.id for hit in hits if _holds(hit.passage.text, sought)}


def _place(citation: Citation) -> Place:
    return Place(citation.document, citation.start, citation.end)


def _shown(pipeline: Pipeline, place: Place) -> Excerpt:
    found = pipeline.document(place.document)
    name = found.source.name + (f", row {found.row}" if found.row is not None else "")
    page, line = found.page(place.start), found.line(place.start)
    return _clipped(name, page, line, found.text, place.start, place.end)


def _clipped(
    source: str, page: int | None, line: int | None, text: str, start: int, end: int
) -> Excerpt:
    """What is around the answer, cut between words."""
    low, high = max(0, start - _MARGIN_CHARS), min(len(text), end + _MARGIN_CHARS)
    if low > 0:
        low = next((i + 1 for i in range(low, start) if text[i].isspace()), start)
    if high < len(text):
        high = next((i for i in range(high, end, -1) if text[i].isspace()), end)
    return Excerpt(source, page, line, low, text[low:high], start - low, end - low)

"""A question in, cited answers out: search, read, compare spans across passages, cite."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

from corpus.blocks import CELL_END
from corpus.errors import InputError
from corpus.log import Stages, event
from corpus.records import Document
from corpus.split import PARAGRAPH_END, sentence_around
from corpus.store import Snapshot
from embeddings.encoder import open_encoder
from embeddings.exports import export
from embeddings.search import Hit, Search
from qa.calibration import Calibration, Signals
from qa.pooling import Relation, are_near, is_exact, is_rough, pooled, relation
from qa.reader import Reader
from qa.settings import POOLING_TEMPERATURE, SEARCH_WEIGHT, model_pair
from qa.spans import ScoredSpan

__all__ = ["Answer", "Citation", "IndexState", "Pipeline", "Result", "Seconds", "Span"]

_SPANS_PER_PASSAGE = 20
"""So many because most of them are the best one with a word more or less, and fall away."""
_CITATION_MARGIN = 6.0
"""How far, in the reader's logits, an equal answer elsewhere may lie below the best one and still
be cited: further down, the same words may stand there by chance. A judgement, not measured."""
_SPANS_COMPARED = 60
"""Answers further down are never among those returned."""
_LEAST_DISPUTED = 0.15
"""The best answer's confidence from which it is said what contradicts it."""
_RIVAL_MARGIN, _RIVAL_SEARCH = 4.0, 0.6
"""A rival's own margin and search score are at least so high."""
_NEAR_RIVAL_MARGIN = 0.0
"""The same of one that is near the best answer, as two reports of one thing mostly are."""
_CERTAIN, _CHANCE = 0.93, 0.08
"""What is so probable is contradicted only by what is near, or at least so probable. All six were
chosen on one half of the sample's gold questions."""
_WITH_TABLES = {"html", "docx"}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LINE_MARKUP = re.compile(r"(?:#{1,6}|>|\||[-*+])\s+")
_MARKUP_PAIRS = "*_~"
_MARKUP_SINGLE = "*`"


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer, `document.text[start:end]`, inside one passage."""

    hit: Hit
    start: int
    end: int
    text: str
    margin: float
    """How far it beats "no answer in this passage", in the reader's logits."""
    score: float
    """What it is ranked by: the margin plus the weighted search score."""


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer stands, and proof of it."""

    document: str
    """The document's id."""
    title: str
    source: str
    """The file's absolute path."""
    sha256: str
    """Of the file's bytes when it was indexed."""
    start: int
    end: int
    page: int | None
    line: int | None
    quote: str
    """The document's own characters from `start` to `end`."""
    sentence: str
    sentence_start: int
    passage: int
    """The id of the passage in which it was read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with every place that gives it."""

    text: str
    """`citations[0].quote`."""
    confidence: float
    """The probability that it is right, in [0, 1]."""
    score: float
    """What it is ranked by: what the scores of its spans are worth together."""
    signals: Signals
    """What the confidence was made from."""
    citations: tuple[Citation, ...]
    """Best first."""
    disagrees_with: tuple[int, ...] = ()
    """Positions of the answers that contradict it."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long each stage took."""

    search: float
    read: float
    total: float


@dataclass(frozen=True, slots=True)
class IndexState:
    """What answered."""

    generation: int
    encoder: str
    reader: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the documents say to a question."""

    question: str
    answers: tuple[Answer, ...]
    """Best first, also those below the threshold."""
    threshold: float
    hits: tuple[Hit, ...]
    """The passages that were read."""
    seconds: Seconds
    index: IndexState

    @property
    def answered(self) -> bool:
        """Whether the best answer is sure enough to be given."""
        return bool(self.answers) and self.answers[0].confidence >= self.threshold

    @property
    def disagreement(self) -> bool:
        """Whether answers contradict each other."""
        return any(answer.disagrees_with for answer in self.answers)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An answer before it is cited, which most are not worth."""

    spans: tuple[Span, ...]
    """Every place that is cited for it, best first."""
    score: float
    signals: Signals

    @property
    def text(self) -> str:
        return self.spans[0].text

    @property
    def documents(self) -> set[str]:
        return {span.hit.passage.document_id for span in self.spans}


class Pipeline:
    """One generation of an index, open for questions."""

    def __init__(
        self, snapshot: Snapshot, search: Search, reader: Reader, calibration: Calibration
    ) -> None:
        self._snapshot = snapshot
        self._search = search
        self._reader = reader
        self._calibration = calibration
        self._document = lru_cache(maxsize=64)(snapshot.document)
        recipe = snapshot.recipe
        self._state = IndexState(snapshot.generation, str(recipe.encoder), str(recipe.reader))

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        models: str | None = None,
        workers: int | None = None,
        dense_weight: float | None = None,
    ) -> Self:
        """The pipeline over the index in the folder.

        Args:
            folder: where the index lies; it is never written to.
            models: as in `--models`; by default what the index remembers.
            workers: how many passages are read at once; all cores by default.
            dense_weight: of the search by meaning, in [0, 1]; by default the index's own.

        Raises:
            NoIndexError: there is no index.
            RecipeError: it was made with other models.
            DamagedIndexError: a part of it is broken.
        """
        stages = Stages()
        with stages("snapshot"):
            snapshot = Snapshot.open(Path(folder))
        try:
            with stages("models"):
                pair = model_pair(models or snapshot.recipe.models)
                encoder = open_encoder(pair.encoder, fallback=Path(folder), workers=workers)
                reader = export(pair.reader, "reader", fallback=Path(folder), workers=workers)
            snapshot.require_models(encoder=encoder.identity, reader=reader.identity)
            calibration = (
                Calibration.load(pair.reader.folder / "calibration.json")
                if snapshot.calibration is None
                else Calibration.loads(snapshot.calibration, f"what is kept in {folder}")
            )
            # The reader loads while the indexes open and the question is searched for.
            Thread(target=reader.warm).start()
            with stages("indexes"):
                search = Search.open(snapshot, encoder, dense_weight=dense_weight)
            where, generation = Path(folder).absolute(), snapshot.generation
            event("opened", index=where, generation=generation, seconds=stages.seconds)
            return cls(snapshot, search, Reader(reader), calibration)
        except BaseException:
            snapshot.close()
            raise

    def ask(
        self,
        question: str,
        *,
        answers: int = 5,
        read: int = 10,
        min_confidence: float | None = None,
        within: Sequence[str] = (),
        search_for: str | None = None,
    ) -> Result:
        """What the documents say to the question.

        Args:
            question: in plain words.
            answers: how many answers to return, at most.
            read: how many passages to read.
            min_confidence: the threshold in [0, 1] instead of the fitted one.
            within: paths of files and folders, or what else names documents; these alone
                are asked. Empty means all.
            search_for: what to search for instead of the question, which then is only read.

        Raises:
            InputError: the question is blank, a number makes no sense, or a name fits nothing.
        """
        question = _checked(question, answers, read, min_confidence)
        documents = self._snapshot.named(within)
        stages = Stages()
        with stages("search"):
            hits = self._search.search(search_for or question, read, documents if within else None)
        with stages("read"):
            spans = self.spans(question, hits)
        with stages("pool"):
            candidates = _exact_first(_candidates(question, spans), question)[:answers]
            found = _contradicting([self._answer(each) for each in candidates], question)
        seconds = stages.seconds
        result = Result(
            question=question,
            answers=found,
            threshold=self._calibration.threshold if min_confidence is None else min_confidence,
            hits=tuple(hits),
            seconds=Seconds(
                seconds["search"], seconds["read"] + seconds["pool"], sum(seconds.values())
            ),
            index=self._state,
        )
        event(
            "asked",
            question=question,
            searched_for=search_for,
            answered=result.answered,
            confidence=found[0].confidence if found else None,
            threshold=result.threshold,
            passages=len(hits),
            generation=self._state.generation,
            seconds={**seconds, "total": result.seconds.total},
        )
        return result

    def spans(self, question: str, hits: Sequence[Hit]) -> list[Span]:
        """The candidate answers in these passages, best first, none overlapping another."""
        readings = self._reader.read(
            question, [hit.passage.text for hit in hits], n=_SPANS_PER_PASSAGE
        )
        candidates = [
            span
            for hit, found in zip(hits, readings, strict=True)
            for scored in found
            if (span := self._span(hit, scored)) is not None
        ]
        candidates.sort(key=lambda s: (-s.score, s.hit.passage.document_id, s.start, s.end))
        kept: list[Span] = []
        taken: defaultdict[str, list[Span]] = defaultdict(list)
        for span in candidates:
            others = taken[span.hit.passage.document_id]
            if all(span.end <= other.start or other.end <= span.start for other in others):
                kept.append(span)
                others.append(span)
        return kept

    # What follows lets a stage be looked at by itself, for measuring and explaining.

    @property
    def snapshot(self) -> Snapshot:
        """The generation of the index that answers."""
        return self._snapshot

    @property
    def threshold(self) -> float:
        """The confidence from which an answer is given, unless told otherwise."""
        return self._calibration.threshold

    @property
    def reader(self) -> Reader:
        """What reads the passages."""
        return self._reader

    def document(self, id_: str) -> Document:
        """The document with this id; the last ones asked for are kept."""
        return self._document(id_)

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` best passages, as `ask` finds them."""
        return self._search.search(_checked(question, 1, k, None), k)

    def renewed(self) -> Self:
        """The pipeline over the same index as it is now, with the models that are loaded."""
        snapshot = Snapshot.open(self._snapshot.folder)
        try:
            recipe, encoder = self._snapshot.recipe, self._search.encoder
            snapshot.require_models(encoder=recipe.encoder, reader=recipe.reader)
            search = Search.open(snapshot, encoder)
            kept = snapshot.calibration
            calibration = Calibration.loads(kept, "the index") if kept else self._calibration
            return type(self)(snapshot, search, self._reader, calibration)
        except BaseException:
            snapshot.close()
            raise

    def close(self) -> None:
        """Let go of the index."""
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _span(self, hit: Hit, scored: ScoredSpan) -> Span | None:
        """The scored span in the document's own offsets, trimmed.

        None when nothing is left of it, or when it reaches into another paragraph or
        cell: two answers and the gap between them are no answer.
        """
        passage = hit.passage
        document = self._document(passage.document_id)
        start, end = _trimmed(
            passage.text, scored.start, scored.end, markdown=document.kind == "markdown"
        )
        if start == end or _crosses(document, passage.start + start, passage.start + end):
            return None
        return Span(
            hit,
            passage.start + start,
            passage.start + end,
            passage.text[start:end],
            scored.margin,
            scored.margin + SEARCH_WEIGHT * hit.score,
        )

    def _answer(self, candidate: _Candidate) -> Answer:
        return Answer(
            text=candidate.text,
            confidence=self._calibration.confidence(candidate.signals),
            score=candidate.score,
            signals=candidate.signals,
            citations=tuple(
                _cite(self._document(span.hit.passage.document_id), span)
                for span in candidate.spans
            ),
        )


def _candidates(question: str, spans: Sequence[Span]) -> list[_Candidate]:
    """What the spans say, each answer once with every place that gives it; best first."""
    spans = spans[:_SPANS_COMPARED]
    groups = pooled(spans, [span.text for span in spans], question)
    scored = sorted(((_pooled_score(group), group) for group in groups), key=lambda pair: -pair[0])
    best, second = [score for score, _ in scored[:2]] + [-math.inf] * (2 - len(scored[:2]))
    return [
        _candidate(group, score, lead=score - (second if number == 0 else best))
        for number, (score, group) in enumerate(scored)
    ]


def _candidate(group: Sequence[Span], score: float, lead: float) -> _Candidate:
    best = group[0]
    signals = Signals.of(
        margin=best.margin, search=best.hit.score, lead=lead, support=score - best.score
    )
    cited = (span for span in group if span.margin >= best.margin - _CITATION_MARGIN)
    return _Candidate(tuple(cited), score, signals)


def _checked(question: str, answers: int, read: int, min_confidence: float | None) -> str:
    if not question.strip():
        raise InputError('the question is blank; ask something, such as "Who wrote the report?"')
    if answers < 1 or read < 1:
        raise InputError(f"{min(answers, read)} is too few: --answers and --read start at 1")
    if min_confidence is not None and not 0.0 <= min_confidence <= 1.0:
        raise InputError(f"--min-confidence {min_confidence}: expected a number from 0 to 1")
    # A lone surrogate, which a terminal can pass on, is no character to any tokenizer.
    return _SURROGATE.sub("\ufffd", question.strip())


def _crosses(document: Document, start: int, end: int) -> bool:
    """Whether `document.text[start:end]` begins in one paragraph or table cell and ends in another.

    The cells of a row that is a document begin where its lines are anchored; in
    other tables they are parted as the loaders part them.
    """
    if PARAGRAPH_END.search(document.text, start, end):
        return True
    if document.row is not None:
        return any(start < at < end for at, _ in document.line_anchors)
    return document.kind in _WITH_TABLES and CELL_END in document.text[start:end]


def _trimmed(text: str, start: int, end: int, *, markdown: bool) -> tuple[int, int]:
    """The span without white space at its ends, nor Markdown's own signs."""
    while True:
        quote = text[start:end]
        left = len(quote) - len(quote.lstrip())
        right = len(quote.rstrip())
        quote = quote[left:right]
        start, end = start + left, start + max(left, right)
        if not markdown or not quote:
            return start, end
        if match := _LINE_MARKUP.match(quote):
            start += match.end()
        elif len(quote) > 1 and quote[0] == quote[-1] == "`":
            return start + 1, end - 1  # Inside, everything is meant.
        elif len(quote) > 1 and quote[0] == quote[-1] and quote[0] in _MARKUP_PAIRS:
            start, end = start + 1, end - 1
        elif quote[0] in _MARKUP_SINGLE:
            start += 1
        elif quote[-1] in _MARKUP_SINGLE or quote.endswith(" |"):
            end -= 1
        else:
            return start, end


def _pooled_score(group: Sequence[Span]) -> float:
    """What several places that say the same are worth together, in logits; best first.

    Their probabilities are added, as far as scores are the logarithms of such: the
    temperature is about the inverse of the slope that confidence has on scores.
    """
    best = group[0].score
    relative = sum(math.exp((span.score - best) / POOLING_TEMPERATURE) for span in group)
    return best + POOLING_TEMPERATURE * math.log(relative)


def _exact_first(answers: list[_Candidate], question: str) -> list[_Candidate]:
    """The answers, an exact amount before a rough one of another document that covers it.

    "Nearly five dozen" is no reason to doubt 58, but evidence for it: 58 is as
    probable then, and says more.
    """
    if not answers or not is_rough(answers[0].text):
        return answers
    rough = answers[0]
    for number, other in enumerate(answers[1:], 1):
        if (
            _answers_too(other.signals, rough.documents, other.documents)
            and is_exact(other.text)
            and relation(rough.text, other.text, question) is Relation.COMPATIBLE
        ):
            exact = replace(other, score=rough.score, signals=rough.signals)
            return [exact, *answers[:number], *answers[number + 1 :]]
    return answers


def _contradicting(answers: Sequence[Answer], question: str) -> tuple[Answer, ...]:
    """The answers, the best and those that contradict it told of each other.

    Of one document's contradictions the best alone counts: it does not contradict itself.
    """
    if not answers or answers[0].confidence < _LEAST_DISPUTED:
        return tuple(answers)
    best = answers[0]
    spoken = _documents(best)
    against: list[int] = []
    heard: set[str] = set()
    for number, other in enumerate(answers[1:], 1):
        documents = _documents(other)
        near = are_near(best.text, other.text)
        margin = _NEAR_RIVAL_MARGIN if near else _RIVAL_MARGIN
        if (
            heard.isdisjoint(documents)
            and (near or best.confidence < _CERTAIN or other.confidence >= _CHANCE)
            and _answers_too(other.signals, spoken, documents, margin)
            and relation(best.text, other.text, question) is Relation.INCOMPATIBLE
        ):
            against.append(number)
            heard |= documents
    told = {0: tuple(against), **dict.fromkeys(against, (0,))}
    return tuple(
        replace(answer, disagrees_with=told.get(number, ()))
        for number, answer in enumerate(answers)
    )


def _documents(answer: Answer) -> set[str]:
    return {citation.document for citation in answer.citations}


def _answers_too(
    signals: Signals, best: set[str], other: set[str], margin: float = _RIVAL_MARGIN
) -> bool:
    """Whether another document answers the question by itself, if less surely.

    One document that says two things does so knowingly; and a passage that hardly
    answers the question is about something else.

    Args:
        signals: of the other answer.
        best: the documents that give the best answer.
        other: those that give the other one.
        margin: what its margin is to be at least.
    """
    return signals.margin >= margin and signals.search >= _RIVAL_SEARCH and best.isdisjoint(other)


def _cite(document: Document, span: Span) -> Citation:
    quote = document.text[span.start : span.end]
    if quote != span.text:
        raise AssertionError(
            f"the index is inconsistent: {document.source} has {quote!r} at"
            f" {span.start}:{span.end} where {span.text!r} was read"
        )
    sentence_start, sentence_end = sentence_around(document.text, span.start, span.end)
    return Citation(
        document=document.id,
        title=document.title,
        source=str(document.source),
        sha256=document.sha256,
        start=span.start,
        end=span.end,
        page=document.page(span.start),
        line=document.line(span.start),
        quote=quote,
        sentence=document.text[sentence_start:sentence_end],
        sentence_start=sentence_start,
        passage=span.hit.passage.id,
    )

"""A question in, cited answers out: search, read, compare spans across passages, cite."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

from corpus.errors import InputError, ModelError
from corpus.log import Stages, event
from corpus.records import Document
from corpus.split import sentence_around
from corpus.store import Snapshot
from corpus.text import whole
from embeddings.encoder import open_encoder
from embeddings.exports import export
from embeddings.runtime import ExportedModel
from embeddings.search import Hit, Search
from qa.calibration import Calibration
from qa.ranking import Candidate, candidates, contradicting, exact_first, without_overlaps
from qa.reader import Reader
from qa.results import Answer, Citation, IndexState, Result, Seconds, Span
from qa.settings import SEARCH_WEIGHT, model_pair
from qa.spans import ScoredSpan
from qa.trimming import crosses, trimmed

__all__ = ["Pipeline"]

_SPANS_PER_PASSAGE = 20
"""So many because most of them are the best one with a word more or less, and fall away."""

_COMPARED = 5
"""So many of the best answers are held against each other, however many are wanted."""


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
            Thread(target=_warmed, args=(reader,)).start()
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
            ranked = exact_first(candidates(question, spans), question)
            best = [self._answer(each) for each in ranked[: max(answers, _COMPARED)]]
            compared = contradicting(best[:_COMPARED], question)
            found = tuple(_among(answers, [*compared, *best[_COMPARED:]]))
        seconds = stages.seconds
        result = Result(
            question=question,
            answers=found,
            threshold=self._calibration.threshold if min_confidence is None else min_confidence,
            disagreement=any(answer.disagrees_with for answer in compared),
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
        return without_overlaps(
            span
            for hit, found in zip(hits, readings, strict=True)
            for scored in found
            if (span := self._span(hit, scored)) is not None
        )

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
            search = Search.open(snapshot, encoder, dense_weight=self._search.dense_weight)
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
        start, end = trimmed(
            passage.text, scored.start, scored.end, markdown=document.kind == "markdown"
        )
        if start == end or crosses(document, passage.start + start, passage.start + end):
            return None
        return Span(
            hit,
            passage.start + start,
            passage.start + end,
            passage.text[start:end],
            scored.margin,
            scored.margin + SEARCH_WEIGHT * hit.score,
        )

    def _answer(self, candidate: Candidate) -> Answer:
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


def _warmed(reader: ExportedModel) -> None:
    """Load it ahead; where that fails, whoever reads first is told."""
    with suppress(ModelError):
        reader.warm()


def _checked(question: str, answers: int, read: int, min_confidence: float | None) -> str:
    if not question.strip():
        raise InputError('the question is blank; ask something, such as "Who wrote the report?"')
    if answers < 1 or read < 1:
        raise InputError(f"{min(answers, read)} is too few: --answers and --read start at 1")
    if min_confidence is not None and not 0.0 <= min_confidence <= 1.0:
        raise InputError(f"--min-confidence {min_confidence}: expected a number from 0 to 1")
    # A lone surrogate, which a terminal can pass on, is no character to any tokenizer.
    return whole(question.strip())


def _among(n: int, answers: Sequence[Answer]) -> Iterator[Answer]:
    """The first `n`, none of them said to contradict one that is not among them."""
    for answer in answers[:n]:
        against = tuple(number for number in answer.disagrees_with if number < n)
        yield replace(answer, disagrees_with=against)


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

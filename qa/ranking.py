"""Which answer comes first, and which contradict it: spans of many passages compared."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qa.calibration import Signals
from qa.pooling import Relation, are_near, is_exact, is_rough, pooled, relation
from qa.results import Answer, Span
from qa.settings import POOLING_TEMPERATURE

__all__ = ["Candidate", "candidates", "contradicting", "exact_first", "without_overlaps"]

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
_EXACT_SEARCH = 0.3
"""An exact amount that a rough best answer covers has at least this search score: what agrees
need not be found as well as what contradicts. A judgement; on the sample it changes nothing."""
_CERTAIN, _CHANCE = 0.93, 0.08
"""What is so probable is contradicted only by what is near, or at least so probable. All but the
margin of near ones were chosen on one half of the sample's gold questions."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer before it is cited, which most are not worth."""

    spans: tuple[Span, ...]
    """Every place that is cited for it, best first."""
    score: float
    signals: Signals

    @property
    def text(self) -> str:
        """What it says, as it stands in the best place."""
        return self.spans[0].text

    @property
    def documents(self) -> set[str]:
        """The documents that give it, by id."""
        return {span.hit.passage.document_id for span in self.spans}


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """The spans, best first, but for those that overlap a better one of the same document."""
    kept: list[Span] = []
    taken: defaultdict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda s: (-s.score, s.hit.passage.document_id, s.start, s.end)):
        others = taken[span.hit.passage.document_id]
        if all(span.end <= other.start or other.end <= span.start for other in others):
            kept.append(span)
            others.append(span)
    return kept


def candidates(question: str, spans: Sequence[Span]) -> list[Candidate]:
    """What the spans say, each answer once with every place that gives it; best first.

    Args:
        question: what was asked, which decides what says the same.
        spans: best first.
    """
    spans = spans[:_SPANS_COMPARED]
    groups = pooled(spans, [span.text for span in spans], question)
    ranked = sorted(((_pooled_score(group), group) for group in groups), key=lambda pair: -pair[0])
    # Nothing rivals an answer that stands alone.
    scores = [*(score for score, _ in ranked), -math.inf]
    return [
        _candidate(group, score, lead=score - scores[1 if number == 0 else 0])
        for number, (score, group) in enumerate(ranked)
    ]


def _candidate(group: Sequence[Span], score: float, lead: float) -> Candidate:
    best = group[0]
    signals = Signals.of(
        margin=best.margin, search=best.hit.score, lead=lead, support=score - best.score
    )
    cited = (span for span in group if span.margin >= best.margin - _CITATION_MARGIN)
    return Candidate(tuple(cited), score, signals)


def _pooled_score(group: Sequence[Span]) -> float:
    """What several places that say the same are worth together, in logits; best first.

    Their probabilities are added, as far as scores are the logarithms of such: the
    temperature is about the inverse of the slope that confidence has on scores.
    """
    best = group[0].score
    relative = sum(math.exp((span.score - best) / POOLING_TEMPERATURE) for span in group)
    return best + POOLING_TEMPERATURE * math.log(relative)


def exact_first(answers: list[Candidate], question: str) -> list[Candidate]:
    """The answers, an exact amount before a rough one of another document that covers it.

    "Nearly five dozen" is no reason to doubt 58, but evidence for it: 58 is as
    probable then, and says more.
    """
    if not answers or not is_rough(answers[0].text):
        return answers
    rough = answers[0]
    for number, other in enumerate(answers[1:], 1):
        if (
            _answers_too(other.signals, rough.documents, other.documents, search=_EXACT_SEARCH)
            and is_exact(other.text)
            and relation(rough.text, other.text, question) is Relation.COMPATIBLE
        ):
            exact = replace(other, score=rough.score, signals=rough.signals)
            return [exact, *answers[:number], *answers[number + 1 :]]
    return answers


def contradicting(answers: Sequence[Answer], question: str) -> tuple[Answer, ...]:
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
    signals: Signals,
    best: set[str],
    other: set[str],
    margin: float = _RIVAL_MARGIN,
    search: float = _RIVAL_SEARCH,
) -> bool:
    """Whether another document answers the question by itself, if less surely.

    One document that says two things does so knowingly; and a passage that hardly
    answers the question is about something else.

    Args:
        signals: of the other answer.
        best: the documents that give the best answer.
        other: those that give the other one.
        margin: what its margin is to be at least.
        search: the same of its search score.
    """
    return signals.margin >= margin and signals.search >= search and best.isdisjoint(other)

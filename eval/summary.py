"""From outcomes to figures: a whole run as one JSON object.

Exact match and F1, the figures whose names end in `em` and `f1`, are in percent, as is
the custom since SQuAD; every other figure is in [0, 1].
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from eval.causes import CAUSES, RIGHT_F1
from eval.metrics import (
    Auroc,
    BestThreshold,
    CalibrationError,
    Mean,
    RiskCoverageArea,
    Statistic,
    reciprocal_rank,
)
from eval.run import NDCG_AT, Outcome
from eval.statistics import RESAMPLES, SEED, figures
from qa.answers import exact_match, f1

__all__ = [
    "METRICS",
    "RECALL_AT",
    "Metric",
    "Run",
    "means_at",
    "metrics_of",
    "record",
    "rightness",
    "run_json",
    "search_alone",
    "unit_drawn",
]

Run: TypeAlias = dict[str, Any]
"""What `citespan eval --json` prints."""

Stage: TypeAlias = Literal[
    "search", "reader alone", "end to end", "saying nothing", "confidence", "disagreement"
]
DISAGREEMENT = "disagreement"
"""The tag of questions on which the documents contradict each other."""
QUESTION_WORDS = ("who", "whose", "whom", "what", "which", "when", "where", "why", "how many",
                  "how much", "how long", "how")  # fmt: skip
_SLICES = 40
"""So many of a kind at most, the largest: tags may be thousands."""
_SLICE_RESAMPLES = 1000
"""Fewer than for the whole: a slice's interval is wide, and there may be a hundred of them."""
RECALL_AT = (1, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that is the mean of one value a question."""

    name: str
    stage: Stage
    label: str
    of: Callable[[Mapping[str, Any]], float | None]
    """The value of a question's record; None where the figure does not concern it."""
    percent: bool = False
    higher_is_better: bool = True
    of_documents: str = ""
    """The label where whole documents are searched for, if that is another one."""


def _if(condition: Any, value: Any) -> float | None:
    return float(value) if condition else None


def _within(rank: int | None, k: int) -> bool:
    return rank is not None and rank <= k


def _recalled(question: Mapping[str, Any], k: int) -> float:
    """The share of the relevant documents among the first `k`; elsewhere one place is enough."""
    if question["n_relevant"] is None:
        return _within(question["hit_rank"], k)
    found = sum(rank <= k for rank in question["relevant_ranks"])
    return found / question["n_relevant"] if found else 0.0


def _recall(k: int) -> list[Metric]:
    first = "the first passage" if k == 1 else f"one of the first {k} passages"
    return [
        Metric(
            f"recall@{k}", "search", f"{first} holds a whole gold span",
            lambda q: _if(q["placed"], _recalled(q, k)),
            of_documents=f"share of the relevant documents among the first {k}",
        ),
        Metric(
            f"document_recall@{k}", "search", f"{first} is of a right document",
            lambda q: _if(q["placed"] and q["read"], _within(q["document_rank"], k)),
        ),
    ]  # fmt: skip


_MRR = Metric(
    "mrr", "search", "1 / rank of the first passage that holds a gold span",
    lambda q: _if(q["placed"], reciprocal_rank(q["hit_rank"])),
    of_documents="1 / rank of the first relevant document",
)  # fmt: skip
_NDCG = Metric(
    f"ndcg@{NDCG_AT}", "search", f"gain of the first {NDCG_AT} passages, discounted",
    lambda q: q["ndcg"],
    of_documents=f"gain of the first {NDCG_AT} documents, discounted",
)  # fmt: skip


def means_at(k: int) -> list[Metric]:
    """The figures that are means, for runs that look at `k` passages."""
    return [
        *(metric for at in RECALL_AT if at <= k for metric in _recall(at)),
        _MRR,
        *([_NDCG] if k >= NDCG_AT else []),
        Metric("reader_em", "reader alone", "exact match, given the right paragraph",
               lambda q: q["reader_em"], percent=True),
        Metric("reader_f1", "reader alone", "F1, given the right paragraph",
               lambda q: q["reader_f1"], percent=True),
        Metric("always_em", "end to end", "exact match of the best answer, given or not",
               lambda q: _if(q["golds"] and q["read"], q["best_em"]), percent=True),
        Metric("always_f1", "end to end", "F1 of the best answer, given or not",
               lambda q: _if(q["golds"] and q["read"], q["best_f1"]), percent=True),
        Metric("em", "end to end", "exact match, all questions; saying nothing counts",
               lambda q: _if(q["read"], q["em"]), percent=True),
        Metric("f1", "end to end", "F1, all questions; saying nothing counts",
               lambda q: _if(q["read"], q["f1"]), percent=True),
        Metric("has_answer_em", "end to end", "exact match, answerable questions",
               lambda q: _if(q["golds"] and q["read"], q["em"]), percent=True),
        Metric("has_answer_f1", "end to end", "F1, answerable questions",
               lambda q: _if(q["golds"] and q["read"], q["f1"]), percent=True),
        Metric("no_answer_em", "end to end", "unanswerable questions for which it says so",
               lambda q: _if(not q["golds"] and q["read"], q["em"]), percent=True),
        Metric("citation", "end to end", "answers given whose citation overlaps a gold span",
               lambda q: _if(q["answered"] and q["cited"] is not None, q["cited"])),
        Metric("abstention_precision", "saying nothing", "unanswerable among the unanswered",
               lambda q: _if(q["read"] and not q["answered"], not q["golds"])),
        Metric("abstention_recall", "saying nothing", "unanswered among the unanswerable",
               lambda q: _if(q["read"] and not q["golds"], not q["answered"])),
    ]  # fmt: skip


_OF_DISAGREEMENT = [
    Metric("disagreement_precision", "disagreement", "tagged among those said to disagree",
           lambda q: _if(q["disagreement"], DISAGREEMENT in q["tags"])),
    Metric("disagreement_recall", "disagreement", "said to disagree among those tagged",
           lambda q: _if(DISAGREEMENT in q["tags"], q["disagreement"])),
]  # fmt: skip


def _no_mean(
    name: str, stage: Stage, label: str, *, percent: bool = False, higher_is_better: bool = True
) -> Metric:
    """A figure that is made of all questions together, and of none by itself."""
    return Metric(name, stage, label, lambda _: None, percent, higher_is_better)


_OF_CONFIDENCE = [
    _no_mean("best_threshold_em", "end to end", "exact match at the best threshold", percent=True),
    _no_mean("best_threshold_f1", "end to end", "F1 at the best threshold", percent=True),
    _no_mean("calibration_error", "confidence", "distance of confidence from truth (ECE)",
             higher_is_better=False),
    _no_mean("brier", "confidence", "squared distance, question by question",
             higher_is_better=False),
    _no_mean("auroc", "confidence", "a right answer is surer than a wrong one"),
    _no_mean("risk_coverage_area", "confidence", "wrong among the surest, over all shares",
             higher_is_better=False),
]  # fmt: skip

_STAGES = get_args(Stage)
METRICS = [*means_at(max(RECALL_AT)), *_OF_CONFIDENCE, *_OF_DISAGREEMENT]
METRICS.sort(key=lambda metric: _STAGES.index(metric.stage))
"""Every figure there can be, in the order in which they are shown."""


def metrics_of(run: Run) -> list[Metric]:
    """Every figure there can be, as it is to be understood in this run.

    Where nothing was searched, all is the reader's; where nothing was read, whole
    documents were searched for.
    """
    metrics = METRICS
    if run["settings"]["reader_only"]:
        metrics = [
            replace(m, stage="reader alone") if m.stage == "end to end" else m for m in metrics
        ]
    if search_alone(run):
        metrics = [replace(m, label=m.of_documents or m.label) for m in metrics]
    return metrics


def search_alone(run: Run) -> bool:
    """Whether nothing was read."""
    return not any(question["read"] for question in run["questions"])


def unit_drawn(run: Run) -> Literal["documents", "questions"]:
    """What is drawn for intervals: documents, or questions where no two share one."""
    return "questions" if run["settings"]["clusters"] == len(run["questions"]) else "documents"


def record(outcome: Outcome) -> dict[str, Any]:
    """The question as `--json` prints it; exact match and F1 are in percent."""
    prediction = outcome.prediction
    return {
        "id": outcome.id,
        "question": outcome.question,
        "golds": list(outcome.golds),
        "prediction": prediction,
        "em": 100 * exact_match(prediction, outcome.golds),
        "f1": 100 * f1(prediction, outcome.golds),
        "confidence": outcome.confidence,
        "cause": outcome.cause,
        "answered": outcome.answered,
        "best": outcome.best,
        "best_em": 100 * outcome.em,
        "best_f1": 100 * outcome.f1,
        "read": outcome.read,
        "placed": outcome.placed,
        "hit_rank": outcome.hit_rank,
        "document_rank": outcome.document_rank,
        "ndcg": outcome.ndcg,
        "relevant_ranks": list(outcome.relevant_ranks),
        "n_relevant": outcome.n_relevant,
        "reader_answer": outcome.alone,
        "reader_em": None if outcome.alone_em is None else 100 * outcome.alone_em,
        "reader_f1": None if outcome.alone_f1 is None else 100 * outcome.alone_f1,
        "cited": outcome.cited,
        "disagreement": outcome.disagreement,
        "tags": list(outcome.tags),
        "type": outcome.kind,
        "cluster": outcome.cluster,
        "seconds": outcome.seconds,
        "answer_shown": asdict(outcome.answer_shown) if outcome.answer_shown else None,
        "gold_shown": asdict(outcome.gold_shown) if outcome.gold_shown else None,
    }


def run_json(outcomes: Sequence[Outcome], settings: dict[str, Any]) -> Run:
    """A whole run: `summary`, `causes`, `slices`, `questions`, `settings`, `seconds`."""
    questions = [record(outcome) for outcome in outcomes]
    statistics, threshold = _statistics(questions, settings["read"])
    clusters = [question["cluster"] for question in questions]
    found = figures(statistics, clusters)
    counts = Counter(question["cause"] for question in questions)
    seconds = sorted(question["seconds"] for question in questions)
    total = sum(seconds)
    return {
        "summary": {name: asdict(figure) for name, figure in found.items()},
        "causes": {cause: counts[cause] for cause in CAUSES},
        "slices": _slices(questions, settings["read"]),
        "questions": questions,
        "settings": {
            **settings,
            "best_threshold": threshold,
            "clusters": len(set(clusters)),
            "resamples": RESAMPLES,
            "seed": SEED,
        },
        "seconds": {
            "p50": float(np.quantile(seconds, 0.5)) if seconds else None,
            "p95": float(np.quantile(seconds, 0.95)) if seconds else None,
            "total": total,
            "questions_per_second": len(seconds) / total if total else None,
        },
    }


def rightness(question: Mapping[str, Any]) -> float:
    """Whether the question's best answer is right, in {0, 1}: what its confidence is about."""
    return float(bool(question["golds"]) and question["best_f1"] >= 100 * RIGHT_F1)


def _statistics(
    questions: Sequence[Mapping[str, Any]], read: int
) -> tuple[dict[str, Statistic], float | None]:
    """Every figure that these questions allow, and the best threshold."""
    metrics = means_at(read)
    if any(DISAGREEMENT in question["tags"] for question in questions):
        metrics += _OF_DISAGREEMENT
    means: dict[str, Statistic] = {m.name: _mean(m, questions) for m in metrics}
    if not questions or not all(question["read"] for question in questions):
        return means, None
    sure = [question["confidence"] for question in questions]
    right = [rightness(question) for question in questions]
    withheld = [0.0 if question["golds"] else 100.0 for question in questions]
    given_f1 = [q["best_f1"] if q["golds"] or not q["best"] else 0.0 for q in questions]
    given_em = [q["best_em"] if q["golds"] or not q["best"] else 0.0 for q in questions]
    best = BestThreshold(sure, given_f1, withheld)
    means |= {
        "best_threshold_em": BestThreshold(sure, given_em, withheld),
        "best_threshold_f1": best,
        "calibration_error": CalibrationError(sure, right),
        "brier": Mean((np.asarray(sure) - np.asarray(right)) ** 2),
        "auroc": Auroc(sure, right),
        "risk_coverage_area": RiskCoverageArea(sure, right),
    }
    threshold = best.threshold()
    return means, threshold if np.isfinite(threshold) else None


def _mean(metric: Metric, questions: Sequence[Mapping[str, Any]]) -> Mean:
    values = (metric.of(question) for question in questions)
    return Mean([np.nan if value is None else value for value in values])


def _slices(questions: Sequence[dict[str, Any]], read: int) -> dict[str, dict[str, Any]]:
    """Some figures for parts of the questions: by question word, tag, answer length, format."""
    parts: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for question in questions:
        for kind, name in _parts(question):
            parts.setdefault(kind, {}).setdefault(name, []).append(question)
    chosen = [m for m in means_at(read) if m.name in {"f1", "always_f1", "recall@5", "reader_f1"}]
    slices: dict[str, dict[str, Any]] = {}
    for kind, named in parts.items():
        slices[kind] = {}
        largest = sorted(named.items(), key=lambda item: (-len(item[1]), item[0]))
        for name, members in largest[:_SLICES]:
            clusters = [question["cluster"] for question in members]
            found = figures(
                {m.name: _mean(m, members) for m in chosen}, clusters, resamples=_SLICE_RESAMPLES
            )
            values = {metric: asdict(figure) for metric, figure in found.items()}
            slices[kind][name] = {"n": len(members), **values}
    return slices


def _parts(question: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The slices that a question belongs to."""
    words = re.findall(r"\w+", question["question"].casefold())
    text = f" {' '.join(words)} "
    # "In which year" asks with "which": the first question word in the sentence.
    asked = [(text.find(f" {w} "), -len(w), w) for w in QUESTION_WORDS if f" {w} " in text]
    parts = [("question word", min(asked)[2] if asked else "other")]
    parts += [("tag", tag) for tag in question["tags"]]
    if question["golds"]:
        length = min(len(gold.split()) for gold in question["golds"])
        named = "1 word" if length == 1 else "2 or 3 words" if length <= 3 else "4 or more words"
        parts.append(("answer length", named))
    else:
        parts.append(("answer length", "no answer"))
    if question["type"]:
        parts.append(("document type", question["type"]))
    return parts

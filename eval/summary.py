"""From outcomes to figures: a whole run as one JSON object, and two runs compared.

`em` and `f1` are in percent, as is the custom since SQuAD; every other figure is
in [0, 1].
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from corpus.errors import InputError
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
from eval.statistics import RESAMPLES, SEED, figures, paired_test
from qa.answers import exact_match, f1

__all__ = [
    "METRICS",
    "Metric",
    "Run",
    "compare",
    "failures",
    "read_run",
    "requirements",
    "run_json",
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
_RECALL_AT = (1, 3, 5, 10, 20, 50, 100)


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


def _if(condition: Any, value: Any) -> float | None:
    return float(value) if condition else None


def _within(rank: int | None, k: int) -> bool:
    return rank is not None and rank <= k


def _recall(k: int) -> list[Metric]:
    first = "the first passage" if k == 1 else f"one of the first {k} passages"
    return [
        Metric(
            f"recall@{k}", "search", f"{first} holds a whole gold span",
            lambda q: _if(q["placed"], _within(q["hit_rank"], k)),
        ),
        Metric(
            f"document_recall@{k}", "search", f"{first} is of a right document",
            lambda q: _if(q["placed"], _within(q["document_rank"], k)),
        ),
    ]  # fmt: skip


def _metrics(k: int) -> list[Metric]:
    """The figures that are means, for runs that look at `k` passages."""
    return [
        *(metric for at in _RECALL_AT if at <= k for metric in _recall(at)),
        Metric("mrr", "search", "1 / rank of the first passage that holds a gold span",
               lambda q: _if(q["placed"], reciprocal_rank(q["hit_rank"]))),
        Metric(f"ndcg@{NDCG_AT}", "search", f"gain of the first {NDCG_AT} passages, discounted",
               lambda q: q["ndcg"]),
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
               lambda q: _if(q["answered"] and (q["placed"] or not q["golds"]), q["cited"])),
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

_OF_CONFIDENCE: list[tuple[str, Stage, str, bool, bool]] = [
    ("best_threshold_em", "end to end", "exact match at the best threshold", True, True),
    ("best_threshold_f1", "end to end", "F1 at the best threshold", True, True),
    ("calibration_error", "confidence", "distance of confidence from truth (ECE)", False, False),
    ("brier", "confidence", "squared distance, question by question", False, False),
    ("auroc", "confidence", "a right answer is surer than a wrong one", False, True),
    ("risk_coverage_area", "confidence", "wrong among the surest, over all shares", False, False),
]

_STAGES = get_args(Stage)
METRICS = [
    *_metrics(max(_RECALL_AT)),
    *(Metric(name, stage, label, lambda _: None, percent, higher)
      for name, stage, label, percent, higher in _OF_CONFIDENCE),
    *_OF_DISAGREEMENT,
]  # fmt: skip
METRICS.sort(key=lambda metric: _STAGES.index(metric.stage))
"""Every figure there can be, in the order in which they are shown."""


def record(outcome: Outcome) -> dict[str, Any]:
    """The question as `--json` prints it; `em` and `f1` are in percent."""
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
        "reader_answer": outcome.alone,
        "reader_em": None if outcome.alone_em is None else 100 * outcome.alone_em,
        "reader_f1": None if outcome.alone_f1 is None else 100 * outcome.alone_f1,
        "cited": bool(outcome.cited),
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
        "summary": {
            name: {"value": f.value, "low": f.low, "high": f.high, "n": f.n}
            for name, f in found.items()
        },
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
    metrics = _metrics(read)
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
    chosen = [m for m in _metrics(read) if m.name in {"f1", "always_f1", "recall@5", "reader_f1"}]
    slices: dict[str, dict[str, Any]] = {}
    for kind, named in parts.items():
        slices[kind] = {}
        largest = sorted(named.items(), key=lambda item: (-len(item[1]), item[0]))
        for name, members in largest[:_SLICES]:
            clusters = [question["cluster"] for question in members]
            found = figures({m.name: _mean(m, members) for m in chosen}, clusters, resamples=1000)
            values = {
                metric: {"value": f.value, "low": f.low, "high": f.high, "n": f.n}
                for metric, f in found.items()
            }
            slices[kind][name] = {"n": len(members), **values}
    return slices


def _parts(question: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The slices that a question belongs to."""
    words = question["question"].casefold().replace(",", " ").split()
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


def read_run(path: Path) -> Run:
    """A run that `citespan eval --json` printed.

    Raises:
        InputError: the file is none.
    """
    hint = "save one with `citespan eval GOLD --json > run.json`"
    try:
        run = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no saved run ({error}); {hint}") from error
    known = set(record(_NOTHING))
    try:
        whole = isinstance(run["summary"], dict) and all(
            known <= question.keys() for question in run["questions"]
        )
    except (LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{path} lacks what a run holds; {hint}, with this version")
    return run  # type: ignore[no-any-return]


_NOTHING = Outcome("", "", (), "", None, 0.0, False, 0.0, 0.0, None, 0.0)


def compare(run: Run, other: Run) -> dict[str, Any]:
    """This run less the other: paired tests of every mean, and the questions that changed.

    Raises:
        InputError: they do not cover the same questions, some of which are named.
    """
    mine = {question["id"]: question for question in run["questions"]}
    theirs = {question["id"]: question for question in other["questions"]}
    for these, those, whose in ((mine, theirs, "the other"), (theirs, mine, "this")):
        if missing := [id_ for id_ in these if id_ not in those]:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise InputError(
                f"{whose} run lacks {len(missing)} questions ({shown}); only runs over the same"
                " questions can be compared: measure both with the same gold"
            )
    for id_, question in mine.items():
        old = theirs[id_]
        if (question["question"], question["golds"]) != (old["question"], old["golds"]):
            raise InputError(
                f"question {id_!r} is not the same in both runs ({question['question']!r} and"
                f" {old['question']!r}, or their answers differ); measure both with the same gold"
            )
    pairs = [(theirs[id_], question) for id_, question in mine.items()]
    read = min(run["settings"]["read"], other["settings"]["read"])
    tests = {}
    for metric in _metrics(read):
        values = [(metric.of(a), metric.of(b), b["cluster"]) for a, b in pairs]
        both = [(a, b, c) for a, b, c in values if a is not None and b is not None]
        # Where what is measured depends on what was answered, there are no pairs to compare.
        if not both or len(both) < sum(a is not None or b is not None for a, b, _ in values):
            continue
        first, second, clusters = zip(*both, strict=True)
        tests[metric.name] = asdict(paired_test(first, second, clusters))
    return {
        "metrics": tests,
        "changed": [_change(a, b) for a, b in pairs if a["prediction"] != b["prediction"]],
    }


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": new["id"],
        "question": new["question"],
        "golds": new["golds"],
        "before": old["prediction"],
        "after": new["prediction"],
        "f1_before": old["f1"],
        "f1_after": new["f1"],
    }


def requirements(text: str) -> dict[str, float]:
    """The least that is asked for, from `f1=70,recall@5=0.9`.

    Raises:
        InputError: a part is not a figure's name, an equals sign and a number.
    """
    known = {metric.name for metric in METRICS}
    wanted: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            wanted[name] = float(number)
        except ValueError:
            raise InputError(
                f"--fail-under {part.strip()!r}: expected a figure and a number, such as"
                " f1=70,recall@5=0.9"
            ) from None
        if name not in known:
            raise InputError(
                f"--fail-under: there is no figure {name!r}; there are {', '.join(sorted(known))}"
            )
    return wanted


def failures(run: Run, wanted: Mapping[str, float]) -> list[str]:
    """What falls short of the least that is asked for; where less is better, what exceeds it.

    Raises:
        InputError: this run does not measure a figure that is asked for.
    """
    better = {metric.name: metric.higher_is_better for metric in METRICS}
    fallen = []
    for name, bound in wanted.items():
        if name not in run["summary"]:
            raise InputError(f"--fail-under: this run does not measure {name!r}")
        value = run["summary"][name]["value"]
        if not (value >= bound if better[name] else value <= bound):
            sign = "below" if better[name] else "above"
            fallen.append(f"{name} is {value:.4g}, {sign} {bound:g}")
    return fallen

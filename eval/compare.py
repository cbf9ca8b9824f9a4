"""Runs that were saved: compared with another, and held to what is asked of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from corpus.errors import InputError
from eval.run import NDCG_AT, Outcome
from eval.statistics import paired_test
from eval.summary import METRICS, Run, means_at, record

__all__ = [
    "Asked",
    "compare",
    "failures",
    "read_run",
    "require_measurable",
    "require_same",
    "requirements",
]

Asked: TypeAlias = Mapping[str, tuple[str, Sequence[str]]]
"""By id, a question and its right answers."""


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
        whole = (
            isinstance(run["summary"], dict)
            and isinstance(run["settings"]["read"], int)
            and all(file["sha256"] for file in run["settings"]["distractors"])
            and all(known <= question.keys() for question in run["questions"])
        )
    except (LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{path} lacks what a run holds; {hint}, with this version")
    return run  # type: ignore[no-any-return]


_NOTHING = Outcome("", "", (), "", 0.0, False, 0.0, 0.0, None, 0.0)


def require_same(asked: Asked, settings: Mapping[str, Any], other: Run) -> None:
    """Make sure that the other run covers these questions and no more, among the same distractors.

    Raises:
        InputError: it does not; some of the questions, or the other distractors, are named.
    """
    theirs = _asked(other)
    for these, those, whose in ((asked, theirs, "the other"), (theirs, asked, "this")):
        if missing := [id_ for id_ in these if id_ not in those]:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise InputError(
                f"{whose} run lacks {len(missing)} questions ({shown}); only runs over the same"
                " questions can be compared: measure both with the same gold"
            )
    for id_, (question, golds) in asked.items():
        old, old_golds = theirs[id_]
        if (question, list(golds)) != (old, list(old_golds)):
            raise InputError(
                f"question {id_!r} is not the same in both runs ({question!r} and"
                f" {old!r}, or their answers differ); measure both with the same gold"
            )
    ours, others = (
        {file["sha256"]: file["name"] for file in each["distractors"]}
        for each in (settings, other["settings"])
    )
    if ours.keys() != others.keys():
        named = ", ".join(sorted(others.values())) or "none"
        raise InputError(
            f"the other run had other --distractors ({named}), and what is searched among more is"
            " found less often; measure both with the same"
        )


def _asked(run: Run) -> Asked:
    return {q["id"]: (q["question"], q["golds"]) for q in run["questions"]}


def compare(run: Run, other: Run) -> dict[str, Any]:
    """This run less the other: paired tests of every mean, and the questions that changed.

    Raises:
        InputError: they do not cover the same questions among the same distractors.
    """
    require_same(_asked(run), run["settings"], other)
    theirs = {question["id"]: question for question in other["questions"]}
    pairs = [(theirs[question["id"]], question) for question in run["questions"]]
    read = min(run["settings"]["read"], other["settings"]["read"])
    tests = {}
    for metric in means_at(read):
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


def require_measurable(
    wanted: Mapping[str, float], *, read: int, reader_only: bool, search_alone: bool
) -> None:
    """Make sure that a run with these options can give the figures that are asked for.

    Raises:
        InputError: it cannot, whatever the questions are; the remedy is named.
    """
    stages = {metric.name: metric.stage for metric in METRICS}
    for name in wanted:
        searched = stages[name] in {"search", "disagreement"} or name == "citation"
        if reader_only and searched:
            raise InputError(
                f"--fail-under: {name} is of what search finds; leave it out, or --reader-only"
            )
        if search_alone and (stages[name] != "search" or name.startswith("document_")):
            raise InputError(
                f"--fail-under: a BEIR folder is for search alone, without {name}; recall@k, mrr"
                f" and ndcg@{NDCG_AT} are measured"
            )
        k = int(name.partition("@")[2] or 0)
        if k > read:
            raise InputError(
                f"--fail-under: {name} is of the first {k}, and {read} are read; add `--read {k}`"
            )


def failures(run: Run, wanted: Mapping[str, float]) -> list[str]:
    """What falls short of the least that is asked for; where less is better, what exceeds it.

    Raises:
        InputError: this run does not measure a figure that is asked for.
    """
    better = {metric.name: metric.higher_is_better for metric in METRICS}
    fallen = []
    for name, bound in wanted.items():
        if name not in run["summary"]:
            raise InputError(
                f"--fail-under: this run does not measure {name!r}; it measures"
                f" {', '.join(run['summary'])}"
            )
        value = run["summary"][name]["value"]
        if not (value >= bound if better[name] else value <= bound):
            sign = "below" if better[name] else "above"
            fallen.append(f"{name} is {value:.4g}, {sign} {bound:g}")
    return fallen

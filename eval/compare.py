"""Runs that were saved: compared with another, and held to what is asked of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from corpus.errors import InputError
from eval.run import Outcome
from eval.statistics import paired_test
from eval.summary import METRICS, Run, means_at, record

__all__ = ["Asked", "compare", "failures", "read_run", "require_same", "requirements"]

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
            and all(known <= question.keys() for question in run["questions"])
        )
    except (LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{path} lacks what a run holds; {hint}, with this version")
    return run  # type: ignore[no-any-return]


_NOTHING = Outcome("", "", (), "", None, 0.0, False, 0.0, 0.0, None, 0.0)


def require_same(asked: Asked, other: Run) -> None:
    """Make sure that the other run covers these questions and no more.

    Raises:
        InputError: it does not; some of the questions are named.
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


def _asked(run: Run) -> Asked:
    return {q["id"]: (q["question"], q["golds"]) for q in run["questions"]}


def compare(run: Run, other: Run) -> dict[str, Any]:
    """This run less the other: paired tests of every mean, and the questions that changed.

    Raises:
        InputError: they do not cover the same questions, some of which are named.
    """
    require_same(_asked(run), other)
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

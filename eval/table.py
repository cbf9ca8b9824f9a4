"""A run for the terminal: a table of figures, causes, and what changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from eval.summary import METRICS, Run, metrics_of, unit_drawn
from qa.render import printable

__all__ = ["as_table"]

_CHANGES = 10
_DRAWS = {"documents": "whole documents with their questions", "questions": "questions"}


def as_table(run: Run, comparison: dict[str, Any] | None = None) -> str:
    """The figures with their intervals, by stage; the causes; the comparison where there is one."""
    return "\n".join([*_figures(run), *_causes(run), *_notes(run), *_compared(comparison)])


def _figures(run: Run) -> Iterator[str]:
    stage = ""
    for metric in metrics_of(run):
        figure = run["summary"].get(metric.name)
        if figure is None:
            continue
        if metric.stage != stage:
            stage = metric.stage
            yield stage
        digits = 1 if metric.percent else 3
        yield (
            f"  {metric.name:<24} {figure['value']:>7.{digits}f}"
            f"  {_interval(figure, f'.{digits}f'):<15}"
            f" n {figure['n']:<6} {metric.label}"
        )


def _causes(run: Run) -> Iterator[str]:
    lost = sum(run["causes"].values())
    yield f"why {lost} of {len(run['questions'])} questions were lost"
    for cause, n in run["causes"].items():
        if n:
            yield f"  {cause:<24} {n:>5}"


def _notes(run: Run) -> Iterator[str]:
    settings, seconds = run["settings"], run["seconds"]
    yield (
        f"{len(run['questions'])} questions; 95 % intervals from {settings['resamples']} draws of"
        f" {_DRAWS[unit_drawn(run)]}"
    )
    if settings.get("left_out"):
        yield (
            f"{settings['left_out']} questions were left out: the gold does not say which text"
            " they were asked about"
        )
    if seconds["p50"] is not None:
        yield (
            f"a question takes {seconds['p50']:.3f} s (p50), {seconds['p95']:.3f} s (p95);"
            f" {seconds['questions_per_second']:.1f} a second"
        )


def _compared(comparison: dict[str, Any] | None) -> Iterator[str]:
    if comparison is None:
        return
    percent = {metric.name for metric in METRICS if metric.percent}
    yield f"compared with {printable(comparison['with'])} (this run less the other)"
    yield (
        f"  {'':<22} {'difference':>10}  {'95 % interval':<16} p boot   p rand   wins losses  ties"
    )
    for name, test in comparison["metrics"].items():
        digits = 1 if name in percent else 3
        yield (
            f"  {name:<22} {test['difference']:>+10.{digits}f}"
            f"  {_interval(test, f'+.{digits}f'):<16}"
            f" {test['p_bootstrap']:.4f}   {test['p_randomisation']:.4f}"
            f" {test['wins']:>6} {test['losses']:>6} {test['ties']:>5}"
        )
    changed = comparison["changed"]
    yield f"{len(changed)} questions are answered otherwise"
    for change in changed[:_CHANGES]:
        yield (
            f"  {printable(change['id'])}  {printable(change['question'])}"
            f"  [{printable(change['before'])}] -> [{printable(change['after'])}]"
            f"  F1 {change['f1_before']:.0f} -> {change['f1_after']:.0f}"
        )
    if len(changed) > _CHANGES:
        yield f"  … and {len(changed) - _CHANGES} more, in --json and --html"


def _interval(figure: Mapping[str, Any], form: str) -> str:
    """The figure's interval, its ends written in this form; a dash where it has none."""
    if figure["low"] is None:
        return "–"
    return f"{figure['low']:{form}} – {figure['high']:{form}}"

"""A run as one HTML page that needs nothing else: no network, no other file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from eval.charts import curve, reliability_diagram, whisker
from eval.metrics import reliability, risk_coverage
from eval.summary import (
    RECALL_AT,
    Metric,
    Run,
    metrics_of,
    rightness,
    search_alone,
    unit_drawn,
)

__all__ = ["write_report"]

_TEMPLATE = Path(__file__).with_name("report.html")
_HEADLINES = {
    "f1": "F1",
    "em": "exact match",
    "always_f1": "F1, always answering",
    "reader_f1": "F1, reader alone",
    "recall@5": "recall@5",
    "citation": "right citations",
    "calibration_error": "calibration error",
}
_SHOWN = (
    "id", "question", "golds", "prediction", "best", "answered", "em", "f1", "confidence", "cause",
    "hit_rank", "tags", "type", "reader_answer", "disagreement", "answer_shown", "gold_shown",
)  # fmt: skip
_DIFFERENCE_SHARE = 1.15
"""How far a difference's axis reaches beyond its interval."""
_POINTS = 400
"""Of a curve; more cannot be told apart."""
_Chart: TypeAlias = tuple[str, str, str]
"""A title, a note, and the chart as SVG."""


def write_report(run: Run, path: Path, comparison: dict[str, Any] | None = None) -> None:
    """Write the page.

    Args:
        run: what `run_json` made.
        path: where the page goes.
        comparison: what `compare` made, with the other run's name under `with`.
    """
    path.write_text(render(run, comparison), encoding="utf-8")


def render(run: Run, comparison: dict[str, Any] | None = None) -> str:
    """The page's text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    known = {metric.name: metric for metric in metrics_of(run)}
    stages: dict[str, list[dict[str, Any]]] = {}
    for metric in known.values():
        if metric.name in run["summary"]:
            stages.setdefault(metric.stage, []).append(_figure(metric, run["summary"]))
    return template.render(
        settings=run["settings"],
        seconds=run["seconds"],
        n=len(run["questions"]),
        unit=unit_drawn(run),
        search_alone=search_alone(run),
        headlines=[{**_figure(known[name], run["summary"]), "title": title}
                   for name, title in _HEADLINES.items() if name in run["summary"]],
        stages=stages,
        causes=run["causes"],
        lost=sum(run["causes"].values()),
        most=max(run["causes"].values(), default=0) or 1,
        charts=[(title, note, Markup(svg)) for title, note, svg in _charts(run)],  # noqa: S704
        slices=_slices(run, known),
        comparison=_comparison(comparison, known) if comparison else None,
        tags=sorted({tag for question in run["questions"] for tag in question["tags"]}),
        # No "<" may stand in a script element, whatever the documents hold.
        data=Markup(json.dumps(_questions(run), ensure_ascii=True).replace("<", "\\u003c")),  # noqa: S704
    )  # fmt: skip


def _figure(metric: Metric, figures: dict[str, Any]) -> dict[str, Any]:
    from markupsafe import Markup

    figure = figures[metric.name]
    top = 100.0 if metric.percent else 1.0
    drawn = whisker(figure["value"], figure["low"], figure["high"], (0.0, top))
    return {
        "name": metric.name,
        "label": metric.label,
        "n": figure["n"],
        "value": _written(metric, figure["value"]),
        "low": _written(metric, figure["low"]),
        "high": _written(metric, figure["high"]),
        "better": "higher is better" if metric.higher_is_better else "lower is better",
        "drawn": Markup(drawn),  # noqa: S704
    }


def _written(metric: Metric, value: float | None, *, sign: str = "") -> str:
    if value is None:
        return "–"
    return f"{value:{sign}.1f}" if metric.percent else f"{value:{sign}.3f}"


def _charts(run: Run) -> Iterator[_Chart]:
    """Those that the run's figures allow."""
    summary = run["summary"]
    if "auroc" in summary or "brier" in summary:
        sure = [question["confidence"] for question in run["questions"]]
        right = [rightness(question) for question in run["questions"]]
        yield _reliability_chart(reliability(sure, right))
        yield _caution_chart(risk_coverage(sure, right))
    recalls = [(k, summary[f"recall@{k}"]) for k in RECALL_AT if f"recall@{k}" in summary]
    if len(recalls) > 1:
        yield _recall_chart(recalls, "documents" if search_alone(run) else "passages")


def _reliability_chart(bins: Sequence[tuple[int, float, float]]) -> _Chart:
    told = "; ".join(f"confidence {c:.2f}: right {r:.2f} of {n}" for n, c, r in bins)
    return (
        "Does confidence mean what it says?",
        "Each dot is a tenth of the scale: on the diagonal, answers are right as often as"
        " they claim; below it, they claim too much.",
        reliability_diagram(bins, f"Reliability diagram. {told}"),
    )


def _caution_chart(risks: Sequence[tuple[float, float]]) -> _Chart:
    """Pairs of coverage and risk as a line, which begins at the risk of the surest alone."""
    told = "; ".join(f"surest {c:.0%}: {_risk_at(risks, c):.2f} wrong" for c in (0.25, 0.5, 0.75))
    points = [(0.0, risks[0][1]), *risks]
    if len(points) > _POINTS:
        points = points[:: len(points) // _POINTS] + points[-1:]
    return (
        "What does caution buy?",
        "The share of wrong answers when only the surest are given, from few on the left"
        " to all on the right.",
        curve(
            points,
            f"Risk-coverage curve. All given: {risks[-1][1]:.2f} wrong. {told}",
            x_label="share of answers given",
            y_label="share that is wrong",
            # Quarters of a multiple of .2 are short numbers.
            top=max(0.2, math.ceil(5 * max(risk for _, risk in points)) / 5),
        ),
    )


def _recall_chart(recalls: Sequence[tuple[int, Mapping[str, Any]]], what: str) -> _Chart:
    notes = {
        "passages": "The share of questions for which one of the first k passages holds a whole"
        " gold span, with its 95 % interval.",
        "documents": "The share of a question's relevant documents that is among the first k, on"
        " average, with its 95 % interval.",
    }
    deepest = recalls[-1][0]
    told = "; ".join(f"{k}: {figure['value']:.2f}" for k, figure in recalls)
    return (
        "How deep must one look?",
        notes[what],
        curve(
            [(k / deepest, figure["value"]) for k, figure in recalls],
            f"Recall at k. {told}",
            x_label=f"k, {what} looked at",
            y_label="recall@k",
            x_ticks=[(k / deepest, k) for k, _ in recalls],
            band=[(k / deepest, f["low"], f["high"]) for k, f in recalls if f["low"] is not None],
            dots=True,
        ),
    )


def _risk_at(risks: Sequence[tuple[float, float]], coverage: float) -> float:
    return next(risk for share, risk in risks if share >= coverage)


def _slices(run: Run, known: dict[str, Metric]) -> dict[str, list[dict[str, Any]]]:
    """For each kind of slice its rows: name, number, and the figures that it has."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for kind, named in run["slices"].items():
        for name, figures in named.items():
            row = {
                metric: _figure(known[metric], figures)
                for metric in ("f1", "recall@5", "reader_f1")
                if metric in figures
            }
            shown.setdefault(kind, []).append({"name": name, "n": figures["n"], "figures": row})
    return shown


def _comparison(comparison: dict[str, Any], known: dict[str, Metric]) -> dict[str, Any]:
    from markupsafe import Markup

    rows = []
    for name, test in comparison["metrics"].items():
        metric = known[name]
        reach = _DIFFERENCE_SHARE * max(
            abs(test["difference"]), abs(test["low"] or 0), abs(test["high"] or 0), 1e-9
        )
        drawn = whisker(test["difference"], test["low"], test["high"], (-reach, reach))
        rows.append(
            {
                "name": name,
                "label": metric.label,
                "difference": _written(metric, test["difference"], sign="+"),
                "low": _written(metric, test["low"], sign="+"),
                "high": _written(metric, test["high"], sign="+"),
                "drawn": Markup(drawn),  # noqa: S704
                **{key: test[key] for key in ("wins", "losses", "ties")},
                "p_bootstrap": f"{test['p_bootstrap']:.4f}",
                "p_randomisation": f"{test['p_randomisation']:.4f}",
            }
        )
    return {"with": comparison["with"], "rows": rows, "changed": comparison["changed"]}


def _questions(run: Run) -> list[dict[str, Any]]:
    return [{key: question[key] for key in _SHOWN} for question in run["questions"]]

"""A bench run for the terminal and for the README, and how search grows as a picture."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus.errors import InputError
from eval.bench.run import Bench
from eval.charts import curve

__all__ = ["as_table", "growth_picture", "write_into"]

_BEGIN, _END = "<!-- bench: made by `make bench` -->", "<!-- end of bench -->"
_STYLE = (
    "<style>text{font:11px sans-serif;fill:#57606a}.grid{stroke:#d0d7de}.line{fill:none;"
    "stroke:#0969da;stroke-width:2}.band{fill:#0969da;opacity:.15}.dot{fill:#0969da}</style>"
)


def as_table(run: Bench) -> str:
    """The run for the terminal."""
    told = run["machine"]
    lines = [
        f"{told['processor']}, {told['cores']} cores, {told['memory_gb']} GB; load"
        f" {told['load']} at the beginning"
    ]
    for measure in run["measures"]:
        met = {True: "met", False: "missed", None: ""}[measure["met"]]
        lines.append(f"{_figure(measure):>11}  {met:<6}  {measure['what']}  {_target(measure)}")
        lines += [
            f"{'':<21}{ratio:7.2f} times as fast as {name}"
            for name, ratio in measure["ratios"].items()
        ]
        lines += [
            f"{'':<21}F1 {score:.1f}: {name}"
            for name, score in measure["details"].get("f1", {}).items()
        ]
    lines += [_size(size) for size in run["growth"]]
    lines += [f"skipped {name}: {reason}" for name, reason in run["skipped"].items()]
    return "\n".join(lines)


def write_into(readme: Path, run: Bench, picture: Path | None = None) -> None:
    """Put the run's table between the README's markers, and the picture, where there is one.

    Raises:
        InputError: it has none.
    """
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    if not pattern.search(text):
        raise InputError(f"--readme {readme}: it has no lines {_BEGIN} and {_END}")
    lines = list(_markdown(run))
    if picture and run["growth"]:
        shown = os.path.relpath(picture, readme.parent)
        lines += ["", f"![How long a search takes, by number of passages]({shown})"]
    table = "\n".join([_BEGIN, *lines, _END])
    readme.write_text(pattern.sub(lambda _: table, text), encoding="utf-8")


def _markdown(run: Bench) -> Iterator[str]:
    told = run["machine"]
    yield (
        f"{told['processor']}, {told['cores']} cores, no GPU; load {told['load']} when it began."
        " Everything in a row was measured in turn, in one run; medians."
    )
    yield ""
    peers = list(run["peers"])
    yield "| " + " | ".join(["measure", "target", "measured", *peers]) + " |"
    yield "|---|---:|---:|" + "---:|" * len(peers)
    for measure in run["measures"]:
        theirs = [_beside(measure, name) for name in peers]
        figure = _figure(measure)
        shown = f"**{figure}**" if measure["met"] else figure
        yield "| " + " | ".join([measure["what"], _target(measure), shown, *theirs]) + " |"
        scores = measure["details"].get("f1", {})
        if scores:
            ours, *others = (f"{scores[name]:.1f}" for name in ("Citespan", *peers))
            yield "| " + " | ".join(["F1 of its best answers", "", ours, *others]) + " |"
    yield ""
    for size in run["growth"]:
        yield f"- {_size(size)}"


def _beside(measure: dict[str, Any], peer: str) -> str:
    if peer not in measure["peers"]:
        return ""
    figure = _figure({**measure, "value": measure["peers"][peer]})
    return f"{figure} ({measure['ratios'][peer]:.1f} ×)"


def _figure(measure: dict[str, Any]) -> str:
    return _number(measure["value"], measure["unit"])


def _target(measure: dict[str, Any]) -> str:
    if measure["target"] is None:
        return ""
    limit = ("≥ " if measure["higher"] else "≤ ") + _number(measure["target"], measure["unit"])
    return ", ".join(filter(None, [limit, measure["times"]]))


def _number(value: float, unit: str) -> str:
    if unit == "s" and value < 0.1:
        return f"{value * 1000:.1f} ms"
    if unit == "/s":
        return f"{value:,.0f} /s"
    return f"{value:,.3g} {unit}".strip() if value < 100 else f"{value:,.0f} {unit}".strip()


def _size(size: dict[str, Any]) -> str:
    return (
        f"{size['passages']:,} passages: search {_number(size['search']['p50'], 's')} (p95"
        f" {_number(size['search']['p95'], 's')}), recall@10 {size['recall']:.3f}, opened in"
        f" {_number(size['open']['p50'], 's')}, built in {_number(size['build_seconds'], 's')} with"
        f" {size['build_bytes'] / 1e9:.2f} GB"
    )


def growth_picture(run: Bench) -> str:
    """How long a search takes against how many passages there are, as SVG that stands alone."""
    growth = run["growth"]
    low = math.log10(growth[0]["passages"])
    span = (math.log10(growth[-1]["passages"]) - low) or 1.0

    def x(size: dict[str, Any]) -> float:
        return (math.log10(size["passages"]) - low) / span

    made = curve(
        [(x(size), 1000 * size["search"]["p50"]) for size in growth],
        "Milliseconds of a hybrid search by number of passages: "
        + ", ".join(f"{size['passages']:,}: {1000 * size['search']['p50']:.1f}" for size in growth),
        x_label="passages (logarithmic)",
        y_label="milliseconds of a search: median, up to p95",
        x_ticks=[(x(size), size["passages"]) for size in growth],
        band=[
            (x(size), 1000 * size["search"]["p50"], 1000 * size["search"]["p95"]) for size in growth
        ],
        top=_round_up(max(1000 * size["search"]["p95"] for size in growth)),
        dots=True,
    )
    return made.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f">{_STYLE}", 1
    )


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten, so that quarters of it are short."""
    scale = 10.0 ** math.floor(math.log10(value))
    return next(step * scale for step in (1.0, 2.0, 4.0, 8.0, 10.0) if step * scale >= value)

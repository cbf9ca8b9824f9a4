"""Charts as inline SVG. Colours come from the page's style sheet, by class."""

from collections.abc import Sequence
from html import escape
from typing import TypeAlias

__all__ = ["curve", "reliability_diagram", "whisker"]

Point: TypeAlias = tuple[float, float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 350.0, 12.0, 240.0
_WIDTH, _HEIGHT = 360, 286
_QUARTERS: tuple[Point, ...] = tuple((share, share) for share in (0, 0.25, 0.5, 0.75, 1))
"""Ticks of an axis from 0 to 1: where each stands, and what is written there."""


def whisker(value: float, low: float | None, high: float | None, span: Point) -> str:
    """A dot with its interval on a line from `span[0]` to `span[1]`; for the eye alone."""

    def x(at: float) -> float:
        share = (at - span[0]) / ((span[1] - span[0]) or 1.0)
        return 4 + 112 * min(1.0, max(0.0, share))

    zero = ""
    if span[0] < 0 < span[1]:
        zero = f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="1" y2="15"/>'
    interval = ""
    if low is not None and high is not None:
        interval = f'<line class="interval" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="8" y2="8"/>'
    return (
        '<svg class="whisker" viewBox="0 0 120 16" aria-hidden="true">'
        f'<line class="axis" x1="4" x2="116" y1="8" y2="8"/>{zero}{interval}'
        f'<circle class="dot" cx="{x(value):.1f}" cy="8" r="3.5"/></svg>'
    )


def reliability_diagram(bins: Sequence[tuple[int, float, float]], described: str) -> str:
    """How often answers are right against how sure they are, one dot a bin; area is number.

    Args:
        bins: of each, how many, mean confidence, and the share that is right.
        described: the chart in words, for those who do not see it.
    """
    most = max((n for n, _, _ in bins), default=1)
    dots = "".join(
        f'<line class="gap" x1="{_x(sure):.1f}" x2="{_x(sure):.1f}"'
        f' y1="{_y(sure):.1f}" y2="{_y(right):.1f}"/>'
        f'<circle class="dot" cx="{_x(sure):.1f}" cy="{_y(right):.1f}"'
        f' r="{3 + 9 * (n / most) ** 0.5:.1f}">'
        f"<title>{n} answers, confidence {sure:.2f}, right {right:.2f}</title></circle>"
        for n, sure, right in bins
    )
    diagonal = f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    return _chart(
        diagonal + dots, described, "confidence", "share that is right", _QUARTERS, _QUARTERS
    )


def curve(
    points: Sequence[Point],
    described: str,
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[Point] = _QUARTERS,
    band: Sequence[tuple[float, float, float]] = (),
    top: float = 1.0,
    dots: bool = False,
) -> str:
    """A line through the points, both axes from 0 to 1.

    Args:
        points: x and y, in [0, 1]; y is divided by `top`.
        described: the chart in words.
        x_label: what the x axis counts.
        y_label: what the y axis counts.
        x_ticks: position in [0, 1], and the number written there; quarters by default.
        band: x, low and high of an interval around the line.
        top: the highest value of the y axis.
        dots: mark the points too.
    """
    path = " ".join(f"{_x(x):.1f},{_y(y / top):.1f}" for x, y in points)
    upper = [f"{_x(x):.1f},{_y(high / top):.1f}" for x, _, high in band]
    lower = [f"{_x(x):.1f},{_y(low / top):.1f}" for x, low, _ in reversed(band)]
    area = f'<polygon class="band" points="{" ".join(upper + lower)}"/>' if band else ""
    marks = "".join(
        f'<circle class="dot" cx="{_x(x):.1f}" cy="{_y(y / top):.1f}" r="4"/>'
        for x, y in (points if dots else ())
    )
    y_ticks = [(share, share * top) for share, _ in _QUARTERS]
    return _chart(
        f'{area}<polyline class="line" points="{path}"/>{marks}',
        described,
        x_label,
        y_label,
        x_ticks,
        y_ticks,
    )


def _chart(
    inside: str,
    described: str,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[Point],
    y_ticks: Sequence[Point],
) -> str:
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{_y(at):.1f}" y2="{_y(at):.1f}"/>'
        f'<text class="tick" text-anchor="end" x="{_LEFT - 7}" y="{_y(at) + 4:.1f}">'
        f"{_number(n)}</text>"
        for at, n in y_ticks
    ) + "".join(
        f'<text class="tick" text-anchor="middle" x="{_x(at):.1f}" y="{_BOTTOM + 17}">'
        f"{_number(n)}</text>"
        for at, n in x_ticks
    )
    middle = (_TOP + _BOTTOM) / 2
    labels = (
        f'<text class="label" text-anchor="middle" x="{(_LEFT + _RIGHT) / 2}"'
        f' y="{_BOTTOM + 38}">{escape(x_label)}</text>'
        f'<text class="label" text-anchor="middle" x="11" y="{middle}"'
        f' transform="rotate(-90 11 {middle})">{escape(y_label)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(described, quote=True)}">{grid}{labels}{inside}</svg>'
    )


def _x(share: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * share


def _y(share: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value != int(value) else str(int(value))

"""The English words of which amounts, dates and names are made."""

import math
import re
from calendar import day_name, month_abbr, month_name
from dataclasses import dataclass

__all__ = [
    "GRAMMAR",
    "HEDGE",
    "MONTHS",
    "PARTICLES",
    "SEASONS",
    "TITLES",
    "UNITS",
    "Hedge",
    "hedge",
]


@dataclass(frozen=True, slots=True)
class Hedge:
    """What "about" and its like leave open, in steps of the last digit that is said."""

    name: str
    below: float
    above: float


EXACT = Hedge("", 0.0, 0.0)
_HEDGES = {
    # The longer first: "just over" is not "over".
    Hedge("nearly", 0.5, 0.0): "nearly|almost|just under|a little under|shortly before|just before",
    Hedge("just over", 0.0, 0.5): "just over|a little over|a little more than|slightly more than"
    "|shortly after|just after",
    Hedge("at most", math.inf, 0.0): "up to|as many as|at most|no more than|not more than"
    "|a maximum of",
    Hedge("about", 0.5, 0.5): "about|around|roughly|approximately|approx|circa|some|close to|near"
    "|(?:an )?estimated|or so|in the region of|~|≈",
    Hedge("less than", 1.0, 0.0): "fewer than|less than|under|below|before",
    Hedge("more than", 0.0, 1.0): "more than|over|above|at least|upwards of|no fewer than|or more"
    "|or longer|after",
}
HEDGE = re.compile(
    "|".join(f"((?<!\\w)(?:{words})(?!\\w))" for words in _HEDGES.values()), re.IGNORECASE
)


def hedge(text: str) -> Hedge:
    """The first hedge in the text; one that leaves nothing open where there is none."""
    match = HEDGE.search(text)
    return tuple(_HEDGES)[(match.lastindex or 1) - 1] if match else EXACT


_BY_DIMENSION = {
    "length": {
        1e-3: "mm millimetre millimeter", 1e-2: "cm centimetre centimeter", 1.0: "m metre meter",
        1e3: "km kilometre kilometer", 0.0254: "inch inche", 0.3048: "ft foot feet",
        0.9144: "yard", 1609.344: "mile", 1852.0: "nautical-mile",
    },
    "mass": {
        1e-3: "g gram gramme", 1.0: "kg kilogram", 1e3: "tonne t", 0.45359237: "lb",
        0.028349523125: "ounce oz", 907.18474: "ton",
    },
    "time": {
        1.0: "second sec", 60.0: "minute min", 3600.0: "hour hr", 86400.0: "day",
        604800.0: "week", 2629746.0: "month", 31556952.0: "year", 315569520.0: "decade",
        3155695200.0: "century centurie",
    },
    "area": {1.0: "square-metre", 1e4: "hectare", 4046.8564224: "acre", 1e6: "square-kilometre"},
    "volume": {1e-3: "ml millilitre", 1.0: "litre liter", 3.785411784: "gallon"},
    "power": {1.0: "w watt", 1e3: "kw kilowatt", 1e6: "mw megawatt", 1e9: "gw gigawatt"},
    "temperature": {1.0: "degree °c °"},
    "fahrenheit": {1.0: "°f degree-fahrenheit degrees-fahrenheit"},
    "%": {1.0: "% percent per-cent percentage"},
    "$": {1.0: "$ dollar usd"}, "€": {1.0: "€ euro eur"},
    "£": {1.0: "£ pound gbp"}, "¥": {1.0: "¥ yen"},
}  # fmt: skip
"""By what one is worth in the dimension's basic unit; without the plural's s."""
UNITS = {
    name: (dimension, worth)
    for dimension, units in _BY_DIMENSION.items()
    for worth, names in units.items()
    for name in names.split()
}
"""Dimension and worth by name."""

MONTHS = {
    name: number for names in (month_name, month_abbr) for number, name in enumerate(names) if name
} | {"Sept": 9}
"""The number of each month by its name and by its abbreviation."""
SEASONS = {
    "spring": "spring", "summer": "summer", "autumn": "autumn", "fall": "autumn",
    "winter": "winter",
}  # fmt: skip

TITLES = frozenset(
    "dr mr mrs ms miss prof professor sir dame lord lady judge justice president chancellor"
    " minister sen senator rep gov governor capt captain gen general col colonel lt sgt".split()
)
PARTICLES = frozenset("de da di du del della la le van von der den ten bin al el of the".split())
"""What may stand in lower case inside a name."""
GRAMMAR = (
    PARTICLES.union(UNITS, (name.removesuffix("s") for name in UNITS), SEASONS)
    .union(name.lower() for name in (*MONTHS, *day_name))
    .union(
        "and an at on in by to for or st nd rd th am pm dozen half per cent between from past old"
        " morning afternoon evening night noon midnight clock".split()
    )
)
"""Words that say how much or when, and never of what."""

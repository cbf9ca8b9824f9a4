"""Answers across documents: which say the same, and which contradict each other."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from enum import Enum
from typing import TypeVar

from qa.answers import same_answer_key
from qa.values import RANGE, Clock, Date, Name, Quantities, Quantity, Value, plain_words, value_of

__all__ = ["Relation", "are_near", "is_exact", "is_rough", "pooled", "relation"]

_CLOSE = 1e-9
"""Relative difference under which two amounts are equal."""
_ASKS_WHO = re.compile(r"\b(?:who|whom|whose)\b", re.IGNORECASE)
_HALF_DAY, _DAY = 720.0, 1440.0
_NEAR_FACTOR = 2.0
_NEAR_DAYS, _NEAR_MONTHS, _NEAR_YEARS = 31, 12, 10
_NEAR_MINUTES = 120.0
_NEAR_SPELLING = 0.7
"""Up to here two answers are near; see `are_near`."""
_SOME_YEAR = 2000
"""Where neither says one."""

Item = TypeVar("Item")


class Relation(Enum):
    """What two answers to one question say of each other."""

    SAME = "same"
    """One can stand for the other."""
    COMPATIBLE = "compatible"
    """Both can be right, or nothing says that they cannot."""
    INCOMPATIBLE = "incompatible"
    """At most one of them is right."""


def relation(a: str, b: str, question: str = "") -> Relation:
    """How two answers to the question relate; it does not matter which comes first.

    >>> relation("fifty-eight", "58 defectors")
    <Relation.SAME: 'same'>
    >>> relation("58", "nearly five dozen"), relation("2014", "January 2014")
    (<Relation.COMPATIBLE: 'compatible'>, <Relation.COMPATIBLE: 'compatible'>)
    >>> relation("17", "58")
    <Relation.INCOMPATIBLE: 'incompatible'>
    >>> relation("Neumann", "Peter R. Neumann")
    <Relation.SAME: 'same'>
    """
    if same_answer_key(a) == same_answer_key(b):
        return Relation.SAME
    found = _of_values(value_of(a), value_of(b), asks_who=bool(_ASKS_WHO.search(question)))
    if found is Relation.SAME and not isinstance(value_of(a), Name):
        # Three deaths are not three ships.
        rest_a, rest_b = plain_words(a), plain_words(b)
        if not (rest_a <= rest_b or rest_b <= rest_a):
            return Relation.COMPATIBLE
    return found


def pooled(items: Sequence[Item], texts: Sequence[str], question: str) -> list[list[Item]]:
    """The items in groups whose texts say the same, in order of the first of each.

    An item joins the first group whose first text says the same and none of whose
    texts contradicts it: "Neumann" does not make Peter and Dirk Neumann one man.
    """
    groups: list[list[int]] = []
    for number, text in enumerate(texts):
        for group in groups:
            first, *others = (texts[member] for member in group)
            if relation(first, text, question) is Relation.SAME and not any(
                relation(other, text, question) is Relation.INCOMPATIBLE for other in others
            ):
                group.append(number)
                break
        else:
            groups.append([number])
    return [[items[number] for number in group] for group in groups]


def are_near(a: str, b: str) -> bool:
    """Whether two answers differ as little as two reports of one thing mostly do.

    Amounts of one kind by a factor of two at most, days by a month, months by a year,
    years by ten, times of day by two hours, names by a few letters.

    >>> are_near("€36 million", "€41 million"), are_near("26", "3,200")
    (True, False)
    >>> are_near("19 January 2025", "21 January 2025"), are_near("19 January 2025", "2019")
    (True, False)
    >>> are_near("Henrik Daalman", "Hendrik Dalman"), are_near("Henrik Daalman", "Emil Rautner")
    (True, False)
    """
    match value_of(a), value_of(b):
        case Quantities(parts=x), Quantities(parts=y):
            return len(x) == len(y) and all(map(_near_amounts, x, y))
        case (Date(), *_) as x, (Date(), *_) as y:
            return len(x) == len(y) and all(map(_near_dates, x, y))
        case Clock() as x, Clock() as y:
            return abs(x.low - y.low) <= _NEAR_MINUTES
        case Name() as x, Name() as y:
            spelt = SequenceMatcher(None, " ".join(x.parts), " ".join(y.parts))
            return spelt.ratio() >= _NEAR_SPELLING
        case _:
            return False


def is_exact(text: str) -> bool:
    """Whether the answer is one amount, said exactly.

    >>> is_exact("58"), is_exact("nearly five dozen"), is_exact("Peter")
    (True, False, False)
    """
    value = value_of(text)
    return isinstance(value, Quantities) and len(value.parts) == 1 and not value.parts[0].hedge


def is_rough(text: str) -> bool:
    """Whether the answer is one amount, said roughly; a range is none.

    >>> is_rough("58"), is_rough("nearly five dozen"), is_rough("3 to 5 percent")
    (False, True, False)
    """
    value = value_of(text)
    return (
        isinstance(value, Quantities)
        and len(value.parts) == 1
        and value.parts[0].hedge not in ("", RANGE)
    )


def _of_values(a: Value, b: Value, *, asks_who: bool) -> Relation:
    match a, b:
        case Quantities(), Quantities():
            return _of_quantities(a.parts, b.parts)
        case (Date(), *_), (Date(), *_):
            return _of_dates(a, b)
        case (Date(month=None, season=None, year=int(year)),), Quantities():
            return _of_year(year, b)
        case Quantities(), (Date(month=None, season=None, year=int(year)),):
            return _of_year(year, a)
        case Clock(), Clock():
            return _of_clocks(a, b)
        case Name(), Name():
            return _of_names(a, b, asks_who=asks_who)
        case _:
            return Relation.COMPATIBLE


def _of_quantities(a: Sequence[Quantity], b: Sequence[Quantity]) -> Relation:
    if min(len(a), len(b)) == 1 < max(len(a), len(b)):
        # "17 of the 58" has something for 17 and for 58.
        all_pairs = [_of_two(x, y) for x in a for y in b]
        known = {found for found in all_pairs if found}
        return known.pop() if known == {Relation.INCOMPATIBLE} else Relation.COMPATIBLE
    relations = {_of_two(x, y) for x, y in zip(a, b, strict=False)}
    if Relation.INCOMPATIBLE in relations:
        return Relation.INCOMPATIBLE
    return (
        Relation.SAME if relations == {Relation.SAME} and len(a) == len(b) else Relation.COMPATIBLE
    )


def _of_two(a: Quantity, b: Quantity) -> Relation | None:
    """None where they are amounts of different things."""
    both = _in_one_unit(a, b)
    if both is None:
        return None
    a, b = both
    scale = max(abs(a.high), abs(b.high), 1e-12)
    if max(abs(a.low - b.low), abs(a.high - b.high)) <= _CLOSE * scale:
        return Relation.SAME if a.hedge == b.hedge else Relation.COMPATIBLE
    larger, smaller = max(a.unit, b.unit), min(a.unit, b.unit)
    # Miles given as kilometres, and months as days, have been rounded.
    rounded = (larger / smaller) % 1.0 > _CLOSE
    slack = max(a.place, b.place) / 2 if rounded else _CLOSE * scale
    apart = max(a.low, b.low) - min(a.high, b.high)
    return Relation.COMPATIBLE if apart <= slack else Relation.INCOMPATIBLE


def _in_one_unit(a: Quantity, b: Quantity) -> tuple[Quantity, Quantity] | None:
    """Both, so that their numbers compare; None where they are amounts of different things."""
    if a.dimension != b.dimension and "" not in (a.dimension, b.dimension):
        return None
    if not a.dimension:
        a, b = b, a
    if not b.dimension and a.unit != 1.0:
        # A bare number means the unit that the other says.
        a = Quantity(a.low / a.unit, a.high / a.unit, "", a.hedge, 1.0, a.place / a.unit)
    return a, b


def _near_amounts(a: Quantity, b: Quantity) -> bool:
    both = _in_one_unit(a, b)
    if both is None:
        return False
    less, more = sorted(abs(amount.low + amount.high) / 2 for amount in both)
    return 0 < more <= _NEAR_FACTOR * less


def _near_dates(a: Date, b: Date) -> bool:
    """Dates that are said as exactly as each other; a year that one leaves out is the other's."""
    if (a.month is None, a.day is None) != (b.month is None, b.day is None):
        return False
    years = a.year or b.year or _SOME_YEAR, b.year or a.year or _SOME_YEAR
    if a.month is None or b.month is None:
        return bool(a.year and b.year) and abs(years[0] - years[1]) <= _NEAR_YEARS
    months = 12 * years[0] + a.month, 12 * years[1] + b.month
    if a.day is None or b.day is None:
        return abs(months[0] - months[1]) <= _NEAR_MONTHS
    # Days are counted as if all months were of thirty-one.
    return abs(31 * (months[0] - months[1]) + a.day - b.day) <= _NEAR_DAYS


def _of_dates(a: Sequence[Date], b: Sequence[Date]) -> Relation:
    if len(a) != len(b):
        return Relation.COMPATIBLE
    pairs = [
        (x, y)
        for one, other in zip(a, b, strict=True)
        for x, y in (
            (one.year, other.year),
            (one.month, other.month),
            (one.day, other.day),
            (one.season, other.season),
        )
    ]
    if any(x is not None and y is not None and x != y for x, y in pairs):
        return Relation.INCOMPATIBLE
    return Relation.SAME if all(x == y for x, y in pairs) else Relation.COMPATIBLE


def _of_year(year: int, quantities: Quantities) -> Relation:
    """A number of four digits may be a year, or not."""
    bare = (Quantity(float(year), float(year), ""),)
    if any(part.dimension not in ("", "count") for part in quantities.parts):
        return Relation.COMPATIBLE
    return _of_quantities(bare, quantities.parts)


def _of_clocks(a: Clock, b: Clock) -> Relation:
    around = _DAY if a.half_known and b.half_known else _HALF_DAY
    shift = round((a.low - b.low) / around) * around
    low, high = b.low + shift, b.high + shift
    if (a.low, a.high) == (low, high) and a.hedge == b.hedge and a.half_known == b.half_known:
        return Relation.SAME
    return Relation.COMPATIBLE if a.low <= high and low <= a.high else Relation.INCOMPATIBLE


def _of_names(a: Name, b: Name, *, asks_who: bool) -> Relation:
    short, long = sorted((a, b), key=lambda name: len(name.parts))
    if not set(short.parts) <= set(long.parts):
        return Relation.INCOMPATIBLE
    # South Sudan is not Sudan, but Dr Neumann is Peter R. Neumann.
    person = asks_who or a.person or b.person
    in_order = [part for part in long.parts if part in short.parts] == list(short.parts)
    if person and in_order and short.parts[-1] == long.parts[-1]:
        return Relation.SAME
    return Relation.COMPATIBLE

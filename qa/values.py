"""What an answer says: a quantity, a date, a time of day, a name, or only words.

English. Two answers are compared by what they say and not by how they spell it,
so that "fifty-eight" is 58, and "nearly five dozen" is something from 54 to 60.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from qa.english import (
    GRAMMAR,
    HEDGE,
    MONTHS,
    PARTICLES,
    SEASONS,
    TITLES,
    UNITS,
    Hedge,
    hedge,
)

__all__ = [
    "RANGE",
    "Clock",
    "Date",
    "Name",
    "Quantities",
    "Quantity",
    "Value",
    "Words",
    "plain_words",
    "value_of",
]


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount, known to lie from `low` to `high`, in the basic unit of its dimension."""

    low: float
    high: float
    dimension: str
    """Of a measure, such as "length" (metres) or "€"; "count" for things; "" where nothing says."""
    hedge: str = ""
    """In what way it is not exact, such as "about"; "" where it is said exactly."""
    unit: float = 1.0
    """What the unit that was said is worth in the basic one."""
    place: float = 1.0
    """What one step in the last digit that was said is worth, in the basic unit."""


@dataclass(frozen=True, slots=True)
class Quantities:
    """All amounts of an answer, in order; most have one."""

    parts: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class Date:
    """A day, or as much as is said of one."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    season: str | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day, from `low` to `high`, in minutes after midnight."""

    low: float
    high: float
    half_known: bool = True
    """Whether morning or afternoon is said."""
    hedge: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """A proper name, without titles."""

    parts: tuple[str, ...]
    """Its words, case-folded."""
    person: bool
    """Whether a title or an initial says that it is a person's."""


@dataclass(frozen=True, slots=True)
class Words:
    """Anything else; nothing is known of it but its words."""


Value: TypeAlias = Quantities | tuple[Date, ...] | Clock | Name | Words

RANGE = "from to"
"""The hedge of an amount that is said as two."""
_MOST_WORDS = 10
"""In a longer answer the numbers are beside the point."""

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_THIN_SPACE = re.compile("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")
_AMOUNT = re.compile(
    rf"(?P<sign>(?<![\w\d])[-−])?(?P<currency>[$€£¥])?\s?(?P<number>{_NUMBER})"
    r"(?P<half>\s+and\s+a\s+half)?(?:\s+(?P<scale>1000|1000000|1000000000|1000000000000)(?!\d))?"
    r"(?:(?:(?<=\d)|\s+)(?P<short>bn|(?(currency)m|(?!)))(?=\s*$)|)"
    r"(?P<dozen>\s*dozen)?(?:st|nd|rd|th)?"
    r"(?:[\s-]*(?P<unit>%|°\s?[CF]|°|"
    r"[^\W\d_]+(?:[\s-](?:cent|metres?|kilometres?|miles?|[Ff]ahrenheit)(?!\w))?))?"
)
_METRES_OR_MILLIONS = re.compile(r"(?<![$€£¥\d.,])(?<![$€£¥]\s)[\d.,]+m\b")
"""Without a currency "1.5m" may be either, and so says nothing."""
_DECADE = re.compile(r"\b(\d{3}0)['’]?s\b")
_RANGE = re.compile(r"\b(?:between|from)\b|\d$", re.IGNORECASE)
_RANGE_MIDDLE = re.compile(r"[^\W\d_]*%?(?:\s+(?:and|to)\s+|\s?[-–]\s?)[$€£¥]?")
_COMPOUND = {"time", "length", "mass"}
_PARTS_OF = re.compile(r"(\d+)\s*(?:[a-z]+\s+)?(?:in(?! (?:1\d|20)\d\d\b)|out of)(?: every)? (\d+)")
"""One in seven, but not twelve people in 2015."""
_FRACTION = re.compile(r"\b(?:(\d+)|an?|one|the)?[\s-]*(half|quarters?|3rds?|4ths?|5ths?|10ths?)\b")
_FRACTIONS = {"half": 2, "quarter": 4, "3rd": 3, "4th": 4, "5th": 5, "10th": 10}

_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_DATES = (
    rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})\.?(?:,? (?P<year>\d{{4}}))?",
    rf"(?P<month>{_MONTH})\.? (?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?",
    rf"(?P<month>{_MONTH})\.?(?:,| of)? (?P<year>\d{{4}})",
    r"(?P<year>\d{4})-(?P<number>\d\d)-(?P<day>\d\d)",
    rf"(?P<season>{'|'.join(SEASONS)})(?: of)? (?P<year>\d{{4}})",
    rf"(?-i:(?P<month>{_MONTH}))",  # It may be a verb in lower case.
    r"(?P<year>1\d{3}|20\d\d)",
)
_DATE = tuple(
    re.compile(rf"(?<![\w.,$€£¥])(?<![$€£¥]\s){form}(?!\w|,\d|\s?[%°])", re.I) for form in _DATES
)
_DAY_RANGE = re.compile(rf"(\d{{1,2}})\s*(?:and|to|–|-)\s*(\d{{1,2}}) ({_MONTH})", re.I)

_CLOCK = re.compile(
    r"(?<![\d:.])(?P<hour>\d{1,2})(?:[:.](?P<minute>\d\d))?\s?(?P<half>[ap])\.?m\b"
    r"|(?<![\d:.])(?P<hour24>\d{1,2}):(?P<minute24>\d\d)(?![\d:])"
    r"|(?P<part>quarter|half|\d{1,2} minutes|\d{1,2}(?= past)) (?P<side>to|past) (?P<of>\d{1,2})\b"
    r"|(?P<sharp>\d{1,2}) o['’]clock|(?P<twelve>\bnoon\b|\bmidday\b|\bmidnight\b)",
    re.IGNORECASE,
)
_PART_OF_DAY = re.compile(r"in the (morning|afternoon|evening)|at (night)", re.IGNORECASE)

_ARTICLE = re.compile(r"^(?:the|an?)\s+", re.IGNORECASE)
_NOBODY = re.compile(r"\bno[ -]one\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*")


@lru_cache(maxsize=4096)
def value_of(text: str) -> Value:
    """What the answer says.

    >>> value_of("fifty-eight").parts[0].low
    58.0
    >>> value_of("March 4, 2025") == value_of("Tuesday, 4 March 2025")
    True
    """
    text = unicodedata.normalize("NFKC", _THIN_SPACE.sub(",", text))
    words = text.split()
    if len(words) <= _MOST_WORDS:
        plain = _with_digits(text)
        for value in (_clock(plain), _dates(plain), _quantities(plain)):
            if value:
                return value
    return _name(text) or Words()


def _with_digits(text: str) -> str:
    """Number words as digits: "two and a half million" as "2 and a half 1000000"."""
    from text_to_num import alpha2digit

    digits: str = alpha2digit(_NOBODY.sub("nobody", text), "en", 0)
    return digits


def _clock(text: str) -> Clock | None:
    match = _CLOCK.search(text)
    if not match:
        return None
    found = match.groupdict()
    minute, half_known, place = 0, True, 60
    if found["twelve"]:
        hour = 0 if found["twelve"].lower() == "midnight" else 12
    elif found["hour24"]:
        hour, minute = int(found["hour24"]), int(found["minute24"])
        half_known = hour > 12 or hour == 0
    elif found["hour"]:
        hour, minute = int(found["hour"]) % 12, int(found["minute"] or 0)
        hour += 12 * (found["half"].lower() == "p")
    elif found["sharp"]:
        hour, half_known = int(found["sharp"]), False
    else:
        part = found["part"].lower()
        minute = 15 if "quarter" in part else 30 if part == "half" else int(part.split()[0])
        hour, half_known = int(found["of"]), False
        if found["side"].lower() == "to":
            hour, minute = hour - 1, 60 - minute
    if hour > 24 or minute > 59:
        return None
    if not half_known and (said := _PART_OF_DAY.search(text)):
        later = (said[1] or said[2]).lower() != "morning" and not (said[2] and hour % 12 < 6)
        hour, half_known = hour % 12 + 12 * later, True
    place = next(step for step in (60, 30, 15, 10, 5, 1) if minute % step == 0)
    at = float(hour % 24 * 60 + minute)
    hedged = hedge(text)
    low, high = _between(at, place, hedged)
    return Clock(low, high, half_known, hedged.name)


def _dates(text: str) -> tuple[Date, ...]:
    if both := _DAY_RANGE.search(text):
        month = MONTHS[both[3].capitalize()]
        return (Date(None, month, int(both[1])), Date(None, month, int(both[2])))
    for form in _DATE:
        if dates := tuple(_date(match) for match in form.finditer(text)):
            others = _AMOUNT.search(form.sub("", text))
            said = dates[0].month or dates[0].season or len(text.split()) <= 2 or not others
            return dates if said and not _counts_something(text, dates[0]) else ()
    return ()


def _counts_something(text: str, date: Date) -> bool:
    """Whether what looks like a year is a number of things, as in "1863 calls"."""
    if date.month or date.season:
        return False
    return re.search(rf"{date.year}\s+[^\W\d_]", text) is not None


def _date(match: re.Match[str]) -> Date:
    found = match.groupdict()
    month = found.get("month")
    return Date(
        year=int(found["year"]) if found.get("year") else None,
        month=MONTHS[month.capitalize()] if month else int(found.get("number") or 0) or None,
        day=int(found["day"]) if found.get("day") else None,
        season=SEASONS.get((found.get("season") or "").lower()),
    )


def _quantities(text: str) -> Quantities | None:
    if _METRES_OR_MILLIONS.search(text):
        return None
    if match := _DECADE.search(text):
        return Quantities((Quantity(float(match[1]), float(match[1]) + 9, "", "decade"),))
    hedged = hedge(text)
    if match := _PARTS_OF.search(text):
        share = 100 * int(match[1]) / max(1, int(match[2]))
        low, _ = _between(math.floor(share), 1.0, hedged)
        _, high = _between(math.ceil(share), 1.0, hedged)  # One in seven is 14 or 15 %.
        return Quantities((Quantity(low, high, "%", hedged.name),))
    if not re.search(r"\d (?:and a half|\d+\b|dozen)|half an? (?:\d|dozen)", text) and (
        match := _FRACTION.search(text)
    ):
        share = 100 * int(match[1] or 1) / _FRACTIONS[match[2].removesuffix("s")]
        return Quantities((Quantity(*_between(share, 10.0, hedged), "%", hedged.name),))
    text = re.sub(r"\bhalf an?\s+(?=\d|dozen)", "0.5 ", text)
    text = re.sub(r"\b(?:an?|the)\s+(?=dozen|month|year|week|day|hour|minute)", "1 ", text)
    parts = tuple(_joined(_amounts(text, hedged)))
    return Quantities(parts) if parts else None


def _amounts(text: str, hedged: Hedge) -> Iterator[Quantity]:
    matches = list(_AMOUNT.finditer(text))
    amounts = [_amount(match, hedged) for match in matches]
    used = 0
    for number, (match, amount) in enumerate(zip(matches, amounts, strict=True)):
        if number < used:
            continue
        after = amounts[number + 1 :]
        if after and _RANGE.search(text[: match.end("number")]) and amount.low < after[0].low:
            between = text[match.end("number") : matches[number + 1].start("number")]
            if _RANGE_MIDDLE.fullmatch(between):
                unit = after[0].unit if not amount.dimension else amount.unit
                yield replace(after[0], low=amount.low * unit, hedge=RANGE, unit=unit)
                used = number + 2
                continue
        yield amount


def _amount(match: re.Match[str], hedged: Hedge) -> Quantity:
    digits = match["number"].replace(",", "")
    scale = float(match["scale"] or 1)
    if match["short"]:
        scale = 1e9 if match["short"] == "bn" else 1e6
    if match["dozen"]:
        scale *= 12
    dimension, unit = _dimension(match["currency"], match["unit"] or "")
    number = (float(digits) + 0.5 * bool(match["half"])) * scale * unit
    place = _place(digits, half=bool(match["half"])) * scale * unit
    low, high = _between(-number if match["sign"] else number, place, hedged)
    return Quantity(low, high, dimension, hedged.name, unit, place)


def _joined(amounts: Iterator[Quantity]) -> Iterator[Quantity]:
    """Three hours and ten minutes are one amount."""
    last: Quantity | None = None
    for amount in amounts:
        if (
            last
            and amount.dimension == last.dimension
            and amount.dimension in _COMPOUND
            and 0 < amount.high < last.unit
        ):
            low, high = last.low + amount.low, last.high + amount.high
            last = Quantity(low, high, last.dimension, last.hedge, amount.unit, amount.place)
            continue
        if last:
            yield last
        last = amount
    if last:
        yield last


def _dimension(currency: str | None, unit: str) -> tuple[str, float]:
    name = re.sub(r"\s+", "-", unit.strip().lower().replace("° ", "°"))
    for form in (
        name,
        name.removesuffix("s"),
        name.split("-")[0],
        name.split("-")[0].removesuffix("s"),
    ):
        if form in UNITS:
            dimension, worth = UNITS[form]
            return (currency, 1.0) if currency else (dimension, worth)
    if currency:
        return currency, 1.0
    return ("count" if name and name not in PARTICLES else ""), 1.0


def _place(digits: str, *, half: bool) -> float:
    """What a step of the last digit that counts is worth: 10 for 290, .01 for 6.84."""
    if half:
        return 0.5
    whole, _, decimals = digits.partition(".")
    if decimals:
        return 10.0 ** -len(decimals)
    stripped = whole.rstrip("0")
    place = 10.0 ** (len(whole) - len(stripped)) if stripped else 1.0
    # People who round to 150 or to 25 count in fives.
    return 5 * place if len(stripped) > 1 and stripped[-1] == "5" else place


def _between(number: float, place: float, hedged: Hedge) -> tuple[float, float]:
    """What the hedge leaves open."""
    return number - hedged.below * place, number + hedged.above * place


def _name(text: str) -> Name | None:
    """The text as a name: all of its words with a capital, but for particles between them."""
    words = _WORD.findall(_ARTICLE.sub("", text))
    if not words or not words[0][0].isupper() or not words[-1][0].isupper():
        return None
    if any(not word[0].isupper() and word.casefold() not in PARTICLES for word in words):
        return None
    if re.search(r"[\d,;:()/]", text):
        return None  # A list, a place within a place, or more than a name.
    parts = tuple(word.casefold().rstrip(".") for word in words)
    kept = tuple(part for part in parts if part not in TITLES)
    titled, initial = len(kept) < len(parts), any(len(part) == 1 for part in kept[:-1])
    return Name(kept, titled or initial) if kept else None


def plain_words(text: str) -> frozenset[str]:
    """The words that are neither number, unit, date, hedge nor grammar: what is counted."""
    text = HEDGE.sub(" ", _with_digits(unicodedata.normalize("NFKC", text)))
    words = (word.casefold().removesuffix("s") for word in re.findall(r"[^\W\d_]+", text))
    return frozenset(word for word in words if len(word) > 1 and word not in GRAMMAR)

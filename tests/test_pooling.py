"""What two answers say of each other: laws over numbers, dates and names, and the sample's gold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from conftest import sample_gold
from hypothesis import assume, given
from hypothesis import strategies as st

from corpus.records import Passage
from embeddings.search import Hit
from qa.calibration import Signals
from qa.pipeline import Pipeline
from qa.pooling import Relation, are_near, pooled, relation
from qa.ranking import Candidate, contradicting, exact_first
from qa.results import Answer, Citation, Span
from qa.values import Quantities, value_of

SAME, COMPATIBLE, INCOMPATIBLE = Relation
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
).split()
TENS = "? ? twenty thirty forty fifty sixty seventy eighty ninety".split()


def spelled(n: int) -> str:
    """The number in English words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        rest = f" and {spelled(n % 100)}" if n % 100 else ""
        return f"{ONES[n // 100]} hundred{rest}"
    rest = f" {spelled(n % 1000)}" if n % 1000 else ""
    return f"{spelled(n // 1000)} thousand{rest}"


NUMBERS = st.integers(2, 99_999)
NOUNS = st.sampled_from(["", " people", " ships"])


@given(NUMBERS, NOUNS)
def test_a_number_is_one_however_it_is_written(n: int, noun: str) -> None:
    forms = [f"{n:,}{noun}", spelled(n) + noun, spelled(n).capitalize() + noun]
    if not (noun == "" and 1000 <= n < 2100):  # Which might be a year.
        forms.append(f"{n}{noun}")
    for one in forms:
        for other in [*forms, f"{n:,}"]:
            assert relation(one, other) is SAME, (one, other)


@given(NUMBERS, NUMBERS, NOUNS)
def test_other_numbers_contradict(n: int, m: int, noun: str) -> None:
    expected = SAME if n == m else INCOMPATIBLE
    assert relation(f"{n:,}{noun}", spelled(m) + noun) is expected


DATES = st.dates(date(1000, 1, 1), date(2099, 12, 31))


def written(day: date) -> list[str]:
    month = f"{day:%B}"
    return [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"the {day.day}th of {month} {day.year}",
        f"{day:%A}, {day.day} {month} {day.year}",
        f"on {day.day} {month[:3]} {day.year}",
        day.isoformat(),
    ]


@given(DATES)
def test_a_day_is_one_however_it_is_written(day: date) -> None:
    forms = written(day)
    assert {value_of(form) for form in forms} == {value_of(forms[0])}
    assert all(relation(form, forms[0]) is SAME for form in forms)
    for less in (f"{day:%B} {day.year}", f"{day.year}", f"{day.day} {day:%B}"):
        assert all(relation(form, less) is COMPATIBLE for form in forms), less


@given(DATES, st.integers(1, 4000))
def test_other_days_contradict(day: date, later: int) -> None:
    other = day + timedelta(days=later)
    assert relation(written(day)[0], written(other)[1]) is INCOMPATIBLE


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["", "Who did it?"]))
def test_any_text_has_a_relation_that_goes_both_ways(a: str, b: str, question: str) -> None:
    assert relation(a, a, question) is SAME
    assert relation(a, b, question) is relation(b, a, question)


PIECES = st.sampled_from(
    "58 fifty-eight about nearly dozen 17 % per cent million € metres km four hours minutes 2014"
    " May 4 3 a.m. half past Peter Neumann Dr. the and of between to – , . one in more than".split()
)


@given(st.lists(PIECES, max_size=6).map(" ".join), st.lists(PIECES, max_size=6).map(" ".join))
def test_so_do_numbers_units_and_hedges_in_any_order(a: str, b: str) -> None:
    assert relation(a, a) is SAME
    assert relation(a, b) is relation(b, a)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("58", "58 defectors", SAME),
        ("58", "nearly five dozen", COMPATIBLE),
        ("58", "Close to sixty", COMPATIBLE),
        ("58", "17", INCOMPATIBLE),
        ("17", "17 of the 58", COMPATIBLE),
        ("312 households", "312 families", COMPATIBLE),
        ("312 households", "about 290", INCOMPATIBLE),
        ("150", "roughly 150 people", COMPATIBLE),
        ("more than 100", "163", COMPATIBLE),
        ("up to 60", "58", COMPATIBLE),
        ("3 to 5 percent", "4%", COMPATIBLE),
        ("3–5 percent", "6%", INCOMPATIBLE),
        ("15 percent", "1.5 percent", INCOMPATIBLE),
        ("15 percent", "15 per cent", SAME),
        ("two thirds", "just over half", INCOMPATIBLE),
        ("one in five", "20 %", SAME),
        ("one in seven", "14 percent", COMPATIBLE),
        ("one in seven", "13 percent", INCOMPATIBLE),
        ("12 people in 2015", "12", COMPATIBLE),
        ("100 m", "100 metres", SAME),
        ("1.2 km", "1,200 m", SAME),
        ("1.5m", "1.5 million", COMPATIBLE),
        ("113 °F", "45 °C", COMPATIBLE),
        ("113 degrees Fahrenheit", "112 °F", INCOMPATIBLE),
        ("the 1990s", "1995", COMPATIBLE),
        ("the 1990s", "1989", INCOMPATIBLE),
        ("Hepatitis A", "hepatitis", COMPATIBLE),
        ("$2.4 million", "$2,400,000", SAME),
        ("€36m", "€36 million", SAME),
        ("€ 36m", "€36 million", SAME),
        ("$5", "€5", COMPATIBLE),
        ("two and a half million", "2.5 million", SAME),
        ("28 days", "four weeks", SAME),
        ("a month", "30 days", COMPATIBLE),
        ("3.2 km", "2 miles", COMPATIBLE),
        ("500 metres", "one nautical mile", INCOMPATIBLE),
        ("three hours and ten minutes", "190 minutes", SAME),
        ("three hours and ten minutes", "nearly four hours", INCOMPATIBLE),
        ("-5 degrees", "5 degrees", INCOMPATIBLE),
        ("6–3", "6 votes to 2 with one abstention", INCOMPATIBLE),
        ("2:40 a.m.", "2.40 am", SAME),
        ("2:40 a.m.", "14:40", INCOMPATIBLE),
        ("2:40 p.m.", "14:40", SAME),
        ("7:25", "7:25 a.m.", COMPATIBLE),
        ("a quarter to one in the morning", "12:45 a.m.", SAME),
        ("half past eight", "8:30 p.m.", COMPATIBLE),
        ("shortly after 3 a.m.", "2:40 a.m.", INCOMPATIBLE),
        ("2014", "January 2014", COMPATIBLE),
        ("the fall of 2027", "autumn 2027", SAME),
        ("the fall of 2027", "the spring of 2028", INCOMPATIBLE),
        ("between 12 and 25 October", "from 16 to 27 October", INCOMPATIBLE),
        ("1863", "1,863 calls", SAME),
        ("Neumann", "Peter R. Neumann", SAME),
        ("Dr. Neumann", "Peter Neumann", SAME),
        ("Peter", "Peter R. Neumann", COMPATIBLE),
        ("Sudan", "South Sudan", COMPATIBLE),
        ("Oslo", "University of Oslo", COMPATIBLE),
        ("Ankara, Turkey", "Turkey", COMPATIBLE),
        ("London", "Paris", INCOMPATIBLE),
        ("Henrik Daalman", "Hendrik Dalman", INCOMPATIBLE),
        ("the Fenris", "Fenris", SAME),
        ("a skylight", "a service door", COMPATIBLE),
        ("no one", "1", COMPATIBLE),
        ("", "58", COMPATIBLE),
    ],
)
def test_cases(a: str, b: str, expected: Relation) -> None:
    assert relation(a, b) is relation(b, a) is expected


def test_a_surname_is_enough_where_a_person_is_asked_for() -> None:
    assert relation("Neumann", "Peter Neumann") is COMPATIBLE
    assert relation("Neumann", "Peter Neumann", "Who directs the ICSR?") is SAME
    assert relation("Jordan", "Michael Jordan", "Which country is it?") is COMPATIBLE


def test_one_surname_does_not_join_two_men() -> None:
    texts = ["Neumann", "Peter Neumann", "Dirk Neumann"]
    assert pooled(texts, texts, "Who wrote it?") == [["Neumann", "Peter Neumann"], ["Dirk Neumann"]]


@given(st.lists(PIECES, max_size=12))
def test_pooling_keeps_everything_once_and_in_order(texts: Sequence[str]) -> None:
    groups = pooled(range(len(texts)), texts, "")
    assert sorted(number for group in groups for number in group) == list(range(len(texts)))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    for group in groups:
        assert group == sorted(group)
        assert all(relation(texts[group[0]], texts[number]) is SAME for number in group)


def answer(text: str, document: str, margin: float = 8.0, score: float = 14.0) -> Answer:
    citation = Citation(
        document=document, title="", source="", sha256="", start=0, end=len(text), page=None,
        line=1, quote=text, sentence=text, sentence_start=0, passage=1,
    )  # fmt: skip
    signals = Signals.of(margin=margin, search=0.8, lead=0.0, support=0.0)
    return Answer(text, 0.6, score, signals, (citation,))


def told(*answers: Answer) -> list[tuple[int, ...]]:
    return [a.disagrees_with for a in contradicting(answers, "How many?")]


def test_who_contradicts_whom() -> None:
    assert told() == []
    assert told(answer("58", "a"), answer("17", "b")) == [(1,), (0,)]
    assert told(answer("58", "a"), answer("17", "a")) == [(), ()]
    assert told(answer("58", "a"), answer("nearly five dozen", "b")) == [(), ()]
    # A passage that hardly answers the question is about something else.
    assert told(answer("58", "a"), answer("17", "b", margin=1.0)) == [(), ()]
    sure, doubtful = replace(answer("58", "a"), confidence=0.95), answer("17", "b")
    assert told(sure, replace(doubtful, confidence=0.05)) == [(), ()]
    assert told(sure, replace(doubtful, confidence=0.2)) == [(1,), (0,)]
    # What is near is mostly about the same thing, however doubtful it is.
    assert told(sure, replace(answer("64", "b", margin=1.0), confidence=0.01)) == [(1,), (0,)]
    assert told(sure, replace(answer("64", "b", margin=-1.0), confidence=0.01)) == [(), ()]
    assert told(replace(answer("58", "a"), confidence=0.05), answer("17", "b")) == [(), ()]
    # Of one document the best contradiction alone, and of others theirs.
    four = [
        answer(text, name) for text, name in (("58", "a"), ("17", "b"), ("24", "b"), ("9", "c"))
    ]
    assert told(*four) == [(1, 3), (0,), (), (0,)]


@pytest.mark.parametrize("text", ["€2000", "$ 1500", "£1999", "2000%", "1100 °C"])
def test_what_is_paid_or_measured_is_no_year(text: str) -> None:
    assert isinstance(value_of(text), Quantities)


@given(NUMBERS, NUMBERS)
def test_amounts_are_near_by_their_ratio_in_any_unit(a: int, b: int) -> None:
    assume(max(a, b) != 2 * min(a, b))  # There, rounding decides.
    near = max(a, b) < 2 * min(a, b)
    assert are_near(f"{a} metres", f"{b} metres") == near
    assert are_near(f"{a / 1000} kilometres", f"{b} metres") == near
    assert are_near(f"€{a}", f"€{b}") == near
    assert not are_near(f"{a} metres", f"{b} tonnes")


@given(st.dates(date(1900, 1, 1), date(2090, 1, 1)), st.integers(-400, 400))
def test_days_are_near_within_a_month(day: date, days: int) -> None:
    other = day + timedelta(days)
    told = [f"{d.day} {d:%B} {d.year}" for d in (day, other)]
    assert are_near(*told) == are_near(*reversed(told))
    if abs(days) <= 28:
        assert are_near(*told)
    if abs(days) > 33:
        assert not are_near(*told)


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [
        ("2014", "2016", True),
        ("1932", "1957", False),
        ("19 January 2025", "January 2025", False),
        ("April 2026", "September 2026", True),
        ("2:40 a.m.", "3:10 a.m.", True),
        ("2:40 a.m.", "6:50 p.m.", False),
        ("Lucía Fernández", "Dr. Lucia Ferrandez", True),
        ("Clothilde Rey", "Joris Wendel", False),
        ("0", "0", False),
        ("a skylight", "a service door", False),
        ("58", "Neumann", False),
    ],
)
def test_what_is_near(a: str, b: str, near: bool) -> None:
    assert are_near(a, b) is near is are_near(b, a)


def candidate(text: str, document: str, margin: float = 8.0, score: float = 14.0) -> Candidate:
    hit = Hit(Passage(1, document, 0, len(text), text), 0.8, 1, 1, 1)
    signals = Signals.of(margin=margin, search=0.8, lead=0.0, support=0.0)
    return Candidate((Span(hit, 0, len(text), text, margin, score),), score, signals)


def test_an_exact_amount_comes_before_a_rough_one_that_covers_it() -> None:
    rough, exact = candidate("nearly five dozen", "a", score=20.0), candidate("58", "b", margin=5.0)
    other = candidate("17", "c")
    first, *rest = exact_first([rough, other, exact], "How many?")
    assert (first.text, first.signals, first.score) == ("58", rough.signals, rough.score)
    assert first.spans == exact.spans
    assert rest == [rough, other]
    for unmoved in (
        [rough, other],
        [exact, rough],
        [rough, candidate("58", "a")],
        [rough, candidate("58", "b", margin=1.0)],
        [candidate("55 to 60", "a"), exact],
        [],
    ):
        assert exact_first(unmoved, "How many?") == unmoved


def test_disagreement_on_the_sample_documents(sample_index: Path) -> None:
    """A floor, below what was measured (precision .80, recall .63) on questions written before."""
    gold = sample_gold()
    differing = {row["question"] for row in gold if "disagreement" in row["tags"]}
    assert len(gold) > 2 * len(differing) > 60
    with Pipeline.open(sample_index) as pipeline:
        results = {row["question"]: pipeline.ask(row["question"]) for row in gold}
    flagged = {question for question, result in results.items() if result.disagreement}
    right = len(flagged & differing)
    assert right / len(flagged) >= 0.75
    assert right / len(differing) >= 0.55
    for result in results.values():
        for number, answer in enumerate(result.answers):
            documents = {citation.document for citation in answer.citations}
            for other in answer.disagrees_with:
                rival = result.answers[other]
                assert number in rival.disagrees_with
                assert documents.isdisjoint(c.document for c in rival.citations)
                assert relation(answer.text, rival.text, result.question) is INCOMPATIBLE

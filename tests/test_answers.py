"""SQuAD's metrics, by hand and by law."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.answers import exact_match, f1, normalise, same_answer_key


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat!", "cat"),
        ("a an the", ""),
        ("U.S. Army", "us army"),
        ("theatre", "theatre"),
        ("58,000", "58000"),
        ("“quoted”", "“quoted”"),  # the official script strips ASCII punctuation alone
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("prediction", "golds", "em", "expected"),
    [
        ("58", ["58"], 1, 1.0),
        ("58 defectors", ["58"], 0, 2 / 3),  # precision 1/2, recall 1
        ("nearly five dozen", ["58", "five dozen"], 0, 0.8),  # precision 2/3, recall 1
        ("one", ["two"], 0, 0.0),
        ("", [], 1, 1.0),
        ("58", [], 0, 0.0),
        ("", ["58"], 0, 0.0),
        ("the", ["a"], 1, 1.0),  # nothing is left of either
        ("dog dog cat", ["dog cat cat"], 0, 2 / 3),  # words count as often as they stand
    ],
)
def test_scores(prediction: str, golds: list[str], em: float, expected: float) -> None:
    assert exact_match(prediction, golds) == em
    assert f1(prediction, golds) == pytest.approx(expected)


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_laws(prediction: str, golds: list[str]) -> None:
    assert 0.0 <= exact_match(prediction, golds) <= f1(prediction, golds) <= 1.0
    assert f1(golds[0], golds) == 1.0
    assert f1(prediction, golds) == f1(prediction, golds[::-1])
    assert f1(prediction, golds) == max(f1(prediction, [gold]) for gold in golds)
    assert normalise(normalise(prediction)) == normalise(prediction) or "İ" in prediction


@pytest.mark.parametrize(
    ("one", "other"), [("The 58", "58."), ("“Ida Lund”", "ida lund"), ("a  b", "B")]
)
def test_equal_answers(one: str, other: str) -> None:
    assert same_answer_key(one) == same_answer_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1.5", "15"), ("-5", "5"), ("C++", "C"), ("3-4", "34"), ("?", "!")]
)
def test_different_answers(one: str, other: str) -> None:
    assert same_answer_key(one) != same_answer_key(other)

"""Laws of the passage splitter, and the cases that plain splitters get wrong."""

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus.split import _sentences, sentence_around, split

WORDS = st.sampled_from(
    ["Peter R. Neumann", "U.S. Army.", "Dr. Ng", "é", "😀", "e\u0301", "שלום", "\f", "\r\n",
     "\r", "\n\n", ". ", "? ", "# Title\n", "- item\n", "| a | b |\n", "\ufeff", "\x00", "\u200b",
     "中文。", "x" * 90, "3.14", "word ", "Another sentence follows here. "]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=400), st.lists(WORDS, max_size=80).map("".join))
LONG = 200


def size(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


@settings(max_examples=300)
@given(TEXTS, st.integers(8, 60), st.integers(0, 12))
@example("x" * 5000, 20, 4)
@example("word " * 500, 20, 19)
@example("a. " * 300, 10, 10)
def test_passages_cover_the_text_within_their_size(
    tokenizer: Any, text: str, max_tokens: int, overlap: int
) -> None:
    extents = split(text, tokenizer, max_tokens=max_tokens, overlap_tokens=overlap)
    covered: set[int] = set()
    for start, end in extents:
        assert 0 <= start < end <= len(text)
        assert size(tokenizer, text[start:end]) <= max_tokens
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        covered.update(range(start, end))
    assert all(i in covered or c.isspace() for i, c in enumerate(text))


@settings(max_examples=300)
@given(TEXTS, st.integers(8, 60), st.integers(0, 12))
@example(".:0\r# 0102.:0", 8, 2)
def test_every_passage_adds_something_new(
    tokenizer: Any, text: str, max_tokens: int, overlap: int
) -> None:
    extents = split(text, tokenizer, max_tokens=max_tokens, overlap_tokens=overlap)
    for (start, end), (next_start, next_end) in pairwise(extents):
        assert start < next_start
        assert end < next_end
        repeated = text[next_start:end] if next_start < end else ""
        assert size(tokenizer, repeated) <= overlap


@given(TEXTS, st.data())
def test_a_sentence_holds_its_span(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    low, high = sentence_around(text, start, end)
    assert 0 <= low <= start <= end <= high <= len(text)


@pytest.mark.parametrize(
    ("text", "answer", "sentence"),
    [
        ("It was said. Peter R. Neumann wrote it. So.", "Neumann", "Peter R. Neumann wrote it."),
        ("He left the U.S. Army. Then home.", "U.S.", "He left the U.S. Army."),
        ("At 7 p.m. on Friday Dr. Smith paid $3.5 million. Yes.", "$3.5 million",
         "At 7 p.m. on Friday Dr. Smith paid $3.5 million."),
        ("# Heading\nThe text has 58 words. End.", "58", "The text has 58 words."),
        ("- one item\n- 58 items\n- last", "58", "- 58 items"),
        ("Broken\nline with 58 in it.\n\nNext.", "58", "Broken\nline with 58 in it."),
        ("First page\fSecond page has 58.", "58", "Second page has 58."),
        ("A\r\n\r\nB has 58.\r\n\r\nC", "58", "B has 58."),
    ],
)  # fmt: skip
def test_the_sentence_around_an_answer(text: str, answer: str, sentence: str) -> None:
    start = text.index(answer)
    low, high = sentence_around(text, start, start + len(answer))
    assert text[low:high] == sentence


def test_a_passage_never_ends_with_a_heading(tokenizer: Any) -> None:
    text = "\n\n".join(f"## Part {n}\n\n" + f"Sentence number {n} is here. " * 5 for n in range(9))
    extents = split(text, tokenizer, max_tokens=60, overlap_tokens=10)
    assert len(extents) > 3
    for start, end in extents:
        assert not text[start:end].splitlines()[-1].startswith("#")


def test_a_passage_prefers_to_end_with_a_paragraph(tokenizer: Any) -> None:
    paragraph = "One short sentence stands here. " * 5
    text = "\n\n".join([paragraph.strip()] * 6)
    for start, end in split(text, tokenizer, max_tokens=50, overlap_tokens=0):
        assert text[start:end] == paragraph.strip()


def test_neighbours_overlap_in_whole_sentences(tokenizer: Any) -> None:
    text = " ".join(f"Sentence number {n} says a little." for n in range(40))
    extents = split(text, tokenizer, max_tokens=40, overlap_tokens=10)
    for (_, end), (start, _) in pairwise(extents):
        assert text[start:end].startswith("Sentence number")
        assert text[start:end].endswith("little.")


@pytest.mark.parametrize("unit", ["a", "word ", "aé😀", "x\n", ". "])
def test_monstrous_lines_are_split_in_linear_time(tokenizer: Any, unit: str) -> None:
    import time

    def seconds(n: int) -> float:
        started = time.perf_counter()
        split(unit * n, tokenizer, max_tokens=160, overlap_tokens=32)
        return time.perf_counter() - started

    seconds(2_000)
    small, large = seconds(10_000), seconds(80_000)
    assert large < 8 * small * 5 + 1


def test_quotation_marks_that_are_never_closed_take_linear_time() -> None:
    def seconds(n: int) -> float:
        started = time.process_time()
        assert sum(1 for _ in _sentences("«" * n)) > 1
        return time.process_time() - started

    seconds(21_000)
    # Four times as many: sixteen times as long would be quadratic, and days for a large file.
    assert seconds(200_000) < 8 * seconds(50_000) + 0.2


def test_sentences_of_a_very_long_line_are_those_of_a_short_one() -> None:
    sentences = [
        f"Sentence {n} was written by Dr. N. E. Body in the U.S. in haste." for n in range(999)
    ]
    line = " ".join(sentences)
    assert len(line) > 2 * 20_000
    assert [line[found.start : found.end] for found in _sentences(line)] == sentences

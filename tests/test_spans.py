"""The span decoder equals a plain one; windows hold every token and every answer."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa.spans import ScoredSpan, Window, best_spans, windows


def a_window(first: int, tokens: int, after: int = 1) -> Window:
    length = first + tokens + after
    offsets = np.array([(3 * i, 3 * i + 2) for i in range(tokens)]).reshape(-1, 2)
    zeros = np.zeros(length, dtype=np.int64)
    return Window(zeros, zeros, first, offsets.astype(np.int64))


def brute_force(
    starts: Any, ends: Any, window: Window, max_answer_tokens: int, n: int, token_cost: float
) -> list[ScoredSpan]:
    null = float(starts[0]) + float(ends[0])
    found = []
    for i in range(len(window.offsets)):
        for j in range(i, min(i + max_answer_tokens, len(window.offsets))):
            score = float(starts[window.first + i]) + float(ends[window.first + j])
            score -= token_cost * (j - i)
            found.append((-score, i, j))
    return [
        ScoredSpan(int(window.offsets[i, 0]), int(window.offsets[j, 1]), -score, null)
        for score, i, j in sorted(found)[:n]
    ]


@settings(max_examples=300)
@given(
    st.integers(1, 12),
    st.integers(0, 14),
    st.integers(1, 20),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.07, 1.0]),
    st.data(),
)
def test_decoding_equals_brute_force(
    first: int, tokens: int, max_answer: int, n: int, cost: float, data: st.DataObject
) -> None:
    window = a_window(first, tokens)
    length = len(window.input_ids)
    # Few distinct values, so that ties are common.
    logits = st.lists(
        st.one_of(st.integers(-3, 3).map(float), st.floats(-20, 20, width=32)),
        min_size=length, max_size=length,
    ).map(lambda values: np.array(values, dtype=np.float32))  # fmt: skip
    starts, ends = data.draw(logits), data.draw(logits)
    expected = brute_force(starts, ends, window, max_answer, n, cost)
    found = best_spans(starts, ends, window, max_answer_tokens=max_answer, n=n, token_cost=cost)
    assert found == expected


def test_no_span_leaves_the_passage() -> None:
    window = a_window(first=5, tokens=4)
    starts = np.full(10, -5, dtype=np.float32)
    ends = starts.copy()
    starts[[0, 2]] = 9  # the null position and a word of the question
    ends[[0, 9]] = 9  # and the closing special token
    spans = best_spans(starts, ends, window, max_answer_tokens=30, n=99)
    assert len(spans) == 10  # 4 + 3 + 2 + 1
    assert all(0 <= span.start < span.end <= 11 for span in spans)
    assert {span.null_score for span in spans} == {18.0}
    assert spans[0].margin == -28.0


@settings(max_examples=150)
@given(
    st.text("ab ?é😀", min_size=1, max_size=60),
    st.text("word é 😀.,\n", max_size=500),
    st.integers(12, 60),
    st.integers(1, 10),
)
def test_windows_hold_every_token_and_overlap(
    tokenizer: Any, question: str, passage: str, max_tokens: int, stride: int
) -> None:
    whole = tokenizer.encode(passage, add_special_tokens=False)
    found = list(windows(tokenizer, question, passage, max_tokens=max_tokens, stride=stride))
    if not whole.ids:
        assert found == []
        return
    for window in found:
        assert len(window.input_ids) <= max_tokens
        assert len(window.input_ids) == len(window.token_type_ids)
        end = window.first + len(window.offsets)
        assert window.input_ids[0] == tokenizer.token_to_id("[CLS]")
        assert window.input_ids[window.first - 1] == tokenizer.token_to_id("[SEP]")
        assert window.input_ids[end:].tolist() == [tokenizer.token_to_id("[SEP]")]
        assert set(window.token_type_ids[window.first : end].tolist()) == {1}
    offsets = [tuple(pair) for window in found for pair in window.offsets.tolist()]
    assert sorted(set(offsets)) == sorted(set(whole.offsets))
    # Every run of `stride` tokens lies whole in some window, so no short answer is cut.
    starts = [whole.offsets.index(tuple(window.offsets[0].tolist())) for window in found]
    if len(set(whole.offsets)) == len(whole.offsets):
        for one, (start, following) in zip(found, pairwise(starts), strict=False):
            room = len(one.offsets)
            assert start + room - following >= min(stride, room // 2)


def test_a_monstrous_question_leaves_room_for_the_passage(tokenizer: Any) -> None:
    (window, *_) = windows(tokenizer, "why " * 900, "Because 58.", max_tokens=64, stride=8)
    assert len(window.input_ids) <= 64
    assert len(window.offsets) == 3


def test_answer_offsets_are_code_points(tokenizer: Any) -> None:
    passage = "😀😀 e\u0301tait 58 ans"
    (window,) = windows(tokenizer, "Combien?", passage, max_tokens=64, stride=8)
    quotes = [passage[start:end] for start, end in window.offsets.tolist()]
    assert "58" in quotes


@pytest.mark.parametrize("n", [1, 3])
def test_order_is_total(n: int) -> None:
    window = a_window(first=2, tokens=5)
    flat = np.zeros(8, dtype=np.float32)
    spans = best_spans(flat, flat, window, max_answer_tokens=2, n=n)
    assert [(span.start, span.end) for span in spans] == [(0, 2), (0, 5), (3, 5)][:n]

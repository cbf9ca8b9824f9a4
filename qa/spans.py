"""From a question and a passage to model inputs, and from logits back to spans of the passage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ScoredSpan", "Window", "best_spans", "windows"]

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """One model input: special tokens, question, a run of passage tokens, special tokens."""

    input_ids: Ints
    """Shape (length,)."""
    token_type_ids: Ints
    """Shape (length,); BERT's segments, 1 on the passage. Models without segments ignore it."""
    first: int
    """Position of the first passage token."""
    offsets: Ints
    """Shape (passage tokens, 2): where each passage token starts and ends in the passage's text."""


@dataclass(frozen=True, slots=True, order=True)
class ScoredSpan:
    """A candidate answer: characters `start:end` of the passage.

    `score` is the sum of its start and end logits, less what its length costs;
    `null_score` is the sum at the first token, which the reader was taught to choose
    when the window holds no answer. Their difference compares across windows,
    passages and documents.
    """

    start: int
    end: int
    score: float
    null_score: float

    @property
    def margin(self) -> float:
        """How far the span beats "no answer here", in logits."""
        return self.score - self.null_score


def windows(
    tokenizer: "Tokenizer", question: str, passage: str, *, max_tokens: int, stride: int
) -> Iterator[Window]:
    """The windows in which a model of `max_tokens` positions reads the passage, in order.

    One, where everything fits. Otherwise neighbours share `stride` passage
    tokens, or half of them where a window holds fewer than twice as many, so
    that an answer of up to so many tokens lies whole in one of them.
    A question longer than half a window is cut at its end; a passage without
    tokens has no window.

    The tokenizer must neither truncate nor pad. Its own pair template supplies
    the special tokens, so that BERT, RoBERTa, DeBERTa and their like all work.
    """
    pair = tokenizer.encode(question, passage)
    ids = np.asarray(pair.ids, dtype=np.int64)
    types = np.asarray(pair.type_ids, dtype=np.int64)
    sequence = np.asarray([-1 if s is None else s for s in pair.sequence_ids], dtype=np.int64)
    offsets = np.asarray(pair.offsets, dtype=np.int64).reshape(-1, 2)

    in_passage = np.flatnonzero(sequence == 1)
    if not len(in_passage):
        return
    begin, end = int(in_passage[0]), int(in_passage[-1]) + 1
    surplus = np.flatnonzero(sequence == 0)[max_tokens // 2 :]
    before = np.delete(np.arange(begin), surplus)
    after = np.arange(end, len(ids))

    room = max_tokens - len(before) - len(after)
    step = room - min(stride, room // 2)
    for low in range(begin, end, step):
        high = min(low + room, end)
        take = np.concatenate([before, np.arange(low, high), after])
        yield Window(ids[take], types[take], len(before), offsets[low:high])
        if high == end:
            return


def best_spans(
    start_logits: Floats,
    end_logits: Floats,
    window: Window,
    *,
    max_answer_tokens: int,
    n: int,
    token_cost: float = 0.0,
) -> list[ScoredSpan]:
    """The `n` highest-scoring spans of at most `max_answer_tokens` tokens of one window.

    Args:
        start_logits: shape (length,), one for each token of the window.
        end_logits: shape (length,).
        window: tells which tokens are the passage's; no span leaves them.
        max_answer_tokens: how many tokens a span may have.
        n: how many to return; fewer come back where the passage has fewer.
        token_cost: what each token after a span's first takes from its score, in logits.

    Returns:
        Best first; equal scores in order of position, so that the order is total.
    """
    tokens = len(window.offsets)
    if tokens == 0:
        return []
    starts = start_logits[window.first : window.first + tokens].astype(np.float64)
    ends = end_logits[window.first : window.first + tokens].astype(np.float64)
    null_score = float(start_logits[0]) + float(end_logits[0])

    # Row i, column j: the span from token i to token i + j. Ends past the passage score -inf.
    width = min(max_answer_tokens, tokens)
    padded = np.concatenate([ends, np.full(width - 1, -np.inf)])
    scores = starts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, width)
    scores -= token_cost * np.arange(width)
    flat = scores.ravel()

    # Everything that ties with the n-th best stays in, so that the sort below decides, not chance.
    keep = min(n, int(np.isfinite(flat).sum()))
    threshold = np.partition(flat, len(flat) - keep)[len(flat) - keep]
    candidates = np.flatnonzero(flat >= threshold)
    candidates = candidates[np.lexsort((candidates, -flat[candidates]))][:keep]

    first_tokens, lengths = np.divmod(candidates, width)
    spans = zip(
        window.offsets[first_tokens, 0].tolist(),
        window.offsets[first_tokens + lengths, 1].tolist(),
        flat[candidates].tolist(),
        strict=True,
    )
    return [ScoredSpan(start, end, score, null_score) for start, end, score in spans]

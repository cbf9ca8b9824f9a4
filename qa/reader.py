"""Read passages for spans that answer a question."""

from collections.abc import Sequence

from corpus.records import ModelIdentity
from embeddings.runtime import ExportedModel, TokenSequence
from qa.settings import TOKEN_COST
from qa.spans import ScoredSpan, best_spans, windows

__all__ = ["MAX_TOKENS", "STRIDE", "Reader"]

MAX_TOKENS = 384
"""Of a window, question and all."""
STRIDE = 128
"""How many tokens two windows of a passage share."""
_MAX_ANSWER_TOKENS = 30
"""Nearly all of SQuAD's answers are shorter; longer spans are mostly two answers with what is
between them."""


class Reader:
    """An extractive reader on ONNX Runtime, without torch."""

    def __init__(self, model: ExportedModel) -> None:
        self._model = model

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._model.identity

    def read(self, question: str, texts: Sequence[str], *, n: int) -> list[list[ScoredSpan]]:
        """The `n` best spans of each text, best first by their margin over "no answer".

        Long texts are read in overlapping windows; a span found in several keeps
        its best margin. Spans of one text may overlap.
        """
        return self._model.spread(lambda text: self._read(question, text, n), texts, size=len)

    def _read(self, question: str, text: str, n: int) -> list[ScoredSpan]:
        found: dict[tuple[int, int], ScoredSpan] = {}
        for window in windows(
            self._model.tokenizer,
            question,
            text,
            max_tokens=min(MAX_TOKENS, self._model.max_tokens),
            stride=STRIDE,
        ):
            starts, ends = self._model.run(TokenSequence(window.input_ids, window.token_type_ids))
            spans = best_spans(
                starts[0],
                ends[0],
                window,
                max_answer_tokens=_MAX_ANSWER_TOKENS,
                n=n,
                token_cost=TOKEN_COST,
            )
            for span in spans:
                known = found.setdefault((span.start, span.end), span)
                if span.margin > known.margin:
                    found[span.start, span.end] = span
        return sorted(found.values(), key=lambda span: (-span.margin, span.start, span.end))[:n]

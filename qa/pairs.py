"""Gold questions as what an encoder learns from: each with the passage that answers it."""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from corpus.split import Extent, split
from embeddings.train import Pair
from qa.gold import Article, Question, read_squad
from qa.lessons import TrainingSet
from qa.settings import OVERLAP_TOKENS, PASSAGE_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["pairs"]


def pairs(sets: Sequence[TrainingSet], tokenizer: "Tokenizer", *, seed: int) -> list[Pair]:
    """The answerable questions of the sets, or their shares of them, in order.

    A question's passage is cut from its paragraph as an index would cut it, and
    holds the whole of its first gold span.
    """
    rng = random.Random(seed)
    return [
        pair
        for entry in sets
        for pair in _pairs(read_squad(entry.path), tokenizer)
        if entry.share >= 1.0 or rng.random() < entry.share
    ]


def _pairs(articles: Sequence[Article], tokenizer: "Tokenizer") -> Iterator[Pair]:
    for article in articles:
        for paragraph in article.paragraphs:
            extents = split(
                paragraph.text,
                tokenizer,
                max_tokens=PASSAGE_TOKENS,
                overlap_tokens=OVERLAP_TOKENS,
            )
            for question in paragraph.questions:
                passage = _passage(paragraph.text, extents, question)
                if passage is not None:
                    yield Pair(question.text, passage, question.golds)


def _passage(text: str, extents: Sequence[Extent], question: Question) -> str | None:
    """The first of these passages of the text that holds the question's first gold span whole."""
    for span in question.spans[:1]:
        for start, end in extents:
            if start <= span.start and span.end <= end:
                return text[start:end]
    return None

"""Gold questions as what an encoder learns from: each with the passage that answers it."""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from corpus.split import split
from embeddings.train import Pair
from qa.gold import Article, read_squad
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
                for span in question.spans[:1]:
                    for start, end in extents:
                        if start <= span.start and span.end <= end:
                            passage = paragraph.text[start:end]
                            yield Pair(question.text, passage, question.golds)
                            break

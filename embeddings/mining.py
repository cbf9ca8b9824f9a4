"""What a search would find among plain texts, without an index: for training and measuring."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embeddings.encoder import Encoder
from embeddings.lexical import LexicalIndex
from embeddings.search import DEPTH, fuse

__all__ = ["mine"]

_BLOCK = 128
"""So many questions are compared with all passages at once."""


def mine(
    encoder: Encoder,
    questions: Sequence[str],
    passages: Sequence[str],
    *,
    k: int,
    dense_weight: float,
) -> list[list[int]]:
    """For each question the positions of the `k` passages that hybrid search ranks highest.

    Args:
        encoder: gives both their vectors.
        questions: any number.
        passages: different texts, searched by their words too.
        k: how many to return; fewer come back where there are fewer.
        dense_weight: of the vectors beside the words, in [0, 1].
    """
    if not questions or not passages:
        return [[] for _ in questions]
    depth = min(max(k, DEPTH), len(passages))
    vectors = encoder.encode_passages(passages)
    asked = encoder.encode_queries(questions)
    with tempfile.TemporaryDirectory(prefix="citespan-") as folder:
        lexical = LexicalIndex.create(Path(folder) / "lexical")
        lexical.update([], enumerate(passages))
        found = []
        for low in range(0, len(questions), _BLOCK):
            scores = asked[low : low + _BLOCK] @ vectors.T
            nearest = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            for question, row, positions in zip(questions[low:], scores, nearest, strict=False):
                worded = lexical.search(question, depth)
                # As in a search, what only the words found gets its dense score too.
                known = {*positions.tolist(), *(position for position, _ in worded)}
                dense = [(position, float(row[position])) for position in known]
                fused = fuse(dense, worded, dense_weight)
                found.append([position for position, _ in fused[:k]])
    return found

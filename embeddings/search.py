"""Hybrid search: dense and lexical, fused into one total order."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from corpus.records import Passage
from corpus.store import Snapshot
from embeddings.encoder import Encoder
from embeddings.lexical import LexicalIndex
from embeddings.vectors import Scored, VectorIndex, inner_products

__all__ = ["Hit", "Search", "fuse"]

_DEPTH = 100
"""How many candidates each of the two searches gives, at least."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found."""

    passage: Passage
    score: float
    """The fused score, in [0, 1]; comparable within one search."""
    rank: int
    """From 1."""
    dense_rank: int | None
    """Its rank by vectors alone; None when that search did not find it."""
    lexical_rank: int | None
    """Its rank by words alone; None when it shares none, or too few."""


class Search:
    """Both indexes of one snapshot, searched together."""

    def __init__(
        self,
        snapshot: Snapshot,
        encoder: Encoder,
        vectors: VectorIndex,
        lexical: LexicalIndex,
    ) -> None:
        self._snapshot = snapshot
        self._encoder = encoder
        self._vectors = vectors
        self._lexical = lexical
        self._dense_weight = snapshot.recipe.dense_weight

    @classmethod
    def open(cls, snapshot: Snapshot, encoder: Encoder) -> Self:
        """The search over the snapshot's derived artefacts."""
        folder = snapshot.artefacts
        return cls(
            snapshot,
            encoder,
            VectorIndex.open(folder),
            LexicalIndex.open(lexical_folder(folder)),
        )

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` best passages for the question, best first; fewer where there are fewer."""
        depth = max(_DEPTH, k)
        query = self._encoder.encode_queries([question])[0]
        dense = self._vectors.search(query, depth, self._snapshot.passage_vectors)
        lexical = self._lexical.search(question, depth)
        # A passage that only the words found gets its dense score too, from its stored vector.
        known = {id_ for id_, _ in dense}
        others = [id_ for id_, _ in lexical if id_ not in known]
        dense_scores = dense + inner_products(query, self._snapshot.passage_vectors(others))

        fused = fuse(dense_scores, lexical, self._dense_weight)[:k]
        dense_ranks, lexical_ranks = _ranks(dense), _ranks(lexical)
        passages = self._snapshot.passages([id_ for id_, _ in fused])
        return [
            Hit(passage, score, rank, dense_ranks.get(id_), lexical_ranks.get(id_))
            for rank, (passage, (id_, score)) in enumerate(zip(passages, fused, strict=True), 1)
        ]


def lexical_folder(generation: Path) -> Path:
    """Where a generation's lexical index lies."""
    return generation / "lexical"


def fuse(dense: Scored, lexical: Scored, dense_weight: float) -> Scored:
    """The weighted mean of both scores, each stretched to [0, 1] over its candidates.

    Min-max fusion (Lee 1997). A passage that one search did not score gets 0
    from it.
    """
    scores: dict[int, float] = {}
    for scored, weight in ((dense, dense_weight), (lexical, 1 - dense_weight)):
        for id_, score in _stretched(scored):
            scores[id_] = scores.get(id_, 0.0) + weight * score
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def _stretched(scored: Scored) -> Scored:
    if not scored:
        return []
    values = [score for _, score in scored]
    low, high = min(values), max(values)
    with suppress(ZeroDivisionError):
        return [(id_, (score - low) / (high - low)) for id_, score in scored]
    return [(id_, 1.0) for id_, _ in scored]


def _ranks(scored: Scored) -> dict[int, int]:
    return {id_: rank for rank, (id_, _) in enumerate(scored, 1)}

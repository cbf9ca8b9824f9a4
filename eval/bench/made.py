"""Passages and vectors in any number, made with a seed, for indexes that no one has to hand.

Both are modelled on real ones. Words come from a real text, and from made words where
that ends, and fall off as in natural language (Zipf-Mandelbrot). Vectors are real ones moved in the
directions in which real ones differ, as far as near neighbours are apart: among vectors
that are uniformly random all are equally far from each other, and recall means nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from embeddings.vectors import STORED, Floats

__all__ = ["MadeText", "MadeVectors", "neighbour_distances"]

_WORD = re.compile(r"[^\W\d_]+")
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
_VOCABULARY = 50_000
_SHIFT, _EXPONENT = 2.7, 1.05
"""Of Zipf-Mandelbrot's law, as fitted to English by many."""
_PASSAGE_WORDS = (50, 95)
"""The fewest and most words of a passage; a real one of 160 tokens has some 100, a last one few."""
_SENTENCE_WORDS = 17
"""The mean length of a sentence."""
_BATCH = 10_000
"""How many are made at once; each batch has a seed of its own."""


class MadeText:
    """Sentences of words that are as frequent as words are in natural language."""

    def __init__(self, texts: Iterable[str], *, seed: int = 0) -> None:
        """Take the words of these texts, the frequent ones as frequent ones.

        Args:
            texts: in natural language.
            seed: the same seed and texts give the same passages.
        """
        self._seed = seed
        counts = Counter(word.lower() for text in texts for word in _WORD.findall(text))
        words = [word for word, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]
        rng = np.random.default_rng(seed)
        known = set(words)
        drawn = rng.integers(len(_SYLLABLES), size=(2 * _VOCABULARY, 4)).tolist()
        for syllables, length in zip(drawn, rng.integers(2, 5, size=len(drawn)), strict=True):
            word = "".join(_SYLLABLES[number] for number in syllables[:length])
            if len(words) < _VOCABULARY and word not in known:
                known.add(word)
                words.append(word)
        self.words = words
        """By rank, the most frequent first."""
        share = (np.arange(1, len(words) + 1) + _SHIFT) ** -_EXPONENT
        self.shares: Floats = (share / share.sum()).astype(np.float64)
        """How often each of the words comes up."""
        self._cumulative = np.cumsum(self.shares)

    def passages(self, n: int) -> Iterator[str]:
        """The first `n` passages, of whole sentences."""
        low, high = _PASSAGE_WORDS
        for number in range(0, n, _BATCH):
            rng = np.random.default_rng((self._seed, number))
            sizes = rng.integers(low, high + 1, size=_BATCH).tolist()
            drawn = np.searchsorted(self._cumulative, rng.random(_BATCH * high))
            # Rounding may leave the last sum a little below 1.
            ranks = np.minimum(drawn, len(self.words) - 1).tolist()
            lengths = (rng.poisson(_SENTENCE_WORDS - 3, _BATCH * high) + 3).tolist()
            for row in range(min(_BATCH, n - number)):
                words = map(self.words.__getitem__, ranks[row * high : row * high + sizes[row]])
                yield _as_sentences(list(words), lengths[row * high : (row + 1) * high])


class MadeVectors:
    """Unit vectors that lie as real ones do."""

    def __init__(self, real: Floats, *, seed: int = 0) -> None:
        """Take these as what vectors are like.

        Args:
            real: shape (m, dim), unit vectors of different sentences, m at least 2.
            seed: the same seed and vectors give the same ones.
        """
        self._real = real.astype(np.float32)
        self._seed = seed
        self.distances = neighbour_distances(self._real)
        """How far each of the real ones is from the nearest other, shape (m,)."""
        centred = self._real - self._real.mean(axis=0)
        # Normal noise with the covariance of real vectors, of an expected squared length of 1.
        values, directions = np.linalg.eigh(centred.T @ centred)
        values = np.maximum(values, 0.0)
        self._noise = (np.sqrt(values / values.sum())[:, None] * directions.T).astype(np.float32)

    def batches(self, n: int) -> Iterator[Floats]:
        """The first `n` vectors, shape (up to 10,000, dim), float32, rounded as they are stored."""
        for number, first in enumerate(range(0, n, _BATCH)):
            size = min(_BATCH, n - first)
            rng = np.random.default_rng((self._seed, number))
            rows = rng.integers(len(self._real), size=_BATCH)
            far = rng.choice(self.distances, size=_BATCH).astype(np.float32)
            drawn = rng.standard_normal((_BATCH, self._noise.shape[0]), dtype=np.float32)
            made = self._real[rows] + far[:, None] * (drawn @ self._noise)
            made /= np.linalg.norm(made, axis=1, keepdims=True)
            yield made[:size].astype(STORED).astype(np.float32)

    def nearest(self, queries: Floats, n: int, k: int) -> list[list[int]]:
        """For each query the numbers of the `k` nearest among the first `n`, by exact search."""
        best = np.empty((len(queries), 0), dtype=np.float32)
        which = np.empty((len(queries), 0), dtype=np.int64)
        first = 0
        for batch in self.batches(n):
            numbers = np.broadcast_to(
                np.arange(first, first + len(batch)), (len(queries), len(batch))
            )
            best = np.hstack([best, queries @ batch.T])
            which = np.hstack([which, numbers])
            order = np.argsort(-best, axis=1, kind="stable")[:, :k]
            best, which = np.take_along_axis(best, order, 1), np.take_along_axis(which, order, 1)
            first += len(batch)
        found: list[list[int]] = which.tolist()
        return found


def neighbour_distances(vectors: Floats) -> Floats:
    """How far each vector is from the nearest other one, shape (n,)."""
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    squared = np.maximum(2.0 - 2.0 * products.max(axis=1), 0.0)
    distances: Floats = np.sqrt(squared).astype(np.float32)
    return distances


def _as_sentences(words: Sequence[str], lengths: Sequence[int]) -> str:
    """The words as sentences of these lengths, as far as there are words."""
    made = []
    at = 0
    for length in lengths:
        made.append(" ".join(words[at : at + length]).capitalize())
        at += length
        if at >= len(words):
            break
    return ". ".join(made) + "."

"""Figures over questions: each takes a weight for every question and gives one number.

With all weights 1 that is the figure itself. With the weights of a resample it
is the figure of that resample, so that every interval is made by the very code
that made its figure.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Auroc",
    "BestThreshold",
    "Bools",
    "CalibrationError",
    "Floats",
    "Mean",
    "RiskCoverageArea",
    "Statistic",
    "ndcg",
    "reciprocal_rank",
    "reliability",
    "risk_coverage",
]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

BINS = 10
"""Bins of equal width in which confidence is compared with what came of it."""


class Statistic(Protocol):
    """A figure as a function of the weights of the questions."""

    @property
    def concerned(self) -> Bools:
        """Which questions it is made of, shape (questions,)."""

    def __call__(self, weights: Floats) -> Floats:
        """The figure under each row of weights.

        Args:
            weights: shape (rows, questions), how many times each question counts.

        Returns:
            Shape (rows,), float64; NaN where the weights leave nothing to measure.
        """


class Mean:
    """The mean of one value a question; NaN marks questions that it does not concern."""

    def __init__(self, values: ArrayLike) -> None:
        given = np.asarray(values, dtype=np.float64)
        self._values = np.nan_to_num(given)
        self.concerned: Bools = ~np.isnan(given)

    def __call__(self, weights: Floats) -> Floats:
        """See `Statistic`."""
        return _divide(weights @ self._values, weights @ self.concerned.astype(np.float64))


class _Ranked:
    """What several figures share: the questions from the surest on, and where ties end."""

    def __init__(self, confidences: ArrayLike, values: ArrayLike) -> None:
        given = np.asarray(confidences, dtype=np.float64)
        self._order = np.argsort(-given, kind="stable")
        self._confidences = given[self._order]
        self._values = np.asarray(values, dtype=np.float64)[self._order]
        # Positions of the last of each run of equal confidences.
        changes = np.flatnonzero(np.diff(self._confidences))
        self._ends = np.append(changes, len(given) - 1) if len(given) else changes
        self.concerned: Bools = np.ones(len(given), dtype=np.bool_)

    def _grouped(self, weights: Floats) -> tuple[Floats, Floats]:
        """Of each run of ties: its weight, and its weighted sum of values; shape (rows, runs)."""
        ranked = weights[:, self._order]
        totals = np.cumsum(ranked, axis=1)[:, self._ends]
        sums = np.cumsum(ranked * self._values, axis=1)[:, self._ends]
        return _differences(totals), _differences(sums)


class Auroc(_Ranked):
    """How often a right answer is surer than a wrong one; ties count half.

    The area under the receiver operating characteristic (Hanley & McNeil 1982).
    """

    def __call__(self, weights: Floats) -> Floats:
        """See `Statistic`; NaN where all are right or all wrong."""
        totals, right = self._grouped(weights)
        wrong = totals - right
        right_before = np.cumsum(right, axis=1) - right
        wins = (wrong * (right_before + right / 2)).sum(axis=1)
        return _divide(wins, right.sum(axis=1) * wrong.sum(axis=1))


class RiskCoverageArea(_Ranked):
    """The mean risk when only the surest answer is given, the two surest, … all of them.

    AURC (Geifman & El-Yaniv 2017); the risk is the share of wrong ones among those
    given. Of equally sure answers it is the mean over all orders among them.
    """

    def __call__(self, weights: Floats) -> Floats:
        """See `Statistic`; the weights are whole numbers, the values in [0, 1]."""
        totals, right = self._grouped(weights)
        given = np.cumsum(totals, axis=1)
        before = given - totals
        wrong = totals - right
        wrong_before = np.cumsum(wrong, axis=1) - wrong
        # The j-th of a run is given with risk (wrong_before + rate * j) / (before + j), and the
        # sum of 1 / (before + j) is a difference of harmonic numbers.
        most = int(given.max(initial=0))
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
        span = harmonic[given.astype(np.int64)] - harmonic[before.astype(np.int64)]
        rate = _divide(wrong, totals, empty=0.0)
        risks = rate * totals + (wrong_before - rate * before) * span
        return _divide(risks.sum(axis=1), totals.sum(axis=1))


class BestThreshold(_Ranked):
    """The best mean that any threshold reaches, as SQuAD 2.0's script has it.

    Args:
        confidences: of each question's best answer.
        given: what its best answer scores.
        withheld: what saying nothing scores.
    """

    def __init__(self, confidences: ArrayLike, given: ArrayLike, withheld: ArrayLike) -> None:
        self._withheld = np.asarray(withheld, dtype=np.float64)
        super().__init__(confidences, np.asarray(given, dtype=np.float64) - self._withheld)

    def __call__(self, weights: Floats) -> Floats:
        """See `Statistic`."""
        return _divide(self._totals(weights).max(axis=1, initial=-np.inf), weights.sum(axis=1))

    def threshold(self) -> float:
        """The confidence from which answers should be given; above 1 where none should."""
        best = int(self._totals(np.ones((1, len(self._values))))[0].argmax())
        return float(self._confidences[self._ends[best - 1]]) if best else float("inf")

    def _totals(self, weights: Floats) -> Floats:
        """What is reached when nothing is given, the surest run of ties, the two surest."""
        _, gains = self._grouped(weights)
        nothing = (weights @ self._withheld)[:, None]
        return np.concatenate([nothing, nothing + np.cumsum(gains, axis=1)], axis=1)


class CalibrationError:
    """The expected calibration error (Naeini et al. 2015), in ten bins of equal width.

    The mean distance, over bins, of how sure the answers are from how often they
    are right.
    """

    def __init__(self, confidences: ArrayLike, right: ArrayLike) -> None:
        sure = np.asarray(confidences, dtype=np.float64)
        # Shape (questions, bins): by how much each is surer than right, in its bin.
        self._gaps = _in_bins(sure) * (sure - np.asarray(right, dtype=np.float64))[:, None]
        self.concerned: Bools = np.ones(len(sure), dtype=np.bool_)

    def __call__(self, weights: Floats) -> Floats:
        """See `Statistic`."""
        return _divide(np.abs(weights @ self._gaps).sum(axis=1), weights.sum(axis=1))


def reliability(
    confidences: Sequence[float], right: Sequence[float]
) -> list[tuple[int, float, float]]:
    """Of each of the ten bins that holds any: how many, mean confidence, share that is right."""
    sure, true = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    masks = _in_bins(sure).T.astype(bool)
    return [
        (int(mask.sum()), float(sure[mask].mean()), float(true[mask].mean()))
        for mask in masks
        if mask.any()
    ]


def risk_coverage(
    confidences: Sequence[float], right: Sequence[float]
) -> list[tuple[float, float]]:
    """Pairs of coverage and risk: the share of answers given, and of those that are wrong."""
    ranked = _Ranked(confidences, right)
    n_all = len(confidences)
    totals, rights = ranked._grouped(np.ones((1, n_all)))
    given, correct = np.cumsum(totals[0]), np.cumsum(rights[0])
    return [(float(n / n_all), float(1 - k / n)) for n, k in zip(given, correct, strict=True)]


def reciprocal_rank(rank: int | None) -> float:
    """1 over the rank of the first relevant hit, 0.0 where there is none.

    >>> reciprocal_rank(4), reciprocal_rank(None)
    (0.25, 0.0)
    """
    return 1 / rank if rank else 0.0


def ndcg(gains: Sequence[float], relevant: Sequence[float], k: int) -> float:
    """Normalised discounted cumulative gain of the first `k` hits (Järvelin & Kekäläinen 2002).

    The gain of a hit is its degree of relevance, discounted by log2(rank + 1), as
    trec_eval has it.

    Args:
        gains: of the hits in order, 0 for one that is not relevant.
        relevant: the gains of everything that is relevant, found or not.
        k: how many hits count.

    >>> round(ndcg([0, 1], [1], 10), 3)
    0.631
    """
    best = _discounted(sorted(relevant, reverse=True)[:k])
    return _discounted(gains[:k]) / best if best else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, 1)))


def _in_bins(confidences: Floats) -> Floats:
    """Shape (questions, bins): 1.0 in the bin of each; 1.0 itself lies in the last."""
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    return np.eye(BINS)[bins]


def _differences(cumulated: Floats) -> Floats:
    return np.diff(cumulated, axis=1, prepend=0.0)


def _divide(sums: Floats, counts: Floats, empty: float = np.nan) -> Floats:
    """Quotients; `empty` where there is nothing to divide by."""
    known = counts > 0
    return np.where(known, sums / np.where(known, counts, 1.0), empty)

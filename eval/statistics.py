"""How sure a figure is: intervals, and whether two runs differ by more than chance.

Questions on one document are not independent: a document that is hard to read
spoils all of them. So documents are drawn, each with all of its questions, and
not questions (the cluster bootstrap; Davison & Hinkley 1997, §3.8). Percentiles of
so few are too near to each other; they are moved apart as far as Student's t asks
(the expanded percentile interval; Hesterberg 2015, §5.3).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics import Floats, Statistic

__all__ = ["Figure", "PairedTest", "figures", "paired_test"]

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95
_CHUNK = 100
"""Resamples at a time: 100 rows of 10,000 questions are 8 MB."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float | None
    high: float | None
    """None where it is made of fewer than two documents."""
    n: int
    """How many questions it is made of."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The difference of two runs over the same questions: the second less the first."""

    difference: float
    low: float | None
    high: float | None
    p_bootstrap: float
    """How often a resample strays as far from the difference as the difference from 0."""
    p_randomisation: float
    """How often runs that were exchanged at random, document by document, differ as much."""
    wins: int
    losses: int
    ties: int
    n: int


def figures(
    statistics: Mapping[str, Statistic],
    clusters: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Figure]:
    """Each figure with its interval; those that measure nothing are left out.

    Args:
        statistics: the figures, by name.
        clusters: of each question, the document that it is drawn with.
        resamples: how many times documents are drawn.
        seed: the same seed gives the same intervals.
    """
    once = np.ones((1, len(clusters)))
    values = {name: float(statistic(once)[0]) for name, statistic in statistics.items()}
    known = {name: s for name, s in statistics.items() if not np.isnan(values[name])}
    drawn: dict[str, list[Floats]] = {name: [] for name in known}
    for weights in _resampled(clusters, resamples, seed):
        for name, statistic in known.items():
            drawn[name].append(statistic(weights))
    made = {}
    for name, statistic in known.items():
        concerned = statistic.concerned.nonzero()[0].tolist()
        documents = len({clusters[row] for row in concerned})
        made[name] = Figure(values[name], *_interval(drawn[name], documents), len(concerned))
    return made


def paired_test(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedTest:
    """Whether two runs differ, given what each scores on the same questions.

    The bootstrap p-value is two-sided and centred (Berg-Kirkpatrick et al. 2012);
    the other is approximate randomisation (Noreen 1989). Both count the observed
    difference among the simulated ones, so that neither is ever 0.

    Args:
        first: a value for each question, of which there is at least one.
        second: the same of the other run.
        clusters: of each question, its document.
        resamples: for each of the two tests.
        seed: the same seed gives the same p-values.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    n = len(differences)
    observed = float(differences.mean())
    # Sums that differ by rounding alone are equal.
    reach = abs(observed) - 1e-12 * (1 + abs(observed))

    drawn = [
        (weights @ differences) / weights.sum(axis=1)
        for weights in _resampled(clusters, resamples, seed)
    ]
    strayed = sum(int((np.abs(means - observed) >= reach).sum()) for means in drawn)
    n_drawn = sum(map(len, drawn))

    number = _numbered(clusters)
    sums = np.bincount(number, weights=differences)
    random = np.random.default_rng(seed)
    exchanged = 0
    for rows in _chunks(resamples):
        signs = random.choice([-1.0, 1.0], size=(rows, len(sums)))
        exchanged += int((np.abs(signs @ sums) / n >= reach).sum())
    return PairedTest(
        observed,
        *_interval(drawn, len(sums)),
        (1 + strayed) / (1 + n_drawn) if n_drawn else 1.0,
        (1 + exchanged) / (1 + resamples),
        int((differences > 0).sum()),
        int((differences < 0).sum()),
        int((differences == 0).sum()),
        n,
    )


def _resampled(clusters: Sequence[str], resamples: int, seed: int) -> Iterator[Floats]:
    """Weights of the questions, shape (rows, questions): how often their document was drawn."""
    number = _numbered(clusters)
    n = int(number.max(initial=-1)) + 1
    if n < 2:
        return
    random = np.random.default_rng(seed)
    for rows in _chunks(resamples):
        yield random.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)[:, number]


def _numbered(clusters: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1].reshape(-1)


def _chunks(total: int) -> Iterator[int]:
    for low in range(0, total, _CHUNK):
        yield min(_CHUNK, total - low)


def _interval(drawn: Sequence[Floats], clusters: int) -> tuple[float | None, float | None]:
    values = np.concatenate([*drawn, np.empty(0)])
    values = values[~np.isnan(values)]
    if clusters < 2 or not len(values):
        return None, None
    from scipy.stats import norm, t

    widened = np.sqrt(clusters / (clusters - 1)) * t.ppf((1 - LEVEL) / 2, clusters - 1)
    share = float(norm.cdf(widened))
    low, high = np.quantile(values, [share, 1 - share])
    return float(low), float(high)

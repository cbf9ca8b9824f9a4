"""Intervals cover as often as they say, and chance alone is seldom called a difference."""

import itertools

import numpy as np
import pytest

from eval.metrics import Mean
from eval.statistics import figures, paired_test


def clustered(
    random: np.random.Generator, documents: int, *, spread: float
) -> tuple[list[float], list[str]]:
    """Right or wrong, with a difficulty of each document's own; the true mean is one half."""
    values, clusters = [], []
    for document in range(documents):
        chance = 0.5 + spread * (random.random() - 0.5)
        size = int(random.integers(1, 12))
        values += (random.random(size) < chance).astype(float).tolist()
        clusters += [f"d{document}"] * size
    return values, clusters


def test_intervals_cover_the_truth_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    covered, naive = 0, 0
    rounds = 400
    for _ in range(rounds):
        values, clusters = clustered(random, 24, spread=1.0)
        figure = figures({"mean": Mean(values)}, clusters, resamples=400)["mean"]
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.5 <= figure.high
        # As if questions were independent: the normal interval of their mean.
        naive += abs(figure.value - 0.5) <= 1.96 * np.std(values) / np.sqrt(len(values))
    assert 0.92 <= covered / rounds <= 0.98
    assert naive / rounds < 0.9


def test_the_same_seed_gives_the_same_interval() -> None:
    values, clusters = clustered(np.random.default_rng(2), 20, spread=0.5)
    first = figures({"mean": Mean(values)}, clusters)
    assert first == figures({"mean": Mean(values)}, clusters)
    assert first != figures({"mean": Mean(values)}, clusters, seed=1)
    assert first["mean"].value == pytest.approx(np.mean(values))


def test_one_document_has_no_interval() -> None:
    figure = figures({"mean": Mean([1.0, 0.0])}, ["a", "a"])["mean"]
    assert (figure.value, figure.low, figure.high, figure.n) == (0.5, None, None, 2)
    assert figures({"mean": Mean([np.nan, np.nan])}, ["a", "b"]) == {}
    assert figures({"mean": Mean([])}, []) == {}


def test_a_run_against_itself_differs_by_nothing() -> None:
    values, clusters = clustered(np.random.default_rng(3), 30, spread=0.5)
    test = paired_test(values, values, clusters)
    assert (test.difference, test.p_bootstrap, test.p_randomisation) == (0.0, 1.0, 1.0)
    assert (test.wins, test.losses, test.ties) == (0, 0, len(values))


def test_chance_alone_is_seldom_significant() -> None:
    """Two runs of the same quality: p is at most .05 about one time in twenty."""
    random = np.random.default_rng(4)
    significant = np.zeros(2)
    rounds = 200
    for _ in range(rounds):
        first, clusters = clustered(random, 40, spread=0.8)
        # The other run changes its mind on whole documents, in either direction alike.
        flipped = {document: random.random() < 0.5 for document in sorted(set(clusters))}
        noise = [
            1 - value if flipped[c] else value for value, c in zip(first, clusters, strict=True)
        ]
        pair = (first, noise) if random.random() < 0.5 else (noise, first)
        test = paired_test(*pair, clusters, resamples=200)
        significant += [test.p_bootstrap <= 0.05, test.p_randomisation <= 0.05]
    assert (significant / rounds <= 0.11).all()


def test_a_real_difference_is_found_and_signed() -> None:
    random = np.random.default_rng(5)
    first, clusters = clustered(random, 60, spread=0.4)
    second = [1.0 if random.random() < 0.3 else value for value in first]
    test = paired_test(first, second, clusters)
    assert test.difference == pytest.approx(np.mean(second) - np.mean(first))
    assert test.low is not None
    assert test.low > 0
    assert test.p_bootstrap < 0.01
    assert test.p_randomisation < 0.01
    back = paired_test(second, first, clusters)
    assert back.difference == pytest.approx(-test.difference)
    assert (back.wins, back.losses) == (test.losses, test.wins)
    assert back.p_randomisation == pytest.approx(test.p_randomisation, abs=0.01)


def test_randomisation_is_the_exact_test_in_the_limit() -> None:
    """Six documents have 64 exchanges; all of them, counted by hand."""
    differences = np.array([2.0, 1.0, -1.0, 3.0, 0.5, 0.25])
    observed = abs(differences.sum())
    exchanges = [
        abs((np.array(signs) * differences).sum()) for signs in itertools.product([-1, 1], repeat=6)
    ]
    exact = np.mean([value >= observed - 1e-9 for value in exchanges])
    test = paired_test([0.0] * 6, differences.tolist(), list("abcdef"), resamples=20_000)
    assert test.p_randomisation == pytest.approx(exact, abs=0.01)

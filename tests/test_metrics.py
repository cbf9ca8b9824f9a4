"""Every figure equals an independent computation of it."""

import random
from collections.abc import Sequence
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from eval.metrics import (
    Auroc,
    BestThreshold,
    CalibrationError,
    Mean,
    RiskCoverageArea,
    ndcg,
    reciprocal_rank,
    reliability,
    risk_coverage,
)
from qa.answers import exact_match, f1

sures = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=40)


def once(statistic: Any) -> float:
    return float(statistic(np.ones((1, len(statistic.concerned))))[0])


def drawn(seed: int, n: int) -> tuple[Any, Any]:
    """Confidences with ties and what came of them."""
    random_ = np.random.default_rng(seed)
    sure = np.round(random_.random(n), 1)
    return sure, (random_.random(n) < sure).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_and_brier_are_those_of_scikit_learn(seed: int) -> None:
    sure, right = drawn(seed, 80)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, 80)).astype(float)
    assert once(Auroc(sure, right)) == pytest.approx(roc_auc_score(right, sure))
    for row, value in zip(weights, Auroc(sure, right)(weights), strict=True):
        assert value == pytest.approx(roc_auc_score(right, sure, sample_weight=row))
    assert once(Mean((sure - right) ** 2)) == pytest.approx(brier_score_loss(right, sure))


STATISTICS = [
    lambda sure, right: Auroc(sure, right),
    lambda sure, right: RiskCoverageArea(sure, right),
    lambda sure, right: CalibrationError(sure, right),
    lambda sure, right: BestThreshold(sure, right, [float(n % 3 == 0) for n in range(len(right))]),
    lambda sure, right: Mean(right),
]


@pytest.mark.parametrize("make", STATISTICS, ids=["auroc", "aurc", "ece", "threshold", "mean"])
@pytest.mark.parametrize("seed", range(4))
def test_a_weight_is_a_number_of_copies(make: Any, seed: int) -> None:
    """Under the weights of a resample a figure is that of the resample written out."""
    sure, right = drawn(seed, 30)
    counts = np.random.default_rng(seed).integers(0, 4, size=30)
    third = np.arange(30) % 3 == 0
    copied: Any = make(np.repeat(sure, counts), np.repeat(right, counts))
    if isinstance(copied, BestThreshold):
        copied = BestThreshold(
            np.repeat(sure, counts), np.repeat(right, counts), np.repeat(third, counts)
        )
    assert make(sure, right)(counts[None, :].astype(float))[0] == pytest.approx(once(copied))


@given(sures, st.randoms(use_true_random=False))
def test_the_order_of_questions_does_not_matter(sure: list[float], shuffler: random.Random) -> None:
    right = [float(n % 2) for n in range(len(sure))]
    order = list(range(len(sure)))
    shuffler.shuffle(order)
    for make in (Auroc, RiskCoverageArea, CalibrationError):
        mixed = make([sure[i] for i in order], [right[i] for i in order])
        value = once(make(sure, right))
        assert once(mixed) == pytest.approx(value, nan_ok=True)
        assert 0 <= value <= 1 or np.isnan(value)


@pytest.mark.parametrize("seed", range(3))
def test_risk_coverage_area_is_the_mean_over_orders(seed: int) -> None:
    sure, right = drawn(seed, 12)
    shuffler = np.random.default_rng(seed)
    areas = []
    for _ in range(4000):
        order = np.lexsort((shuffler.random(12), -sure))
        areas.append(np.mean(np.cumsum(1 - right[order]) / np.arange(1, 13)))
    assert once(RiskCoverageArea(sure, right)) == pytest.approx(np.mean(areas), abs=0.01)


def test_risk_coverage_without_ties_is_the_definition() -> None:
    sure = [0.9, 0.8, 0.7, 0.6]
    right = [1.0, 0.0, 1.0, 0.0]
    # Risks 0, 1/2, 1/3, 1/2.
    assert once(RiskCoverageArea(sure, right)) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert risk_coverage(sure, right) == [
        (0.25, 0.0), (0.5, 0.5), (0.75, pytest.approx(1 / 3)), (1.0, 0.5),
    ]  # fmt: skip


@given(sures)
def test_calibration_error_is_the_mean_gap_of_the_bins(sure: list[float]) -> None:
    right = [float(n % 3 == 0) for n in range(len(sure))]
    gap = sum(n * abs(c - r) for n, c, r in reliability(sure, right)) / len(sure)
    assert once(CalibrationError(sure, right)) == pytest.approx(gap)
    bins: dict[int, list[tuple[float, float]]] = {}
    for c, r in zip(sure, right, strict=True):
        bins.setdefault(min(9, int(c * 10)), []).append((c, r))
    by_hand = sum(abs(sum(c - r for c, r in pairs)) for pairs in bins.values()) / len(sure)
    assert gap == pytest.approx(by_hand)


@given(sures, st.data())
def test_the_best_threshold_is_the_best_of_all(sure: list[float], data: Any) -> None:
    score = st.sampled_from([0.0, 0.4, 1.0])
    given_ = data.draw(st.lists(score, min_size=len(sure), max_size=len(sure)))
    withheld = data.draw(st.lists(score, min_size=len(sure), max_size=len(sure)))
    statistic = BestThreshold(sure, given_, withheld)

    def mean_at(threshold: float) -> float:
        triples = zip(sure, given_, withheld, strict=True)
        return float(np.mean([g if c >= threshold else w for c, g, w in triples]))

    best = max(mean_at(threshold) for threshold in [*sure, float("inf")])
    assert once(statistic) == pytest.approx(best)
    assert mean_at(statistic.threshold()) == pytest.approx(best)


def test_means_leave_out_what_they_do_not_concern() -> None:
    mean = Mean([1.0, np.nan, 0.0])
    assert mean.concerned.tolist() == [True, False, True]
    assert once(mean) == 0.5
    assert np.isnan(once(Mean([np.nan, np.nan])))


@given(
    st.lists(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=12), min_size=1),
    st.lists(st.sampled_from([1, 2]), max_size=4),
)
def test_retrieval_figures_are_those_of_ir_measures(
    gains: list[list[int]], missed: list[int]
) -> None:
    """Reciprocal rank, nDCG@10 and recall, computed by trec_eval's code."""
    for hits in gains:
        run = {"q": {f"d{rank}": -float(rank) for rank in range(len(hits))}}
        qrels = {"q": {f"d{rank}": gain for rank, gain in enumerate(hits)}}
        qrels["q"] |= {f"missed{n}": gain for n, gain in enumerate(missed)}
        relevant = [gain for gain in qrels["q"].values() if gain > 0]
        if not relevant:
            continue
        rank = next((rank for rank, gain in enumerate(hits, 1) if gain), None)
        oracle = ir_measures.calc_aggregate(
            [ir_measures.nDCG @ 10, ir_measures.RR, ir_measures.Success @ 5], qrels, run
        )
        assert ndcg(hits, relevant, 10) == pytest.approx(oracle[ir_measures.nDCG @ 10])
        assert reciprocal_rank(rank) == pytest.approx(oracle[ir_measures.RR])
        assert float(rank is not None and rank <= 5) == oracle[ir_measures.Success @ 5]


def squad_oracle(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> tuple[float, float]:
    """EM and F1 in percent, by torchmetrics."""
    from torchmetrics.functional.text import squad

    scores = squad(
        [{"prediction_text": text, "id": str(n)} for n, text in enumerate(predictions)],
        [
            {"answers": {"answer_start": [0] * len(texts), "text": list(texts)}, "id": str(n)}
            for n, texts in enumerate(golds)
        ],
    )
    return float(scores["exact_match"]), float(scores["f1"])


texts = st.lists(
    st.sampled_from(["the ", "an ", " a ", "58", "bc", "é", "-€", " ", ",", "theme", "."]),
    max_size=6,
).map("".join)


@settings(max_examples=40)
@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_em_and_f1_are_those_of_torchmetrics(prediction: str, golds: list[str]) -> None:
    em, overlap = squad_oracle([prediction], [golds])
    assert 100 * exact_match(prediction, golds) == pytest.approx(em)
    no_tokens = 100 * f1(prediction, golds)
    # SQuAD 2.0 scores two empty sides as equal; torchmetrics follows 1.1 and gives 0.
    if em and not overlap:
        assert no_tokens == 100
    else:
        assert no_tokens == pytest.approx(overlap, abs=1e-3)


def test_area_under_precision_is_not_what_is_meant() -> None:
    """A wrong oracle disagrees: the comparison above can fail."""
    sure, right = drawn(0, 80)
    assert abs(average_precision_score(right, sure) - once(Auroc(sure, right))) > 0.01

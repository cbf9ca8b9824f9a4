"""Confidence against an independent fit, the threshold against brute force."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import ModelError
from qa.calibration import (
    UNFITTED,
    Calibration,
    Signals,
    best_threshold,
    fit,
    precise_threshold,
)


def test_fit_equals_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal([2, 0.7, 1, 1], [4, 0.2, 3, 1], (800, 4))
    right = (rng.random(800) < 1 / (1 + np.exp(-(x @ [0.6, 4, 0.2, 0.3] - 3)))).astype(float)
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(x, right)
    weights, intercept = fit([Signals(*row) for row in x.tolist()], right.tolist())
    assert astuple(weights) == pytest.approx(model.coef_[0], rel=1e-3)
    assert intercept == pytest.approx(model.intercept_[0], rel=1e-3)


def test_weights_count_like_repeated_outcomes() -> None:
    rng = np.random.default_rng(1)
    signals = [Signals(*row) for row in rng.normal(size=(60, 4)).tolist()]
    right = (rng.random(60) < 0.5).astype(float).tolist()
    times = rng.integers(1, 4, 60).tolist()
    repeated = [(s, r) for s, r, n in zip(signals, right, times, strict=True) for _ in range(n)]
    weights, intercept = fit(signals, right, times)
    again, same = fit([s for s, _ in repeated], [r for _, r in repeated])
    assert [*astuple(weights), intercept] == pytest.approx([*astuple(again), same], rel=1e-4)


def test_fit_takes_partly_right_answers_and_separable_data() -> None:
    weights, _ = fit([Signals(m, 0, 0, 0) for m in (0.0, 1.0, 2.0, 3.0)], [0.1, 0.3, 0.6, 0.9])
    assert weights.margin > 0
    weights, intercept = fit([Signals(-1.0, 0, 0, 0), Signals(1.0, 0, 0, 0)], [0.0, 1.0])
    assert np.isfinite([*astuple(weights), intercept]).all()


QUESTIONS = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=30
)


@given(QUESTIONS, st.floats(0.05, 0.95))
def test_no_threshold_is_better(questions: list[tuple[float, float, bool]], share: float) -> None:
    confidences, f1s, answerable = zip(*questions, strict=True)

    def mean_f1(threshold: float) -> float:
        with_answer = [f if c >= threshold else 0.0 for c, f, a in questions if a]
        without = [float(c < threshold) for c, _, a in questions if not a]
        return (1 - share) * float(np.mean(with_answer or [0])) + share * float(
            np.mean(without or [0])
        )

    chosen = best_threshold(confidences, f1s, answerable, unanswerable_share=share)
    assert 0.0 <= chosen <= 1.0
    # Nothing is above 1, so that certain answers are always given.
    candidates = [0.0, *confidences] if 1.0 in confidences else [0.0, 1.1, *confidences]
    assert mean_f1(chosen) >= max(map(mean_f1, candidates)) - 1e-9


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.floats(0.05, 1.0))
def test_a_precise_threshold_is_the_lowest(
    answers: list[tuple[float, bool]], precision: float
) -> None:
    confidences, right = zip(*answers, strict=True)

    def precise(threshold: float) -> bool:
        given = [r for c, r in answers if c >= threshold]
        return sum(given) >= precision * len(given) - 1e-12

    chosen = precise_threshold(confidences, right, precision=precision)
    lowest = min((c for c in confidences if precise(c)), default=None)
    assert chosen == lowest


SIGNALS = st.builds(
    Signals.of,
    margin=st.floats(-1e6, 1e6),
    search=st.floats(0, 1),
    lead=st.floats(allow_nan=False),
    support=st.floats(0, 10),
)


@given(SIGNALS, SIGNALS)
def test_confidence_is_a_probability_that_rises_with_the_signals(a: Signals, b: Signals) -> None:
    low, high = UNFITTED.confidence(a), UNFITTED.confidence(b)
    assert 0.0 <= low <= 1.0
    if all(x <= y for x, y in zip(astuple(a), astuple(b), strict=True)):
        assert low <= high


def test_a_calibration_is_kept_and_anything_else_refused(tmp_path: Path) -> None:
    calibration = Calibration(Signals(0.5, 4.0, 0.25, 0.3), intercept=-1.0, threshold=0.4)
    assert calibration.confidence(Signals(2.0, 0.0, 0.0, 0.0)) == 0.5
    assert Calibration.load(tmp_path / "none.json") == UNFITTED
    path = tmp_path / "calibration.json"
    path.write_text(calibration.dumps())
    assert Calibration.load(path) == calibration
    for bad in ("", "[]", "{}", '{"slope": 1}', calibration.dumps().replace("0.5", "NaN"),
                calibration.dumps().replace("margin", "other")):  # fmt: skip
        with pytest.raises(ModelError, match="is no calibration"):
            Calibration.loads(bad, "the file")

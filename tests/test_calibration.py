"""Confidence against an independent fit, the threshold against brute force."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import ModelError
from qa.calibration import UNFITTED, Calibration, best_threshold, fit


def test_fit_equals_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    scores = rng.normal(2, 4, 800)
    right = (rng.random(800) < 1 / (1 + np.exp(-(0.6 * scores - 1)))).astype(float)
    model = LogisticRegression(C=1e9, tol=1e-10).fit(scores[:, None], right)
    slope, intercept = fit(scores.tolist(), right.tolist())
    assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert intercept == pytest.approx(model.intercept_[0], rel=1e-3)


def test_fit_takes_partly_right_answers_and_separable_data() -> None:
    slope, _ = fit([0.0, 1.0, 2.0, 3.0], [0.1, 0.3, 0.6, 0.9])
    assert slope > 0
    slope, intercept = fit([-1.0, 1.0], [0.0, 1.0])
    assert np.isfinite([slope, intercept]).all()


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
    candidates = [0.0, 1.1, *confidences]
    # Nothing is above 1, so that certain answers are always given.
    if 1.0 not in confidences:
        assert mean_f1(chosen) >= max(map(mean_f1, candidates)) - 1e-9


def test_confidence_rises_and_survives_extremes(tmp_path: Path) -> None:
    calibration = Calibration(slope=0.5, intercept=-1.0, threshold=0.4)
    values = [calibration.confidence(score) for score in (-1e9, -3, 0, 2, 9, 1e9)]
    assert values == sorted(values)
    assert (values[0], values[3], values[-1]) == (0.0, 0.5, 1.0)
    assert Calibration.load(tmp_path / "none.json") == UNFITTED
    (tmp_path / "bad.json").write_text('{"slope": 1}')
    with pytest.raises(ModelError, match="is no calibration"):
        Calibration.load(tmp_path / "bad.json")
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration

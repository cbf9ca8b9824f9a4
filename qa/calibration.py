"""From a score to the probability that the answer is right, and when to give none."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from corpus.errors import ModelError

__all__ = ["UNFITTED", "Calibration", "best_threshold", "fit"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """`confidence = 1 / (1 + exp(-(slope * score + intercept)))` (Platt 1999)."""

    slope: float
    intercept: float
    threshold: float
    """The confidence from which an answer is given."""

    def confidence(self, score: float) -> float:
        """The probability that an answer of this score is right, in [0, 1]."""
        # tanh does not overflow, whatever the score.
        return float(0.5 + 0.5 * np.tanh((self.slope * score + self.intercept) / 2))

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """The calibration saved at the path; a rough one where there is none.

        Raises:
            ModelError: the file is not what `save` writes.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return UNFITTED
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{path} is no calibration ({error}); delete or restore it") from error

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


UNFITTED = Calibration(slope=0.3, intercept=-5.5, threshold=0.4)
"""For a reader that nobody has calibrated: near what was fitted for the bundled one, no more."""


def fit(scores: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept that make the observed outcomes most likely.

    Newton's method on the log-likelihood, which is concave; a tiny ridge keeps
    separable data finite.

    Args:
        scores: of the best answer to each question.
        right: how right each was, in [0, 1].
    """
    x = np.column_stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))])
    y = np.asarray(right, dtype=np.float64)
    weights = np.zeros(2)
    ridge = 1e-6 * np.eye(2)
    for _ in range(100):
        p = 0.5 + 0.5 * np.tanh(x @ weights / 2)
        gradient = x.T @ (y - p) - ridge @ weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def best_threshold(
    confidences: Sequence[float],
    f1s: Sequence[float],
    answerable: Sequence[bool],
    *,
    unanswerable_share: float,
) -> float:
    """The threshold with the highest mean F1 where that share of questions has no answer.

    Args:
        confidences: of the best answer to each question.
        f1s: its F1 against the golds; of no use where the question has none.
        answerable: whether the documents answer the question.
        unanswerable_share: how many questions will have no answer; the sample is
            reweighted to it. An abstention scores 1 on those, and 0 on the others.
    """
    order = np.argsort(-np.asarray(confidences), kind="stable")
    sorted_confidences = np.asarray(confidences, dtype=np.float64)[order]
    has_answer = np.asarray(answerable, dtype=bool)[order]
    weight = np.where(
        has_answer,
        (1 - unanswerable_share) / max(1, has_answer.sum()),
        unanswerable_share / max(1, (~has_answer).sum()),
    )
    # Answering one question more, from the surest on: its F1 is won, its abstention lost.
    gained = weight * np.where(has_answer, np.asarray(f1s, dtype=np.float64)[order], -1.0)
    totals = np.concatenate([[0.0], np.cumsum(gained)])
    edges = np.concatenate([[1.0], sorted_confidences, [0.0]])
    # No threshold parts equal confidences.
    totals[1:-1][edges[1:-2] == edges[2:-1]] = -np.inf
    best = int(totals.argmax())
    return float((edges[best] + edges[best + 1]) / 2)

"""From what is known of an answer to the probability that it is right, and when to give none."""

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpus.errors import ModelError

__all__ = [
    "UNFITTED",
    "Calibration",
    "Signals",
    "best_threshold",
    "fit",
    "logistic",
    "precise_threshold",
]

Floats: TypeAlias = NDArray[np.float64]

_FARTHEST = 8.0
"""A longer lead, in logits, says nothing more of an answer."""


def logistic(logits: ArrayLike) -> Floats:
    """Probabilities from logits, elementwise: `1 / (1 + exp(-x))`.

    >>> float(logistic(0.0)), float(logistic(-1e9))
    (0.5, 0.0)
    """
    # tanh does not overflow, whatever the logits.
    return 0.5 + 0.5 * np.tanh(np.asarray(logits, dtype=np.float64) / 2)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of an answer before anyone says whether it is right; also their weights."""

    margin: float
    """How far its best span beats "no answer in this passage", in logits."""
    search: float
    """The fused search score, in [0, 1], of that span's passage."""
    lead: float
    """How far its ranking score lies above that of the best answer that says something else, in
    logits; negative where it lies below."""
    support: float
    """What the other places that say the same add to its ranking score, in logits."""

    @classmethod
    def of(cls, *, margin: float, search: float, lead: float, support: float) -> "Signals":
        """The signals of an answer, its lead cut off where it tells nothing more."""
        return cls(margin, search, max(-_FARTHEST, min(_FARTHEST, lead)), support)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic regression: `confidence = logistic(weights · signals + intercept)`.

    With one signal alone it is Platt's scaling (1999).
    """

    weights: Signals
    intercept: float
    threshold: float
    """The confidence from which an answer is given."""

    def confidence(self, signals: Signals) -> float:
        """The probability that an answer with these signals is right, in [0, 1]."""
        logit = float(np.dot(astuple(self.weights), astuple(signals))) + self.intercept
        return float(logistic(logit))

    def dumps(self) -> str:
        """It as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def loads(cls, text: str, where: str) -> "Calibration":
        """The calibration that `dumps` wrote.

        Raises:
            ModelError: the text is not that; `where` says in the message whence it came.
        """
        try:
            told = json.loads(text)
            weights = Signals(**told.pop("weights"))
            made = cls(weights, **told)
            if not np.isfinite([*astuple(weights), made.intercept, made.threshold]).all():
                raise ValueError("a number is missing")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{where} is no calibration ({error}); expected weights for"
                f" {', '.join(field.name for field in fields(Signals))}, an intercept and a"
                " threshold; `citespan calibrate` makes one"
            ) from error
        return made

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """The calibration saved at the path; a rough one where there is none.

        Raises:
            ModelError: the file is not what `dumps` writes.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return UNFITTED
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read ({error}); restore it") from error
        return cls.loads(text, str(path))


UNFITTED = Calibration(Signals(0.25, 6.0, 0.25, 0.25), intercept=-8.5, threshold=0.35)
"""For a reader that nobody has calibrated: near what was fitted for the bundled one, no more."""


def fit(
    signals: Sequence[Signals], right: Sequence[float], weight: Sequence[float] | None = None
) -> tuple[Signals, float]:
    """Weights and intercept that make the observed outcomes most likely.

    Newton's method on the log-likelihood, which is concave; a tiny ridge keeps
    separable data finite.

    Args:
        signals: of the best answer to each question.
        right: how right each was, in [0, 1].
        weight: how much each counts; alike by default.
    """
    rows = np.asarray([astuple(row) for row in signals], dtype=np.float64)
    x = np.column_stack([rows, np.ones(len(rows))])
    y = np.asarray(right, dtype=np.float64)
    counts = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    weights = np.zeros(x.shape[1])
    ridge = 1e-6 * np.eye(x.shape[1])
    for _ in range(100):
        p = logistic(x @ weights)
        gradient = x.T @ (counts * (y - p)) - ridge @ weights
        hessian = (x * (counts * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    *found, intercept = weights.tolist()
    return Signals(*found), intercept


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
    # No threshold parts equal confidences, nor withholds one of 1.
    totals[:-1][edges[:-2] == edges[1:-1]] = -np.inf
    best = int(totals.argmax())
    return float((edges[best] + edges[best + 1]) / 2)


def precise_threshold(
    confidences: Sequence[float], right: Sequence[float], *, precision: float
) -> float | None:
    """The lowest threshold at which so large a share of the answers given is right.

    Args:
        confidences: of the best answer to each question, answerable or not.
        right: how right each was, in [0, 1].
        precision: the share wanted, in (0, 1].

    Returns:
        None where no threshold reaches it.
    """
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    surest = np.asarray(confidences, dtype=np.float64)[order]
    share = np.cumsum(np.asarray(right, dtype=np.float64)[order]) / np.arange(1, len(order) + 1)
    # Equal confidences are given together: only the last of them is a place to stop.
    last = np.append(surest[1:] != surest[:-1], True)
    good = np.flatnonzero((share >= precision) & last)
    return float(surest[good[-1]]) if len(good) else None

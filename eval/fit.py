"""Fit confidence and the no-answer threshold on gold questions.

    python -m eval.fit gold.json --distractors more.json --work /tmp/fit

A third of the articles is left out of the corpus, so that their questions have
no answer in it. What is fitted is the probability that the best answer has an
F1 of at least one half.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from eval.gold import index_corpus, write_articles
from eval.run import Outcome, measure
from qa.calibration import Calibration, best_threshold, fit
from qa.gold import read_squad
from qa.pipeline import Pipeline
from qa.settings import model_pair

__all__ = ["calibrate"]

_RIGHT_F1 = 0.5
_UNANSWERABLE_SHARE = 1 / 3


def calibrate(outcomes: Sequence[Outcome], answerable: Sequence[bool]) -> Calibration:
    """The calibration that fits these outcomes.

    Args:
        outcomes: one a question; those without any span are left out.
        answerable: whether the corpus answers each question.
    """
    rows = [
        (outcome.score, outcome.f1 if has_answer else 0.0, has_answer)
        for outcome, has_answer in zip(outcomes, answerable, strict=True)
        if outcome.score is not None
    ]
    scores, f1s, has_answers = zip(*rows, strict=True)
    slope, intercept = fit(scores, [float(f1 >= _RIGHT_F1) for f1 in f1s])
    fitted = Calibration(slope, intercept, threshold=0.0)
    threshold = best_threshold(
        [fitted.confidence(score) for score in scores],
        f1s,
        has_answers,
        unanswerable_share=_UNANSWERABLE_SHARE,
    )
    return Calibration(slope, intercept, threshold)


def main() -> None:
    """Fit, print the calibration, and write it beside the reader when asked to."""
    options = argparse.ArgumentParser(
        description="Fit confidence and the no-answer threshold on gold questions."
    )
    options.add_argument("gold", type=Path, help="SQuAD JSON")
    options.add_argument("--distractors", type=Path, action="append", default=[])
    options.add_argument("--work", type=Path, required=True, help="folder for documents and index")
    options.add_argument("--models", default="bundled")
    options.add_argument("--write", action="store_true", help="write calibration.json")
    arguments = options.parse_args()

    articles = read_squad(arguments.gold)
    left_out = [article for number, article in enumerate(articles) if number % 3 == 2]
    indexed = [article for number, article in enumerate(articles) if number % 3 < 2]
    gold = index_corpus(arguments.work, indexed, arguments.distractors, arguments.models)
    held_back = write_articles(left_out, arguments.work / "held-back")
    with Pipeline.open(arguments.work / "index") as pipeline:
        outcomes = list(measure(pipeline, [*gold, *held_back]))
    answerable = [bool(item.golds) for item in gold] + [False] * len(held_back)
    calibration = calibrate(outcomes, answerable)
    print(json.dumps(asdict(calibration), indent=1))
    if arguments.write:
        calibration.save(model_pair(arguments.models).reader.folder / "calibration.json")


if __name__ == "__main__":
    main()

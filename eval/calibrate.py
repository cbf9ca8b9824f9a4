"""Fit confidence and the no-answer threshold to gold questions, through the whole pipeline."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.errors import GoldError
from eval.causes import RIGHT_F1
from eval.gold import Gold, gold_on, index_own, refuse_distractors
from qa.answers import f1
from qa.calibration import Calibration, Signals, best_threshold, fit, precise_threshold
from qa.pipeline import Pipeline

__all__ = ["Trial", "calibrate", "calibration", "trials"]

_USUAL_SHARE, _WARY_SHARE = 0.1, 1 / 3
"""How many questions have no answer where the probability is to be true, and where the threshold
is to be best."""
_LEAST_TRIALS = 30


@dataclass(frozen=True, slots=True)
class Trial:
    """The best answer to a question, and what became of it."""

    signals: Signals
    f1: float
    """Against the gold answers; 0 where there is none."""
    answerable: bool
    """Whether the documents that were asked hold an answer."""


def calibrate(
    path: Path,
    folder: Path | None,
    *,
    target_precision: float | None = None,
    distractors: Sequence[Path] = (),
    models: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Path, Calibration]:
    """The index that was asked, and what fits it.

    Args:
        path: SQuAD's JSON, JSON lines or CSV.
        folder: the index that is asked; None for gold with documents of its own.
        target_precision: see `calibration`.
        distractors: SQuAD files whose paragraphs join the gold's own documents.
        models: as in `--models`.
        progress: receives a line now and then.

    Raises:
        GoldError: a question is malformed, or there are too few.
        InputError: there are distractors, and the gold is not on its own documents.
    """
    refuse_distractors(distractors, own=folder is None)
    gold: list[Gold] | None = None
    if folder is None:
        folder, gold = index_own(path, distractors, models or "bundled", progress=progress)
    with Pipeline.open(folder, models=models) as pipeline:
        if gold is None:
            gold = gold_on(path, pipeline.snapshot)
        found = []
        for trial in trials(pipeline, gold):
            found.append(trial)
            progress(f"{len(found)} questions asked, of {len(gold)} and some of them twice")
    return folder, calibration(found, target_precision=target_precision)


def trials(pipeline: Pipeline, gold: Sequence[Gold], *, read: int = 10) -> Iterator[Trial]:
    """Ask every question, and those on every third document once more without that document.

    A question whose documents are left out has no answer in the others: gold of
    unanswerable questions is rare, and this is what people meet who ask the wrong
    folder. One trial comes back for each question asked to which anything was found.
    """
    everything = {summary.id for summary in pipeline.snapshot.summaries()}
    for item in gold:
        yield from _trial(pipeline, item, (), read)
    documents = sorted({span.document for item in gold for span in item.spans})
    chosen = set(documents[::3])
    for item in gold:
        own = {span.document for span in item.spans}
        if own & chosen and (others := everything - own):
            yield from _trial(pipeline, item, sorted(others), read)


def calibration(found: Sequence[Trial], *, target_precision: float | None = None) -> Calibration:
    """The calibration that fits these trials.

    The probability holds where one question in ten has no answer; the trials are
    weighted so. The threshold has the highest mean F1 where a third has none, or,
    with a target, is the lowest at which that share of the answers given is right.

    Raises:
        GoldError: there are too few trials, or no threshold reaches the target.
    """
    right = [float(trial.f1 >= RIGHT_F1) for trial in found]
    if len(found) < _LEAST_TRIALS or not 0 < sum(right) < len(found):
        raise GoldError(
            f"{len(found)} questions found an answer, {sum(right):.0f} of them a right one;"
            f" expected at least {_LEAST_TRIALS}, right and wrong ones; add gold questions"
        )
    weight = _weights([trial.answerable for trial in found])
    weights, intercept = fit([trial.signals for trial in found], right, weight)
    fitted = Calibration(weights, intercept, threshold=0.0)
    confidences = [fitted.confidence(trial.signals) for trial in found]
    if target_precision is None:
        threshold: float | None = best_threshold(
            confidences,
            [trial.f1 for trial in found],
            [trial.answerable for trial in found],
            unanswerable_share=_WARY_SHARE,
        )
    else:
        threshold = precise_threshold(confidences, right, precision=target_precision)
    if threshold is None:
        surest = sorted(zip(confidences, right, strict=True), reverse=True)[:_LEAST_TRIALS]
        raise GoldError(
            f"--target-precision {target_precision}: of the {len(surest)} surest answers"
            f" {sum(r for _, r in surest):.0f} are right; name a lower precision"
        )
    return Calibration(weights, intercept, threshold)


def _weights(answerable: Sequence[bool]) -> list[float]:
    """How much each trial counts, so that the usual share of them has no answer; 1 on average."""
    n, n_answerable = len(answerable), sum(answerable)
    if n_answerable in (0, n):
        return [1.0] * n
    with_answer = (1 - _USUAL_SHARE) * n / n_answerable
    without = _USUAL_SHARE * n / (n - n_answerable)
    return [with_answer if each else without for each in answerable]


def _trial(pipeline: Pipeline, item: Gold, others: Sequence[str], read: int) -> Iterator[Trial]:
    result = pipeline.ask(item.question, answers=1, read=read, within=others)
    answerable = bool(item.golds) and not others
    for best in result.answers:
        score = f1(best.text, item.golds) if answerable else 0.0
        yield Trial(best.signals, score, answerable)

"""Confidence and threshold fitted to gold: by hand-made trials, and with the command."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SAMPLE_GOLD, citespan

from corpus.errors import GoldError
from eval.calibrate import Trial, calibration, trials
from eval.gold import place_rows
from qa.calibration import Calibration, Signals
from qa.pipeline import Pipeline


def trial(margin: float, f1: float, *, answerable: bool = True) -> Trial:
    return Trial(Signals(margin, 0.5, 0.0, 0.0), f1, answerable)


GOOD = [trial(5.0 + n / 10, 1.0) for n in range(30)]
BAD = [trial(-5.0 - n / 10, 0.0) for n in range(20)]
UNANSWERABLE = [trial(-8.0 + n / 10, 0.0, answerable=False) for n in range(20)]


def test_it_parts_right_from_wrong() -> None:
    fitted = calibration([*GOOD, *BAD, *UNANSWERABLE])
    assert fitted.confidence(GOOD[0].signals) > 0.9 > 0.1 > fitted.confidence(BAD[0].signals)
    low, high = fitted.confidence(UNANSWERABLE[-1].signals), fitted.confidence(GOOD[0].signals)
    assert low < fitted.threshold < high


def test_a_target_is_reached_by_answering_less() -> None:
    mixed = [trial(n / 10, float(n % 10 < n / 10)) for n in range(100)]
    thresholds = []
    for target in (0.5, 0.7, 0.9):
        fitted = calibration(mixed, target_precision=target)
        given = [t.f1 for t in mixed if fitted.confidence(t.signals) >= fitted.threshold]
        assert sum(given) / len(given) >= target
        thresholds.append(fitted.threshold)
    assert thresholds == sorted(thresholds)


def test_too_little_gold_and_an_unreachable_target_are_refused() -> None:
    with pytest.raises(GoldError, match="expected at least 30"):
        calibration(GOOD[:5] + BAD[:5])
    with pytest.raises(GoldError, match="right and wrong"):
        calibration(GOOD)
    turned = [trial(float(n), float(n < 20)) for n in range(40)]
    flat = [Trial(Signals(0.0, 0.0, 0.0, 0.0), t.f1, True) for t in turned]
    with pytest.raises(GoldError, match="name a lower precision"):
        calibration(flat, target_precision=0.9)


def test_a_question_asked_without_its_document_has_no_right_answer(sample_index: Path) -> None:
    with Pipeline.open(sample_index) as pipeline:
        gold = place_rows(SAMPLE_GOLD, pipeline.snapshot)[:40]
        found = list(trials(pipeline, gold))
    made = [t for t in found if not t.answerable]
    assert len(gold) < len(found) <= 2 * len(gold)
    assert made
    assert all(t.f1 == 0.0 for t in made)


def test_the_command_keeps_it_in_the_index(sample_index: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(sample_index, index)
    some = tmp_path / "gold.jsonl"
    some.write_text("".join(SAMPLE_GOLD.read_text(encoding="utf-8").splitlines(True)[::6]))
    beside = tmp_path / "calibration.json"
    written = citespan("calibrate", some, "--index", index, "--out", beside, "--json")
    assert written.returncode == 0, written.stderr
    with Pipeline.open(index) as pipeline:
        own = pipeline.threshold
    kept = citespan("calibrate", some, "--index", index, "--target-precision", "0.9", "--json")
    assert kept.returncode == 0, kept.stderr
    fitted = json.loads(kept.stdout)
    assert fitted["threshold"] > Calibration.load(beside).threshold
    with Pipeline.open(index) as pipeline:
        assert pipeline.threshold == fitted["threshold"] != own
    assert citespan("doctor", "--index", index).returncode == 0

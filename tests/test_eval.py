"""Measuring: spans land in the files written, and the figures are what they say."""

from pathlib import Path
from typing import Any

import pytest

from eval.run import Outcome, index_corpus, measure, summary, write_articles
from qa.gold import Article, GoldSpan, Paragraph, Question
from qa.pipeline import Pipeline


def article(title: str, *paragraphs: tuple[str, str, str]) -> Article:
    made = []
    for number, (text, question, answer) in enumerate(paragraphs):
        spans = ()
        if answer:
            start = text.index(answer)
            spans = (GoldSpan(start, start + len(answer), answer),)
        made.append(Paragraph(text, (Question(f"{title}-{number}", question, spans),)))
    return Article(title, tuple(made))


ARTICLES = [
    article(
        "Bridge/Å",
        ("The bridge at Averill was opened in 1931 by the mayor.", "When did it open?", "1931"),
        ("It was painted green in 1950 — at last.", "What colour was it painted?", "green"),
    ),
    article("Prize", ("The Harbour Prize went to Ida Lund.", "Who won the Harbour Prize?", "")),
]


def test_gold_spans_land_in_the_files(tmp_path: Path) -> None:
    gold = write_articles(ARTICLES, tmp_path / "gold")
    texts = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "gold").iterdir()}
    assert len(texts) == 2
    bridge = next(text for name, text in texts.items() if name.startswith("Bridge_"))
    for item in gold[:2]:
        ((_, start, end),) = item.spans
        assert bridge[start:end] == item.golds[0]
    assert gold[2].spans == ()


def test_a_whole_run(tmp_path: Path) -> None:
    gold = index_corpus(tmp_path, ARTICLES, [], "bundled")
    with Pipeline.open(tmp_path / "index") as pipeline:
        outcomes = list(measure(pipeline, gold))
    assert [outcome.id for outcome in outcomes] == [item.id for item in gold]
    assert outcomes[1].best == "green"
    assert outcomes[1].hit_rank == 1
    figures = summary(outcomes)
    assert (figures["questions"], figures["answerable"], figures["recall@5"]) == (3, 2, 100)


def outcome(**fields: Any) -> Outcome:
    plain = {
        "id": "1", "question": "?", "golds": ("x",), "best": "x", "score": 3.0, "confidence": 0.9,
        "answered": True, "em": 1.0, "f1": 1.0, "hit_rank": 1, "seconds": 1.0,
    }  # fmt: skip
    return Outcome(**{**plain, **fields})


def test_every_question_is_in_the_denominator() -> None:
    outcomes = [
        outcome(),
        outcome(best="", score=None, em=0.0, f1=0.0, hit_rank=None, answered=False),
        outcome(em=0.0, f1=0.5, hit_rank=7, answered=False),
        outcome(golds=(), em=0.0, f1=0.0, hit_rank=None),
        outcome(golds=(), em=0.0, f1=0.0, hit_rank=None, answered=False),
    ]
    figures = summary(outcomes)
    assert figures["recall@1"] == figures["recall@5"] == pytest.approx(100 / 3)
    assert figures["recall@10"] == pytest.approx(200 / 3)
    assert figures["em"] == pytest.approx(100 / 3)
    assert figures["f1"] == pytest.approx(50)
    # Right answer, two abstentions where there was an answer, one answer where there was none,
    # one right abstention.
    assert figures["f1_with_abstention"] == pytest.approx(40)

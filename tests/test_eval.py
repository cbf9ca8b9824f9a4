"""Measuring: every question counts, a broken stage shows as itself, and runs compare."""

import dataclasses
import json
import lzma
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import ir_measures
import pytest
from conftest import SAMPLE_GOLD, citespan, sample_gold
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import GoldError, InputError
from corpus.store import Snapshot
from embeddings.encoder import open_encoder
from embeddings.follow import Changes
from eval.beir import Beir, index_beir, read_beir
from eval.calibrate import calibrate
from eval.causes import CAUSES, RIGHT_F1, Evidence, cause_of
from eval.compare import compare, failures, read_run, require_measurable, requirements
from eval.evaluate import evaluate
from eval.gold import (
    Gold,
    place_rows,
    require_indexed,
    squad_contexts,
    unplaced,
    write_articles,
    wrong_contexts,
)
from eval.run import Outcome, measure, measure_reader, measure_retrieval
from eval.summary import METRICS, record, run_json
from eval.table import as_table
from eval.why import as_text, explain
from qa.gold import Article, GoldSpan, Paragraph, Place, Question
from qa.indexing import index_files
from qa.pipeline import Pipeline
from qa.settings import model_pair
from qa.spans import ScoredSpan


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
SETTINGS = {
    "gold": "gold.jsonl", "version": "0", "reader_only": False, "read": 10, "limit": None,
    "distractors": [], "left_out": 0,
}  # fmt: skip


def outcome(**fields: Any) -> Outcome:
    plain = {
        "id": "1", "question": "Who?", "golds": ("x",), "best": "x",
        "confidence": 0.9, "answered": True, "em": 1.0, "f1": 1.0, "hit_rank": 1, "seconds": 1.0,
        "cluster": "a", "ndcg": 1.0, "document_rank": 1, "cited": True,
    }  # fmt: skip
    return Outcome(**{**plain, **fields})


def squad(path: Path) -> Path:
    """The articles as SQuAD's own JSON, packed."""
    data = [
        {
            "title": a.title,
            "paragraphs": [
                {
                    "context": p.text,
                    "qas": [
                        {
                            "id": q.id,
                            "question": q.text,
                            "answers": [{"text": s.text, "answer_start": s.start} for s in q.spans],
                        }
                        for q in p.questions
                    ],
                }
                for p in a.paragraphs
            ],
        }
        for a in ARTICLES
    ]
    path.write_bytes(lzma.compress(json.dumps({"data": data}).encode()))
    return path


def test_gold_spans_land_in_the_files(tmp_path: Path) -> None:
    gold = write_articles(ARTICLES, tmp_path / "gold")
    files = (tmp_path / "gold").iterdir()
    texts = {path.name: path.read_bytes().decode("utf-16-be") for path in files}
    assert len(texts) == 2
    bridge = next(text for name, text in texts.items() if name.startswith("0-Bridge_"))
    for item, paragraph in zip(gold[:2], ARTICLES[0].paragraphs, strict=True):
        (span,) = item.spans
        assert bridge[span.start : span.end] == item.golds[0]
        assert item.paragraph is not None
        assert bridge[item.paragraph.start : item.paragraph.end] == paragraph.text
    assert gold[2].spans == ()


def test_articles_are_indexed_as_they_are_written_whatever_they_look_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beginnings = ["<html>", "<!-- x --><!DOCTYPE html>", "%PDF-1.4", "GIF89a", "{\\rtf1", "\ufeff",
                  "PK\x03\x04", " \n", "a,b\n1,2\n", "\x1b$B", "\0\0"]  # fmt: skip
    titles = [".NET", "..", "𝒜" * 300, *"defghijk"]
    articles = [
        article(title, (f"{beginning} was found by <b>Ida Lund</b>.", "Who found it?", "Ida Lund"))
        for title, beginning in zip(titles, beginnings, strict=True)
    ]
    hollow = [Article("", ()), Article("Blank", (Paragraph(" \n", ()),))]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    gold = write_articles([*hollow, *articles], Path("../gold"))
    changes = index_files(Path("index"), [Path("../gold")])
    assert (len(changes.added), changes.failed, changes.skipped) == (len(beginnings), {}, {})
    with Snapshot.open(Path("index")) as snapshot:
        for item, written in zip(gold, articles, strict=True):
            (span,) = item.spans
            text = snapshot.document(span.document).text
            assert text[span.start : span.end] == "Ida Lund"
            assert item.paragraph is not None
            assert text[item.paragraph.start : item.paragraph.end] == written.paragraphs[0].text


def test_a_whole_run(tmp_path: Path) -> None:
    gold = write_articles(ARTICLES, tmp_path / "gold")
    index_files(tmp_path / "index", [tmp_path / "gold"])
    with Pipeline.open(tmp_path / "index") as pipeline:
        outcomes = list(measure(pipeline, gold))
    assert [outcome.id for outcome in outcomes] == [item.id for item in gold]
    assert (outcomes[1].best, outcomes[1].alone, outcomes[1].hit_rank) == ("green", "green", 1)
    summary = run_json(outcomes, SETTINGS)["summary"]
    assert summary["recall@5"] == {"value": 1.0, "low": None, "high": None, "n": 2}
    assert summary["f1"]["n"] == 3


def test_an_answer_parted_by_the_end_of_a_line_was_retrieved(tmp_path: Path) -> None:
    (tmp_path / "ferry.txt").write_text("With no power, the ferry drifted for nearly four\nhours.")
    index_files(tmp_path / "index", [tmp_path / "ferry.txt"])
    asked = Gold("1", "How long did the ferry drift?", ("nearly four hours", "a day"))
    with Pipeline.open(tmp_path / "index") as pipeline:
        (found,) = measure(pipeline, [asked])
        (absent,) = measure(pipeline, [dataclasses.replace(asked, golds=("a fortnight",))])
    assert (found.hit_rank, found.cause) == (1, None)
    assert (absent.hit_rank, absent.cause) == (None, "not indexed")


def test_every_question_is_in_the_denominator() -> None:
    outcomes = [
        outcome(),
        outcome(id="2", best="", em=0.0, f1=0.0, hit_rank=None, answered=False,
                confidence=0.0, cited=None),
        outcome(id="3", best="x y z", em=0.0, f1=0.5, hit_rank=7, answered=False, confidence=0.2),
        outcome(id="4", golds=(), em=0.0, f1=0.0, hit_rank=None, placed=False, cited=False),
        outcome(id="5", golds=(), em=0.0, f1=0.0, hit_rank=None, answered=False, placed=False,
                confidence=0.1),
    ]  # fmt: skip
    summary = {k: v["value"] for k, v in run_json(outcomes, SETTINGS)["summary"].items()}
    assert summary["recall@1"] == summary["recall@5"] == pytest.approx(1 / 3)
    assert summary["recall@10"] == pytest.approx(2 / 3)
    assert summary["mrr"] == pytest.approx((1 + 0 + 1 / 7) / 3)
    assert summary["always_em"] == pytest.approx(100 / 3)
    assert summary["always_f1"] == pytest.approx(50)
    # A right answer, two abstentions where there was an answer, an answer where there was
    # none, and a right abstention.
    assert summary["f1"] == summary["em"] == pytest.approx(40)
    assert summary["has_answer_f1"] == pytest.approx(100 / 3)
    assert summary["no_answer_em"] == pytest.approx(50)
    assert summary["abstention_precision"] == pytest.approx(1 / 3)
    assert summary["abstention_recall"] == pytest.approx(1 / 2)
    assert summary["citation"] == pytest.approx(1 / 2)
    # At a confidence of .2 or .9 nothing more is won: right are the first and the last one.
    assert summary["best_threshold_em"] == pytest.approx(40)


def test_a_figure_at_k_needs_k_passages() -> None:
    for read, measured in ((5, {"recall@5"}), (10, {"recall@5", "recall@10", "ndcg@10"})):
        summary = run_json([outcome()], {**SETTINGS, "read": read})["summary"]
        assert summary.keys() & {"recall@5", "recall@10", "ndcg@10"} == measured


def test_questions_are_sliced_by_the_word_they_ask_with() -> None:
    asked = {
        "The treaty was signed when?": "when", "In which year, and why?": "which",
        "How many came?": "how many", "Who's there?": "who", "Name the ship.": "other",
    }  # fmt: skip
    for question, word in asked.items():
        run = run_json([outcome(question=question)], SETTINGS)
        assert list(run["slices"]["question word"]) == [word]


def test_disagreement_is_measured_where_it_is_tagged() -> None:
    tagged = {"tags": ("disagreement",)}
    outcomes = [
        outcome(disagreement=True, **tagged),
        outcome(id="2", **tagged),
        outcome(id="3", disagreement=True),
        outcome(id="4"),
    ]
    summary = run_json(outcomes, SETTINGS)["summary"]
    assert summary["disagreement_precision"]["value"] == 0.5
    assert summary["disagreement_recall"]["value"] == 0.5
    without = run_json([outcome(), outcome(id="2", disagreement=True)], SETTINGS)["summary"]
    assert not [name for name in without if "disagreement" in name]


def test_the_cause_is_the_first_stage_that_failed() -> None:
    right = Evidence(True, 1.0, True, True, True, True, True)
    replace = dataclasses.replace
    assert cause_of(right) is None
    # The answer given may be right in other words than gold's, which no passage holds.
    assert cause_of(replace(right, indexed=False, retrieved=False, read_first=False)) is None
    assert cause_of(replace(right, right_document=False)) == "wrong document"
    assert cause_of(replace(right, right_document=False, indexed=False)) == "not indexed"
    assert cause_of(replace(right, answered=False)) == "abstained wrongly"
    lost = replace(right, f1=0.4)
    assert cause_of(replace(lost, indexed=False)) == "not indexed"
    assert cause_of(replace(lost, retrieved=False)) == "not retrieved"
    assert cause_of(lost) == "wrong span"
    assert cause_of(replace(lost, read_first=False)) == "not read first"
    assert cause_of(replace(right, answerable=False)) == "answered wrongly"
    assert cause_of(replace(right, answerable=False, answered=False)) is None
    possible = [
        Evidence(a, f, *rest)
        for a, f in product((True, False), (0.0, RIGHT_F1, 1.0))
        for rest in product((True, False), repeat=5)
    ]
    assert {cause_of(each) for each in possible} == {None, *CAUSES}
    for each in possible:
        well = each.f1 >= RIGHT_F1 and each.right_document and each.answered
        assert (cause_of(each) is None) == (well if each.answerable else not each.answered)


class Mute:
    """A reader that finds nothing."""

    def read(self, _question: str, texts: Sequence[str], *, n: int) -> list[list[ScoredSpan]]:
        return [[] for _ in texts]


def test_questions_on_one_document_are_drawn_together(tmp_path: Path) -> None:
    path = squad(tmp_path / "gold.json.xz")
    rows = [Gold(f"{n}", "Who?", ("x",), (Place(f"d{n // 2}", 0, 1),)) for n in range(4)]
    reader: Any = Mute()
    drawn = {
        "a SQuAD file's own paragraphs": squad_contexts(path),
        "rows with spans": [(item, "x") for item in rows],
        "a SQuAD file on other documents": [(item, "") for item in unplaced(path)],
    }
    for name, asked in drawn.items():
        clusters = [found.cluster for found in measure_reader(reader, asked)]
        assert clusters[0] == clusters[1] != clusters[-1], name
    alone = [Gold(f"{n}", "Who?", ("x",)) for n in range(2)]
    apart = run_json(list(measure_reader(reader, [(item, "") for item in alone])), SETTINGS)
    assert "draws of questions" in as_table(apart)
    shared = [outcome(), outcome(id="2"), outcome(id="3", cluster="b")]
    assert "draws of whole documents" in as_table(run_json(shared, SETTINGS))


def test_search_alone_is_measured_as_trec_does(tmp_path: Path) -> None:
    random = Random(3)
    names = [f"n{number}" for number in range(30)]
    ids = {name: f"{number:016x}" for number, name in enumerate(names)}
    corpus = tmp_path / "corpus.jsonl"
    summaries = [
        SimpleNamespace(id=ids[name], row=row, source=corpus) for row, name in enumerate(names, 1)
    ]
    # Some of the queries are documents themselves.
    queries = {name: name for name in [*names[:8], *(f"q{number}" for number in range(8))]}
    relevance = {
        query: {name: random.choice([0, 1, 2]) for name in random.sample(names, 6)}
        for query in queries
    }
    ranked = {query: random.choices(names, k=40) for query in queries}  # Of documents' passages.
    pipeline: Any = SimpleNamespace(
        snapshot=SimpleNamespace(summaries=lambda: summaries),
        search=lambda query, _: [
            SimpleNamespace(passage=SimpleNamespace(document_id=ids[name]))
            for name in ranked[query]
        ],
    )
    beir = Beir(corpus, True, {n: row for row, n in enumerate(names, 1)}, queries, relevance)
    run = run_json(list(measure_retrieval(pipeline, beir, k=20)), {**SETTINGS, "read": 20})

    found = {
        query: {
            name: -float(rank) for rank, name in enumerate(dict.fromkeys(order)) if name != query
        }
        for query, order in ranked.items()
    }
    oracles = {
        "recall@1": ir_measures.R @ 1, "recall@5": ir_measures.R @ 5,
        "recall@20": ir_measures.R @ 20, "mrr": ir_measures.RR @ 20,
        "ndcg@10": ir_measures.nDCG @ 10,
    }  # fmt: skip
    expected = ir_measures.calc_aggregate(oracles.values(), relevance, found)
    for name, oracle in oracles.items():
        assert run["summary"][name]["value"] == pytest.approx(expected[oracle]), name
    assert not [name for name in run["summary"] if name.startswith("document_")]
    assert "share of the relevant documents among the first 5" in as_table(run)


# A part of the sample gold, with the real models.

PART = [row["id"] for row in sample_gold("n") if row["answers"]][::6][:20]
UNANSWERABLE = [row["id"] for row in sample_gold("n") if not row["answers"]][:4]


@pytest.fixture(scope="module")
def pipeline(sample_index: Path) -> Iterator[Pipeline]:
    with Pipeline.open(sample_index) as opened:
        yield opened


@pytest.fixture(scope="module")
def gold(pipeline: Pipeline) -> list[Gold]:
    placed = place_rows(SAMPLE_GOLD, pipeline.snapshot)
    return [item for item in placed if item.id in {*PART, *UNANSWERABLE}]


@pytest.fixture(scope="module")
def outcomes(pipeline: Pipeline, gold: list[Gold]) -> list[Outcome]:
    return list(measure(pipeline, gold))


def causes(outcomes: Sequence[Outcome]) -> Counter[str | None]:
    return Counter(outcome.cause for outcome in outcomes)


def test_figures_of_a_run_are_those_of_other_packages(
    pipeline: Pipeline, gold: list[Gold], outcomes: list[Outcome]
) -> None:
    from torchmetrics.functional.text import squad as oracle

    run = run_json(outcomes, SETTINGS)
    asked = [question for question in run["questions"] if question["golds"]]
    scores = oracle(
        [{"prediction_text": q["prediction"], "id": q["id"]} for q in asked],
        [{"answers": {"answer_start": [0], "text": q["golds"]}, "id": q["id"]} for q in asked],
    )
    assert run["summary"]["has_answer_em"]["value"] == pytest.approx(float(scores["exact_match"]))
    assert run["summary"]["has_answer_f1"]["value"] == pytest.approx(float(scores["f1"]), abs=1e-3)

    qrels: dict[str, dict[str, int]] = {}
    found: dict[str, dict[str, float]] = {}
    for item in gold:
        if item.golds:
            qrels[item.id] = {
                str(passage.id): 1
                for span in item.spans
                for passage in pipeline.snapshot.passages(
                    pipeline.snapshot.passage_ids([span.document])
                )
                if passage.start <= span.start and span.end <= passage.end
            }
            hits = pipeline.search(item.question, 10)
            found[item.id] = {str(hit.passage.id): -float(hit.rank) for hit in hits}
    expected = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10, ir_measures.RR @ 10, ir_measures.Success @ 1], qrels, found
    )
    assert len(qrels) == len(PART)
    for name, measure_ in (
        ("ndcg@10", ir_measures.nDCG @ 10),
        ("mrr", ir_measures.RR @ 10),
        ("recall@1", ir_measures.Success @ 1),
    ):
        assert run["summary"][name]["value"] == pytest.approx(expected[measure_]), name


class SecondBest:
    """A broken reader: it never gives the best span of a passage, nor one that overlaps it."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, question: str, texts: Sequence[str], *, n: int) -> list[list[ScoredSpan]]:
        readings = self._reader.read(question, texts, n=n)
        return [
            [span for span in spans if span.start >= spans[0].end or span.end <= spans[0].start]
            for spans in readings
        ]


def test_a_broken_reader_shows_as_the_reader(
    pipeline: Pipeline, gold: list[Gold], outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_reader", SecondBest(pipeline.reader))
    whole, broken = causes(outcomes), causes(list(measure(pipeline, gold)))
    reader = ("wrong span", "not read first")
    assert sum(broken[c] for c in reader) >= sum(whole[c] for c in reader) + len(PART) / 4
    assert broken["not retrieved"] == whole["not retrieved"]
    assert broken["not indexed"] == 0


def test_search_without_words_shows_as_search(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names are what vectors find worst; one passage is read, so that search has to be right.
    named = {row["id"] for row in sample_gold("n") if {"name", "table"} & {*row["tags"]}}
    placed = place_rows(SAMPLE_GOLD, pipeline.snapshot)
    gold = [item for item in placed if item.golds and item.id in named][::2]
    whole = causes(list(measure(pipeline, gold, read=1)))
    monkeypatch.setattr(pipeline._search, "_lexical", Silent())
    broken = causes(list(measure(pipeline, gold, read=1)))
    assert broken["not retrieved"] >= whole["not retrieved"] + 4
    assert broken["wrong span"] <= whole["wrong span"]


class Silent:
    """A lexical index that finds nothing."""

    def search(self, *_: Any) -> list[Any]:
        return []


def test_a_missing_document_shows_as_such(pipeline: Pipeline, gold: list[Gold]) -> None:
    asked = dataclasses.replace(gold[0], spans=(), absent=("gone.txt",))
    (found,) = measure(pipeline, [asked])
    assert found.cause == "not indexed"
    assert (found.hit_rank, found.placed, found.cluster) == (None, True, "gone.txt")
    # Without places, the text decides.
    nowhere = Gold("x", "Who ate the moon?", ("Zebediah Quill",))
    somewhere = Gold("y", "Who directs the ICSR?", ("Neumann", "Peter R. Neumann"))
    first, second = measure(pipeline, [nowhere, somewhere])
    assert first.cause == "not indexed"
    assert (second.cause, second.placed, second.ndcg) == (None, False, None)
    (shorter,) = measure(pipeline, [dataclasses.replace(somewhere, golds=("Peter Neumann",))])
    assert (shorter.cause, shorter.f1) == (None, pytest.approx(0.8))


def test_citations_are_judged_where_gold_says_where_answers_stand(
    pipeline: Pipeline, gold: list[Gold]
) -> None:
    asked = Gold("x", "How many defectors went public?", ("58",))
    untrue = dataclasses.replace(asked, id="y", golds=())
    for also, n in (([], 0), ([gold[0]], 2)):
        summary = run_json(list(measure(pipeline, [asked, untrue, *also])), SETTINGS)["summary"]
        assert summary.get("citation", {"n": 0})["n"] == n


def test_why_says_what_the_causes_say(pipeline: Pipeline) -> None:
    found = explain(pipeline, "Who directs the ICSR?", "Peter R. Neumann")
    assert (found.cause, found.gold_position) == (None, 1)
    (best, *_) = found.passages
    assert best.read
    assert best.text.count("Neumann")
    assert best.spans[0].right
    assert best.spans[0].margin == pytest.approx(best.spans[0].score - best.spans[0].null_score)
    hits = {hit.passage.id: hit for hit in pipeline.search("Who directs the ICSR?", 10)}
    hit = hits[best.id]
    assert (best.fused_rank, best.fused_score) == (hit.rank, hit.score)
    assert (best.dense_rank, best.lexical_rank) == (hit.dense_rank, hit.lexical_rank)

    shorter = explain(pipeline, "Who directs the ICSR?", "Peter Neumann")
    assert (shorter.cause, shorter.holding, shorter.gold_position) == (None, 0, 1)
    given = ("Peter R. Neumann", "Ida Lund", "Neumann")
    answers = as_text(dataclasses.replace(found, answers=tuple((a, 0.9, "x") for a in given)))
    assert [f"answer {n} *" in answers for n in (1, 2, 3)] == [True, False, True]

    nowhere = explain(pipeline, "Who directs the ICSR?", "Zebediah Quill")
    assert (nowhere.cause, nowhere.holding) == ("not indexed", 0)
    unread = explain(pipeline, "How long did the ferry drift?", "nearly four hours", read=1)
    assert unread.cause == "not retrieved"
    assert not unread.passages[0].read
    assert (unread.passages[0].fused_rank or 0) > 1
    assert "Search lost it" in as_text(unread)
    with pytest.raises(InputError, match="--gold is blank"):
        explain(pipeline, "Who?", " ")


# Runs, saved and compared.


def a_run(*changes: dict[str, Any], **settings: Any) -> Any:
    made = [outcome(id=str(n), cluster=f"d{n}", **change) for n, change in enumerate(changes)]
    return run_json(made, {**SETTINGS, **settings})


WRONG: dict[str, Any] = {"best": "z", "em": 0.0, "f1": 0.0}


def test_two_runs_compare_question_by_question() -> None:
    old = a_run({}, WRONG, WRONG, {})
    new = a_run({}, {}, WRONG, {"answered": False})
    comparison = compare(new, old)
    test = comparison["metrics"]["f1"]
    assert (test["difference"], test["wins"], test["losses"], test["ties"]) == (0.0, 1, 1, 2)
    assert [change["id"] for change in comparison["changed"]] == ["1", "3"]
    assert comparison["changed"][0]["before"] == "z"
    same = compare(new, new)
    assert same["changed"] == []
    assert all(t["p_randomisation"] == t["p_bootstrap"] == 1 for t in same["metrics"].values())
    table = as_table(new, {"with": "old.json", **comparison})
    assert "2 questions are answered otherwise" in table


def test_runs_over_other_questions_are_refused() -> None:
    with pytest.raises(InputError, match=r"the other run lacks 2 questions \(1, 2\)"):
        compare(a_run({}, {}, {}), a_run({}))
    with pytest.raises(InputError, match=r"this run lacks 1 questions \(1\)"):
        compare(a_run({}), a_run({}, {}))
    with pytest.raises(InputError, match="question '0' is not the same in both runs"):
        compare(a_run({}), a_run({"golds": ("y",)}))
    among = [{"name": "more.json", "sha256": "0"}]
    with pytest.raises(InputError, match=r"the other run had other --distractors \(more\.json\)"):
        compare(a_run({}), a_run({}, distractors=among))
    compare(a_run({}, distractors=among), a_run({}, distractors=[{**among[0], "name": "a"}]))


def test_a_saved_run_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(a_run({}, WRONG)))
    assert read_run(path) == json.loads(path.read_text())
    for text in (
        "", "[]", '{"summary": {}, "questions": [{"id": 1}]}', '{"summary": {}, "questions": []}',
        "[" * 99_999,
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=r"citespan eval GOLD --json > run\.json"):
            read_run(path)


def test_what_is_asked_for_is_checked() -> None:
    run = a_run({}, WRONG)
    assert failures(run, requirements("f1=50, recall@5=1")) == []
    assert failures(run, requirements("f1=50.1")) == ["f1 is 50, below 50.1"]
    assert failures(run, requirements("brier=0.1")) == ["brier is 0.41, above 0.1"]
    for text in ("f1", "f1=", "f1=x", "nonsense=3", ""):
        with pytest.raises(InputError, match="--fail-under"):
            requirements(text)
    with pytest.raises(InputError, match="does not measure 'reader_f1'; it measures recall@1, "):
        failures(run, requirements("reader_f1=1"))


def test_what_a_run_cannot_measure_is_refused_with_the_remedy() -> None:
    plain: dict[str, Any] = {"read": 10, "reader_only": False, "search_alone": False}
    require_measurable(requirements("f1=1,recall@10=1,ndcg@10=1,citation=1"), **plain)
    for wanted, options, message in (
        ("recall@20=1", {}, "and 10 are read; add `--read 20`"),
        ("ndcg@10=1", {"read": 5}, "and 5 are read; add `--read 10`"),
        ("mrr=1", {"reader_only": True}, "mrr is of what search finds; leave it out, or --reader-"),
        ("citation=1", {"reader_only": True}, "citation is of what search finds"),
        ("f1=1", {"search_alone": True}, "a BEIR folder is for search alone, without f1"),
        ("document_recall@5=1", {"search_alone": True}, "search alone, without document_recall@5"),
    ):
        with pytest.raises(InputError, match=message):
            require_measurable(requirements(wanted), **{**plain, **options})
    alone = a_run({"ndcg": None, "placed": False, "cited": None}, reader_only=True)
    for name in alone["summary"]:
        require_measurable({name: 0.0}, **{**plain, "reader_only": True})


def test_figures_of_exact_match_and_f1_are_in_percent() -> None:
    for metric in METRICS:
        assert metric.percent == metric.name.endswith(("em", "f1")), metric.name


@given(st.permutations(range(6)))
def test_figures_do_not_depend_on_the_order(order: list[int]) -> None:
    changes = [{}, WRONG, {"golds": ()}, {"answered": False}, {"hit_rank": None}, WRONG]
    made = [outcome(id=str(n), cluster="a", **change) for n, change in enumerate(changes)]
    one, other = run_json(made, SETTINGS), run_json([made[n] for n in order], SETTINGS)
    assert other["causes"] == one["causes"]
    for name, figure in one["summary"].items():
        assert other["summary"][name]["value"] == pytest.approx(figure["value"]), name


def test_a_figure_is_the_mean_of_its_questions(outcomes: list[Outcome]) -> None:
    run = run_json(outcomes, SETTINGS)
    for metric in METRICS:
        values = [metric.of(record(outcome)) for outcome in outcomes]
        known = [value for value in values if value is not None]
        if known and metric.name in run["summary"]:
            mean = sum(known) / len(known)
            assert run["summary"][metric.name]["value"] == pytest.approx(mean), metric.name


# The command.


def test_the_command_on_squad(tmp_path: Path) -> None:
    gold = squad(tmp_path / "gold.json.xz")
    done = citespan("eval", gold, "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert list(run) == ["summary", "causes", "slices", "questions", "settings", "seconds"]
    assert [question["id"] for question in run["questions"]] == [
        "Bridge/Å-0",
        "Bridge/Å-1",
        "Prize-0",
    ]
    assert run["summary"]["recall@1"]["value"] == 1
    (tmp_path / "run.json").write_text(done.stdout)

    done = citespan("eval", gold, "--compare", tmp_path / "run.json", "--fail-under", "f1=101")
    assert done.returncode == 1
    assert "p rand" in done.stdout
    assert "Error: --fail-under: f1 is" in done.stderr
    alone = json.loads(citespan("eval", gold, "--reader-only", "--json").stdout)
    assert alone["summary"]["reader_em"]["n"] == 2
    assert alone["questions"][1]["prediction"] == "green"
    assert "recall@1" not in alone["summary"]
    table = citespan("eval", gold, "--reader-only", "--unanswerable", "1").stdout
    assert "4 questions" in table
    assert "reader alone" in table
    assert "end to end" not in table
    refused = citespan("eval", gold, "--unanswerable", "1")
    assert refused.stderr.startswith("Error: --unanswerable gives the reader wrong paragraphs")
    refused = citespan("eval", gold, "--reader-only", "--compare", tmp_path / "none.json")
    assert refused.returncode == 1
    assert "is no saved run" in refused.stderr
    refused = citespan("eval", gold, "--html", tmp_path / "none" / "report.html")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"there is no folder {tmp_path / 'none'}; make it first" in refused.stderr
    refused = citespan("eval", gold, "--fail-under", "recall@20=1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "add `--read 20`" in refused.stderr
    full = citespan("eval", gold, "--reader-only", "--html", "/dev/full")
    assert full.returncode == 1
    assert "reader_f1" in full.stdout


def test_other_questions_are_refused_before_any_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = squad(tmp_path / "gold.json.xz")
    run = evaluate(gold, None, reader_only=True)
    monkeypatch.setattr("eval.evaluate.measure_reader", None)
    with pytest.raises(InputError, match="this run lacks 1 questions"):
        evaluate(gold, None, reader_only=True, limit=2, against=run)


def test_distractors_that_nothing_is_searched_among_are_refused(tmp_path: Path) -> None:
    gold = squad(tmp_path / "gold.json.xz")
    with pytest.raises(InputError, match="--distractors join the paragraphs"):
        evaluate(gold, None, reader_only=True, distractors=[gold])
    with pytest.raises(InputError, match="--distractors join the paragraphs"):
        evaluate(tmp_path, None, distractors=[gold])
    with pytest.raises(InputError, match="--distractors join the paragraphs"):
        calibrate(gold, tmp_path / "index", distractors=[gold])


def test_reading_alone_refuses_what_it_would_not_do(tmp_path: Path) -> None:
    gold = squad(tmp_path / "gold.json.xz")
    options: list[dict[str, Any]] = [{"read": 5}, {"dense_weight": 0.9}]
    for option in options:
        with pytest.raises(InputError, match="leave out --read and --dense-weight"):
            evaluate(gold, None, reader_only=True, **option)
    with pytest.raises(InputError, match="leave out --index, --docs and --sample"):
        evaluate(gold, tmp_path / "index", reader_only=True)


def test_a_run_says_what_it_was_searched_among(tmp_path: Path) -> None:
    gold = squad(tmp_path / "gold.json.xz")
    run = evaluate(gold, None, distractors=[gold], limit=2)
    (file,) = run["settings"]["distractors"]
    assert (file["name"], file["sha256"]) == (str(gold), run["settings"]["gold_sha256"])
    assert (run["settings"]["limit"], len(run["questions"])) == (2, 2)


def test_made_questions_have_the_best_paragraph_without_their_answer(tmp_path: Path) -> None:
    gold = squad(tmp_path / "gold.json.xz")
    asked = squad_contexts(gold)
    made = wrong_contexts(gold, asked, open_encoder(model_pair("bundled").encoder), 2)
    assert made == wrong_contexts(gold, asked, open_encoder(model_pair("bundled").encoder), 2)
    texts = {text for _, text in asked}
    by_id = {item.id: item for item, _ in asked}
    for item, text in made:
        original = by_id[item.id.removesuffix("/wrong")]
        assert (item.golds, item.question) == ((), original.question)
        assert text in texts
        assert not any(answer in text for answer in original.golds)
    with pytest.raises(GoldError, match="allows 2 questions with a wrong paragraph, not 3"):
        wrong_contexts(gold, asked, open_encoder(model_pair("bundled").encoder), 3)


def test_the_command_on_rows(sample_index: Path, tmp_path: Path) -> None:
    rows = [row for row in sample_gold("s") if row["id"] in {"s01", "s03", "s41"}]
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "report.html"
    done = citespan("eval", path, "--index", sample_index, "--html", page)
    assert done.returncode == 0, done.stderr
    assert "3 questions" in done.stdout
    assert "recall@5" in done.stdout
    assert "How many defectors went public?" in page.read_text()
    alone = citespan("eval", path, "--index", sample_index, "--reader-only", "--json")
    run = json.loads(alone.stdout)
    assert (len(run["questions"]), run["settings"]["left_out"]) == (2, 1)
    path.write_text(path.read_text() + '{"question": "Who?"}\n')
    done = citespan("eval", path, "--index", sample_index)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {path}, line 4 has answers")
    assert citespan("eval", tmp_path / "gold.txt").returncode == 1


def test_texts_that_are_not_indexed_are_no_low_score(tmp_path: Path) -> None:
    for changes in ({"skipped": {tmp_path: "is too large"}}, {"failed": {tmp_path: "is torn"}}):
        with pytest.raises(GoldError, match=r"its texts could not be indexed .*: is t"):
            require_indexed(tmp_path, Changes(**changes))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": " "}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "Who?"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(GoldError, match="has no text"):
        index_beir(read_beir(tmp_path), "bundled")


def test_the_command_on_beir(tmp_path: Path) -> None:
    texts = {
        "d1": "The bridge was opened in 1931.",
        "d2": "The prize went to Ida Lund.",
        "d3": "Bananas are grown on the southern coast.",
    }
    rows = [json.dumps({"_id": id_, "title": "", "text": text}) for id_, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
    queries = {"q1": "When was the bridge opened?", "q2": "fruit of the southern coast"}
    (tmp_path / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": id_, "text": text}) for id_, text in queries.items())
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n"
    )
    (tmp_path / "here").mkdir()
    done = citespan("eval", "..", "--json", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["summary"]["ndcg@10"]["value"] == 1
    assert run["summary"]["recall@1"]["value"] == 1
    assert run["summary"]["mrr"]["value"] == 1
    assert "f1" not in run["summary"]
    refused = citespan("eval", tmp_path, "--reader-only")
    assert "measures search alone" in refused.stderr


def test_the_command_why(sample_index: Path) -> None:
    arguments = ["why", "Who directs the ICSR?", "--gold", "Neumann", "--index", sample_index]
    done = citespan(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing was lost")
    told = json.loads(citespan(*arguments, "--json").stdout)
    assert told["cause"] is None
    assert told["answers"][0]["text"]

"""Measuring: every question counts, a broken stage shows as itself, and runs compare."""

import dataclasses
import json
import lzma
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from conftest import SAMPLE_GOLD, citespan, sample_gold
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import GoldError, InputError
from embeddings.encoder import open_encoder
from eval.calibrate import calibrate
from eval.causes import CAUSES, Evidence, cause_of
from eval.compare import compare, failures, read_run, requirements
from eval.evaluate import evaluate
from eval.gold import (
    Gold,
    place_rows,
    squad_contexts,
    write_articles,
    wrong_contexts,
)
from eval.run import Outcome, measure
from eval.summary import METRICS, record, run_json
from eval.table import as_table
from eval.why import as_text, explain
from qa.gold import Article, GoldSpan, Paragraph, Question
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
SETTINGS = {"gold": "gold.jsonl", "version": "0", "reader_only": False, "read": 10, "left_out": 0}


def outcome(**fields: Any) -> Outcome:
    plain = {
        "id": "1", "question": "Who?", "golds": ("x",), "best": "x", "score": 3.0,
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
    texts = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "gold").iterdir()}
    assert len(texts) == 2
    bridge = next(text for name, text in texts.items() if name.startswith("Bridge_"))
    for item, paragraph in zip(gold[:2], ARTICLES[0].paragraphs, strict=True):
        (span,) = item.spans
        assert bridge[span.start : span.end] == item.golds[0]
        assert item.paragraph is not None
        assert bridge[item.paragraph.start : item.paragraph.end] == paragraph.text
    assert gold[2].spans == ()


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
        (absent,) = measure(pipeline, [dataclasses.replace(asked, golds=("five hours",))])
    assert (found.hit_rank, found.cause) == (1, None)
    assert (absent.hit_rank, absent.cause) == (None, "not indexed")


def test_every_question_is_in_the_denominator() -> None:
    outcomes = [
        outcome(),
        outcome(id="2", best="", score=None, em=0.0, f1=0.0, hit_rank=None, answered=False,
                confidence=0.0, cited=None),
        outcome(id="3", best="x y z", em=0.0, f1=0.5, hit_rank=7, answered=False, confidence=0.2),
        outcome(id="4", golds=(), em=0.0, f1=0.0, hit_rank=None, placed=False, cited=None),
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
    assert cause_of(replace(right, indexed=False)) == "not indexed"
    assert cause_of(replace(right, right_document=False)) == "wrong document"
    assert cause_of(replace(right, answered=False)) == "abstained wrongly"
    lost = replace(right, f1=0.4)
    assert cause_of(replace(lost, retrieved=False)) == "not retrieved"
    assert cause_of(lost) == "wrong span"
    assert cause_of(replace(lost, read_first=False)) == "not read first"
    assert cause_of(replace(right, answerable=False)) == "answered wrongly"
    assert cause_of(replace(right, answerable=False, answered=False)) is None
    seen = {
        cause_of(Evidence(a, f, *rest))
        for a, f in product((True, False), (0.0, 1.0))
        for rest in product((True, False), repeat=5)
    }
    assert seen == {None, *CAUSES}


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
    with pytest.raises(InputError, match="does not measure 'reader_f1'"):
        failures(run, requirements("reader_f1=1"))


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
    done = citespan("eval", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["summary"]["ndcg@10"]["value"] == 1
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

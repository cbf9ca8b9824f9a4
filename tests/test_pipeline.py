"""From question to cited answers, with the bundled models on the sample documents."""

import subprocess
import sys
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
from conftest import pages_of, sample_gold, squeezed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.errors import InputError, RecipeError
from corpus.store import Snapshot
from embeddings.exports import export
from embeddings.runtime import ExportedModel, TokenSequence
from qa import trimming
from qa.answers import f1
from qa.indexing import SAMPLE, index_files
from qa.pipeline import Pipeline
from qa.reader import Reader
from qa.results import Citation, Result
from qa.settings import model_pair

QUESTIONS = sample_gold("s")
DIFFERENCES = sample_gold("d")


@pytest.fixture(scope="module")
def pipeline(sample_index: Path) -> Any:
    with Pipeline.open(sample_index) as opened:
        yield opened


@pytest.fixture(scope="module")
def results(pipeline: Pipeline) -> dict[str, Result]:
    return {entry["id"]: pipeline.ask(entry["question"]) for entry in QUESTIONS}


def check_citations(result: Result) -> None:
    """Every quote is the file's own characters, read back without our code."""
    for answer in result.answers:
        assert answer.text == answer.citations[0].quote
        assert 0.0 <= answer.confidence <= 1.0
        for citation in answer.citations:
            check_citation(citation)


def check_citation(citation: Citation) -> None:
    path = Path(citation.source)
    low = citation.sentence_start
    assert low <= citation.start <= citation.end <= low + len(citation.sentence)
    if path.suffix in {".txt", ".md"}:
        text = path.read_bytes().decode("utf-8")
        assert text[citation.start : citation.end] == citation.quote
        assert text[low : low + len(citation.sentence)] == citation.sentence
        assert citation.line == text[: citation.start].count("\n") + 1
        return
    assert citation.line is None
    assert (citation.page is not None) == (path.suffix == ".pdf")
    pages = pages_of(path)
    assert squeezed(citation.sentence) in pages[(citation.page or 1) - 1]


def test_the_gold_answers_stand_in_the_sample() -> None:
    for entry in QUESTIONS:
        for span in entry.get("spans", []):
            pages = pages_of(SAMPLE / span["document"])
            assert any(squeezed(answer) in page for answer in entry["answers"] for page in pages), (
                entry["id"]
            )


def test_the_sample_disagrees_with_itself(pipeline: Pipeline) -> None:
    """What two of its documents say differently stands in both, as indexed."""
    assert len(DIFFERENCES) >= 30
    with Snapshot.open(pipeline.snapshot.folder) as snapshot:
        texts = {
            summary.source.name: snapshot.document(summary.id).text
            for summary in snapshot.summaries()
        }
    for fact in DIFFERENCES:
        quotes: dict[str, set[str]] = {}
        for span in fact["spans"]:
            name = span["document"]
            quote = squeezed(texts[name][span["start"] : span["end"]])
            assert any(quote == squeezed(answer) for answer in fact["answers"]), fact
            quotes.setdefault(name, set()).add(quote)
        one, other = quotes.values()
        assert not one & other, fact


def test_the_sample_has_every_kind_and_can_be_made_again(tmp_path: Path) -> None:
    kinds = {path.suffix for path in SAMPLE.iterdir()}
    assert kinds == {".txt", ".md", ".html", ".pdf", ".docx"}
    script = Path(__file__).parent / "make_sample.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(
        path.name for path in SAMPLE.iterdir() if path.suffix in {".pdf", ".docx"}
    )
    for name in made:
        assert pages_of(tmp_path / name) == pages_of(SAMPLE / name)


def test_every_citation_is_exact(results: dict[str, Result]) -> None:
    assert sum(len(result.answers) for result in results.values()) > 100
    for result in results.values():
        check_citations(result)


def test_the_sample_question(results: dict[str, Result]) -> None:
    result = results["s01"]
    assert result.answered
    assert result.answers[0].text == "58"
    assert result.answers[0].citations[0].source.endswith("defectors-icsr-report.txt")


def test_the_sample_questions_are_mostly_answered(results: dict[str, Result]) -> None:
    """A floor, well below what was measured; it fails when a stage breaks."""
    answerable = [entry for entry in QUESTIONS if entry["answers"]]
    scores = []
    for entry in answerable:
        answers = results[entry["id"]].answers
        scores.append(f1(answers[0].text if answers else "", entry["answers"]))
    assert np.mean(scores) > FLOOR_F1
    abstained = [not results[e["id"]].answered for e in QUESTIONS if not e["answers"]]
    assert np.mean(abstained) >= FLOOR_ABSTAINED


FLOOR_F1 = 0.6
FLOOR_ABSTAINED = 0.3


def test_answers_are_ranked_and_apart(results: dict[str, Result]) -> None:
    for result in results.values():
        scores = [answer.score for answer in result.answers]
        assert scores == sorted(scores, reverse=True)
        places = [
            (c.document, c.start, c.end) for answer in result.answers for c in answer.citations
        ]
        for i, (document, start, end) in enumerate(places):
            for other, low, high in places[i + 1 :]:
                assert document != other or end <= low or high <= start


def pipeline_over(tmp_path: Path, *texts: str) -> Pipeline:
    """Over the texts as a.txt, b.txt and so on."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in zip(ascii_lowercase, texts, strict=False):
        (docs / f"{name}.txt").write_text(text)
    index_files(tmp_path / "index", [docs])
    return Pipeline.open(tmp_path / "index")


def test_equal_answers_are_one_with_all_citations(tmp_path: Path) -> None:
    with pipeline_over(
        tmp_path,
        "The mayor said the bridge cost 274 million dollars to build.",
        "According to the audit, the bridge cost 274 Million dollars.",
    ) as pipeline:
        result = pipeline.ask("How much did the bridge cost?")
    sources = [Path(citation.source).name for citation in result.answers[0].citations]
    assert sorted(sources) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("quote", "trimmed"),
    [
        ("**1931**", "1931"), ("**1931", "1931"), (" # Title ", "Title"), ("- item", "item"),
        ("| 58 |", "58"), ("`__setup__`", "__setup__"), ("C#", "C#"),
        (">50 litres", ">50 litres"), ("-5", "-5"), ("~~old~~", "old"), ("***", ""),
        ("snake_case", "snake_case"), ("`a` and `b`", "`a` and `b`"), ("*a* or *b*", "*a* or *b*"),
    ],
)  # fmt: skip
def test_markup_is_trimmed_from_answers(quote: str, trimmed: str) -> None:
    text = f"before\n{quote} after"
    start, end = trimming.trimmed(text, 7, 7 + len(quote), markdown=True)
    assert text[start:end] == trimmed
    start, end = trimming.trimmed(text, 7, 7 + len(quote), markdown=False)
    assert text[start:end] == quote.strip()


@pytest.mark.parametrize("quote", ["> 5 mm", "- 4", "# 3"])
def test_what_begins_a_line_is_meant_within_it(quote: str) -> None:
    text = f"- Keep it at {quote} always"
    start = text.index(quote)
    assert trimming.trimmed(text, start, start + len(quote), markdown=True) == (
        start, start + len(quote)
    )  # fmt: skip


def test_an_exact_number_goes_before_a_rough_one_that_covers_it(tmp_path: Path) -> None:
    with pipeline_over(
        tmp_path,
        "A research group in London has listened to men who fled the militia. Nearly five dozen"
        " defectors went public with what they had seen, it says, and most others are in hiding.",
        "Since last winter 58 defectors from the group have spoken openly about it, say the authors"
        " of the study. Of the 58, 17 left during the summer.",
        "The ferry was late on Monday, and the harbour gave no reason.",
    ) as pipeline:
        for question in ("How many defectors went public?", "How many defectors have gone public?"):
            first, second, *_ = pipeline.ask(question).answers
            assert first.text == "58"
            assert second.text.casefold() == "nearly five dozen"


def test_fewer_answers_hide_no_disagreement(tmp_path: Path) -> None:
    with pipeline_over(
        tmp_path,
        "The bridge at Orle was opened in 1931 by the mayor.",
        "The bridge at Orle was opened in 1934, after two years of work.",
    ) as pipeline:
        for n in (1, 2, 5, 9):
            result = pipeline.ask("When was the bridge at Orle opened?", answers=n)
            assert result.disagreement
            assert all(m < n for answer in result.answers for m in answer.disagrees_with)


def test_no_answer_crosses_a_paragraph(results: dict[str, Result]) -> None:
    for result in results.values():
        assert not any("\n\n" in answer.text for answer in result.answers)


def test_several_answers_of_one_passage_are_found(tmp_path: Path) -> None:
    (tmp_path / "prize.txt").write_text(
        "Ida Lund won the Harbour Prize in 1987.\n\nTor Vik won the Harbour Prize in 1988.\n\n"
        "Eva Brandt won the Harbour Prize in 1989."
    )
    index_files(tmp_path / "index", [tmp_path / "prize.txt"])
    with Pipeline.open(tmp_path / "index") as pipeline:
        result = pipeline.ask("Who won the Harbour Prize?")
    assert {"Ida Lund", "Tor Vik", "Eva Brandt"} <= {answer.text for answer in result.answers}


def test_models_without_a_calibration_answer_too(tmp_path: Path, own_models: Path) -> None:
    (tmp_path / "a.txt").write_text("The bridge was opened in 1931 by the mayor.")
    index_files(tmp_path / "index", [tmp_path / "a.txt"], models=str(own_models))
    with Pipeline.open(tmp_path / "index") as pipeline:
        assert pipeline.ask("When was the bridge opened?").answers[0].text == "1931"


def plain(result: Result) -> Any:
    return [(a.text, a.confidence, a.citations) for a in result.answers], result.hits


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_worker_count_never_changes_an_answer(
    sample_index: Path, results: dict[str, Result], workers: int
) -> None:
    with Pipeline.open(sample_index, workers=workers) as pipeline:
        for entry in QUESTIONS[:12]:
            assert plain(pipeline.ask(entry["question"])) == plain(results[entry["id"]])


def test_company_never_changes_a_reading(reader_model: ExportedModel) -> None:
    reader = Reader(reader_model)
    texts = [path.read_text(encoding="utf-8")[:900] for path in sorted(SAMPLE.glob("*.txt"))]
    together = reader.read("Who said so?", texts, n=3)
    assert together == [reader.read("Who said so?", [text], n=3)[0] for text in texts]
    assert together[::-1] == reader.read("Who said so?", texts[::-1], n=3)


def test_a_long_text_is_read_to_its_end(reader_model: ExportedModel) -> None:
    filler = "The committee met again and nothing was decided at all. " * 120
    text = filler + "In the end 58 defectors went public." + filler
    (spans,) = Reader(reader_model).read("How many defectors went public?", [text], n=1)
    assert text[spans[0].start : spans[0].end] == "58"


def test_reading_nothing(reader_model: ExportedModel) -> None:
    assert Reader(reader_model).read("Why?", [], n=3) == []
    assert Reader(reader_model).read("Why?", ["", " \n"], n=3) == [[], []]


def test_float32_logits_equal_torch(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering

    source = model_pair("bundled").reader
    exported = export(source, "reader", precision="float32")
    model = AutoModelForQuestionAnswering.from_pretrained(source.folder, dtype=torch.float32)
    encoding = exported.tokenizer.encode("How many?", "There were 58 of them, they say.")
    ids, types = np.array(encoding.ids), np.array(encoding.type_ids)
    starts, ends = exported.run(TokenSequence(ids, types))
    with torch.no_grad():
        output = model(
            input_ids=torch.from_numpy(ids)[None], token_type_ids=torch.from_numpy(types)[None]
        )
    np.testing.assert_allclose(starts[0], output.start_logits[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(ends[0], output.end_logits[0].numpy(), atol=1e-3)


def test_float32_vectors_equal_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    from embeddings.encoder import OnnxEncoder

    source = model_pair("bundled").encoder
    texts = ["How many defectors went public?", "word " * 400, ""]
    ours = OnnxEncoder(export(source, "encoder", precision="float32")).encode_passages(texts)
    theirs = SentenceTransformer(str(source.folder), device="cpu").encode(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [
        (" ", {}, "blank"),
        ("Who?", {"answers": 0}, "start at 1"),
        ("Who?", {"read": 0}, "start at 1"),
        ("Who?", {"min_confidence": 1.5}, "from 0 to 1"),
    ],
)
def test_senseless_questions_are_refused(
    pipeline: Pipeline, question: str, options: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pipeline.ask(question, **options)


def test_min_confidence_overrides_the_threshold(pipeline: Pipeline) -> None:
    question = "How many defectors went public?"
    assert not pipeline.ask(question, min_confidence=1.0).answered
    assert pipeline.ask(question, min_confidence=0.0).threshold == 0.0


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(), min_size=1, max_size=300),
    st.text(st.characters(), min_size=1, max_size=60),
)
def test_any_text_any_question(
    tmp_path_factory: pytest.TempPathFactory, text: str, question: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.txt").write_bytes(text.encode("utf-8", "replace"))
    (folder / "b.txt").write_text("A plain sentence stands here.")
    changes = index_files(folder / "index", [folder / "a.txt", folder / "b.txt"])
    assert changes.documents + len(changes.failed) == 2
    with Pipeline.open(folder / "index") as pipeline:
        if question.strip():
            result = pipeline.ask(question)
            for answer in result.answers:
                for citation in answer.citations:
                    path = Path(citation.source)
                    with Snapshot.open(folder / "index") as snapshot:
                        codec = snapshot.document(citation.document).encoding
                    decoded = path.read_bytes().decode(codec or "utf-8")
                    assert decoded[citation.start : citation.end] == citation.quote


def test_an_index_of_other_models_is_refused(sample_index: Path, own_models: Path) -> None:
    with pytest.raises(RecipeError, match="made with the reader"):
        Pipeline.open(sample_index, models=str(own_models))

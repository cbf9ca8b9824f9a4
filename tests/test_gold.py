"""Gold questions are read strictly: what is wrong is named with its line."""

import csv
import gzip
import io
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLE_GOLD, citespan, sample_gold
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import GoldError
from corpus.store import Snapshot
from eval.beir import read_beir
from eval.gold import place_rows, write_articles
from qa.answers import normalise
from qa.gold import (
    GoldRow,
    Place,
    append_row,
    parse_row,
    read_rows,
    read_squad,
    row_as_json,
)

ROW: dict[str, Any] = {"question": "Who?", "answers": ["Ada"]}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() != ""
)
places = st.builds(
    lambda document, start, length: Place(document, start, start + length),
    words, st.integers(0, 10**6), st.integers(1, 99),
)  # fmt: skip
gold_rows = st.builds(
    lambda id_, question, answers, spans, tags: GoldRow(
        id_, question, tuple(answers), tuple(spans) if answers else (), tuple(tags)
    ),
    words, words, st.lists(words, max_size=3, unique=True), st.lists(places, max_size=3),
    st.lists(words, max_size=3, unique=True),
)  # fmt: skip


@given(st.lists(gold_rows, min_size=1, max_size=5, unique_by=lambda row: row.id))
def test_what_is_appended_is_read(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    path = tmp_path_factory.mktemp("gold") / "deep" / "gold.jsonl"
    for row in rows:
        append_row(path, row)
    assert read_rows(path) == rows


@given(st.lists(gold_rows, min_size=1, max_size=4, unique_by=lambda row: row.id))
def test_csv_says_the_same_as_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: Any
) -> None:
    path = tmp_path_factory.mktemp("gold") / "gold.csv.gz"
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "question", "answers", "spans", "tags"])
    for row in rows:
        fields = {"spans": [], "tags": [], **row_as_json(row)}
        writer.writerow(
            [fields["id"], fields["question"]]
            + [json.dumps(fields[key]) for key in ("answers", "spans", "tags")]
        )
    path.write_bytes(gzip.compress(text.getvalue().encode("utf-8")))
    assert read_rows(path) == rows


def test_plain_csv_cells(tmp_path: Path) -> None:
    path = tmp_path / "gold.csv"
    path.write_text('question,answers,tags\n"Who, then?",Ada Moreau,"name, easy"\nWhere?,,\n')
    named, unanswerable = read_rows(path)
    assert (named.question, named.answers, named.tags) == (
        "Who, then?", ("Ada Moreau",), ("name", "easy"),
    )  # fmt: skip
    assert unanswerable.answers == ()
    assert named.id != unanswerable.id


def test_how_a_file_is_packed_is_seen_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "GOLD.JSONL.GZ"
    path.write_bytes(gzip.compress(json.dumps(ROW).encode()))
    (row,) = read_rows(path)
    assert row.question == "Who?"
    with pytest.raises(GoldError, match=r"name a \.jsonl file"):
        append_row(path, row)


def test_lone_surrogates_are_replaced_as_in_documents(tmp_path: Path) -> None:
    torn = "Ada\ud800"
    row = parse_row({"id": torn, "question": torn, "answers": [torn, "Ada\ufffd"]}, "the row")
    append_row(tmp_path / "gold.jsonl", row)
    assert read_rows(tmp_path / "gold.jsonl") == [row]
    assert row.answers == ("Ada\ufffd",)

    answer = {"text": torn, "answer_start": 4}
    entry = {"id": "a", "question": torn, "answers": [answer]}
    article = {"title": None, "paragraphs": [{"context": f"Hey {torn}", "qas": [entry]}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [article]}))
    (gold,) = write_articles(read_squad(path), tmp_path / "files")
    (file,) = (tmp_path / "files").iterdir()
    (span,) = gold.spans
    text = file.read_bytes().decode("utf-16-be")
    assert text[span.start : span.end] == gold.golds[0] == "Ada\ufffd"
    assert file.name == "0-untitled.txt"


def test_an_id_is_kept_when_lines_move(tmp_path: Path) -> None:
    other = {"question": "Where?", "answers": []}
    first = read_rows(lines(tmp_path / "a.jsonl", ROW, other))
    second = read_rows(lines(tmp_path / "b.jsonl", other, ROW))
    assert {row.question: row.id for row in first} == {row.question: row.id for row in second}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"question": "Who?"}, "line 2 has answers = null; expected a list of texts"),
        ({**ROW, "answers": "Ada"}, 'line 2 has answers = "Ada"'),
        ({**ROW, "answers": ["Ada", " "]}, "line 2 has answers ="),
        ({**ROW, "question": "  "}, "line 2 has question ="),
        ({**ROW, "answer": "Ada"}, "line 2 has 'answer'; expected only id, question"),
        ({**ROW, "spans": [{"document": "a", "start": 4, "end": 4}]}, "line 2: span 1 is 4 to 4"),
        ({**ROW, "spans": [{"document": "a", "start": True, "end": 4}]}, "line 2: span 1 is true"),
        ({**ROW, "spans": [{"document": "a", "start": 0.0, "end": 4}]}, "span 1 is 0.0 to 4"),
        ({**ROW, "spans": [{"document": "", "start": 0, "end": 4}]}, "span 1 has document"),
        ({**ROW, "spans": [{"document": "a", "start": 0}]}, "line 2: span 1 is"),
        ({**ROW, "spans": {"document": "a"}}, "line 2 has spans"),
        ({**ROW, "answers": [], "spans": [{"document": "a", "start": 0, "end": 1}]}, "no answers"),
        ({**ROW, "id": ["x"]}, "line 2 has id ="),
        ({**ROW, "tags": [3]}, "line 2 has tags ="),
        ([1], "line 2 is \\[1\\]; expected an object"),
        ({**ROW, "id": "first"}, "line 2 has the id 'first', as line 1 has"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, bad: Any, message: str) -> None:
    path = lines(tmp_path / "gold.jsonl", {**ROW, "id": "first", "question": "When?"}, bad)
    with pytest.raises(GoldError, match=message) as raised:
        read_rows(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"question": "Who?", "answers": []}\n{"quest', "line 2 is not JSON"),
        ("a.jsonl", "\n \n", "holds no questions"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.csv", "question,answers\nWho?,[1\n", "line 2 has answers"),
        ("a.csv", "question,answers\nWho?\n", "line 2 has fewer cells than the 2 columns"),
        ("a.csv", "question,answers\nWho?,Ada,more\n", "line 2 has more cells than the 2"),
        ("a.csv", 'question,answers\n"Who?,Ada\n', "is not CSV"),
        ("a.csv", "question,answer\nWho?,Ada\n", "'answer'; expected only"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GoldError, match=message):
        read_rows(tmp_path / name)


keys = st.sampled_from(["id", "question", "answers", "spans", "tags"])
any_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
)


@given(any_json)
def test_any_json_is_a_row_or_an_error(fields: Any) -> None:
    try:
        row = parse_row(fields, "the row")
    except GoldError:
        return
    assert row.question.strip()
    assert parse_row(json.loads(json.dumps(row_as_json(row))), "again") == row


def test_what_is_not_gold_is_refused(tmp_path: Path) -> None:
    for name in ("none.jsonl", "."):
        with pytest.raises(GoldError):
            read_rows(tmp_path / name)
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9"}')
    with pytest.raises(GoldError, match="expected UTF-8"):
        read_rows(tmp_path / "latin.jsonl")
    (tmp_path / "a.jsonl.xz").write_bytes(b"no xz")
    with pytest.raises(GoldError, match="cannot be read"):
        read_rows(tmp_path / "a.jsonl.xz")


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    path = lines(tmp_path / "gold.jsonl", {**ROW, "id": "1"})
    path.write_text(path.read_text().rstrip("\n"))  # No newline at the end, as editors leave it.
    row = GoldRow("2", "Where?", ())
    append_row(path, row)
    assert [r.id for r in read_rows(path)] == ["1", "2"]
    before = path.read_bytes()
    with pytest.raises(GoldError, match="already has the question '2'"):
        append_row(path, row)
    with pytest.raises(GoldError, match="surplus spaces"):
        append_row(path, GoldRow("3", " Where? ", ()))
    with pytest.raises(GoldError, match="question"):
        append_row(path, GoldRow("3", "", ()))
    assert path.read_bytes() == before
    for name in ("gold.json", "gold.csv", "gold.jsonl.gz"):
        with pytest.raises(GoldError, match="JSON lines alone"):
            append_row(tmp_path / name, row)


def _append(path: Path, number: int) -> None:
    for n in range(20):
        append_row(path, GoldRow(f"{number}-{n}", "Who? " * 50 + f"{number} {n}", ("x" * 500,)))


def test_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_rows(path)) == 60


def test_the_sample_gold_is_what_it_should_be(sample_index: Path) -> None:
    """Every span holds one of its answers, in the documents as indexed today."""
    rows = sample_gold()
    assert len(rows) >= 200
    with Snapshot.open(sample_index) as snapshot:
        placed = place_rows(SAMPLE_GOLD, snapshot)
        documents = {s.source.name: snapshot.document(s.id) for s in snapshot.summaries()}
    assert [gold.id for gold in placed] == [row["id"] for row in rows]
    used = set()
    for gold, row in zip(placed, rows, strict=True):
        assert not gold.absent
        assert bool(gold.golds) == bool(gold.spans), row
        kinds = set()
        for span in row.get("spans", []):
            document = documents[span["document"]]
            quote = document.text[span["start"] : span["end"]]
            assert normalise(quote) in map(normalise, row["answers"]), row
            assert quote == quote.strip()
            kinds.add(document.kind)
            used.add(span["document"])
        assert kinds & {"pdf", "docx", "html"} == set(row["tags"]) & {"pdf", "docx", "html"}, row
        assert ("unanswerable" in row["tags"]) == (not row["answers"])
        if "disagreement" in row["tags"]:
            assert len({span["document"] for span in row["spans"]}) > 1, row
    assert used == set(documents)
    tags = [tag for row in rows for tag in row["tags"]]
    least = {"unanswerable": 40, "disagreement": 30, "table": 20, "pdf": 30, "docx": 30,
             "html": 30, "number": 40, "date": 30, "name": 40}  # fmt: skip
    for tag, count in least.items():
        assert tags.count(tag) >= count, tag
    first = " ".join(row["question"].lower() for row in rows)
    for word in ("who", "whose", "what", "which", "when", "where", "why", "how many", "how much"):
        assert word in first


def test_gold_that_does_not_fit_the_documents(sample_index: Path, tmp_path: Path) -> None:
    span = {"document": "defectors-icsr-report.txt", "start": 170, "end": 172}
    row = {"question": "How many?", "answers": ["58"], "spans": [span]}
    with Snapshot.open(sample_index) as snapshot:
        (gold,) = place_rows(lines(tmp_path / "a.jsonl", row), snapshot)
        assert gold.spans[0].document == snapshot.find("defectors-icsr-report.txt")
        for name in (gold.spans[0].document, "sample/defectors-icsr-report.txt"):
            by_name = {**row, "spans": [{**span, "document": name}]}
            assert place_rows(lines(tmp_path / "b.jsonl", by_name), snapshot)[0].spans == gold.spans
        moved = {**row, "spans": [{**span, "start": 171}]}
        with pytest.raises(GoldError, match="has '8' at 171:172, which is none of its answers"):
            place_rows(lines(tmp_path / "c.jsonl", moved), snapshot)
        absent = {**row, "spans": [{**span, "document": "gone.txt"}]}
        (gold,) = place_rows(lines(tmp_path / "d.jsonl", absent), snapshot)
        assert (gold.absent, gold.spans, gold.placed) == (("gone.txt",), (), True)


def test_an_answer_from_documents_named_on_the_spot_becomes_gold(tmp_path: Path) -> None:
    notes, gold = tmp_path / "notes.txt", tmp_path / "gold.jsonl"
    notes.write_text("The report was written by Ada Moreau.\n")
    asked = citespan("ask", "Who wrote the report?", "--docs", notes, "--json")
    (tmp_path / "answer.json").write_text(asked.stdout)
    done = citespan("gold", "add", tmp_path / "answer.json", "--to", gold, "--docs", notes)
    assert done.returncode == 0, done.stderr
    (row,) = read_rows(gold)
    assert row.answers == ("Ada Moreau",)


def beir(folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t1\n") -> Path:
    lines(folder / "corpus.jsonl", {"_id": "d1", "title": "", "text": "A bridge."})
    lines(folder / "queries.jsonl", {"_id": "q1", "text": "bridge"})
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_beir_is_read_strictly(tmp_path: Path) -> None:
    collection = read_beir(beir(tmp_path))
    assert collection.relevance == {"q1": {"d1": 1}}
    for qrels, message in (
        ("q1\td1\tx\n", "line 1 is"),
        ("query-id\tcorpus-id\tscore\nq1\td9\t1\n", "line 2 names 'd9'"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgements"),
    ):
        with pytest.raises(GoldError, match=message):
            read_beir(beir(tmp_path, qrels))
    lines(tmp_path / "corpus.jsonl", {"_id": "d1"})
    with pytest.raises(GoldError, match="line 1 has text = None"):
        read_beir(tmp_path)
    # A document given twice would move all later ones by a row.
    twice = [{"_id": "d1", "text": "A bridge."}, {"_id": "d1", "text": "A bridge."}]
    lines(tmp_path / "corpus.jsonl", *twice)
    with pytest.raises(GoldError, match="line 2 has the _id 'd1', as an earlier line has"):
        read_beir(tmp_path)
    (tmp_path / "queries.jsonl").unlink()
    lines(tmp_path / "corpus.jsonl", {"_id": "d1", "text": "A bridge."})
    with pytest.raises(GoldError, match="a BEIR folder holds"):
        read_beir(tmp_path)

"""What use leaves behind becomes gold: the offsets are checked, or nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import citespan

from corpus.errors import CitespanError
from corpus.store import Snapshot
from qa.corrections import add_gold, locate, rows_of
from qa.gold import read_rows

QUESTION = "How many defectors went public?"


@pytest.fixture(scope="module")
def saved(sample_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "answer.json"
    path.write_text(citespan("ask", QUESTION, "--index", sample_index, "--json").stdout)
    return path


@pytest.fixture(scope="module")
def snapshot(sample_index: Path) -> Any:
    with Snapshot.open(sample_index) as opened:
        yield opened


def text_at(snapshot: Snapshot, place: Any) -> str:
    return snapshot.document(snapshot.find(place.document)).text[place.start : place.end]


def test_a_saved_answer_becomes_gold(saved: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    (row,) = add_gold(saved, gold, snapshot, tags=["mine"])
    assert read_rows(gold) == [row]
    assert (row.question, row.answers[0], row.tags) == (QUESTION, "58", ("mine",))
    assert row.spans[0].document == "defectors-icsr-report.txt"
    assert {text_at(snapshot, span) for span in row.spans} == set(row.answers)
    before = gold.read_bytes()
    with pytest.raises(CitespanError, match=r"already has the question .* nothing was added"):
        add_gold(saved, gold, snapshot)
    assert gold.read_bytes() == before


def test_a_correction_is_located(saved: Path, snapshot: Snapshot) -> None:
    (row,) = rows_of(saved, snapshot, answer="58 defectors")
    (span,) = row.spans
    assert text_at(snapshot, span) == "58 defectors"
    assert (row.question, row.answers) == (QUESTION, ("58 defectors",))
    (row,) = rows_of(saved, snapshot, no_answer=True)
    assert (row.answers, row.spans) == ((), ())
    with pytest.raises(CitespanError, match=r"'58' stands in \d+ places \(.*say in which"):
        rows_of(saved, snapshot, answer="58")
    with pytest.raises(CitespanError, match="'59 defectors' does not stand in any document"):
        rows_of(saved, snapshot, answer="59 defectors")
    # In a PDF the words may be parted by a line's end.
    place = locate(snapshot, "Ropewalk tram stop", "marathon-lisgard-short-course.pdf")
    assert text_at(snapshot, place).split() == ["Ropewalk", "tram", "stop"]


def test_an_empty_file_is_added_to(saved: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text("\n")
    rows = add_gold(saved, gold, snapshot)
    assert read_rows(gold) == rows


def test_lines_and_exports_are_read(saved: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    one = json.loads(saved.read_text())
    other = {**one, "question": "And what else?", "answered": False}
    path = tmp_path / "many.jsonl"
    path.write_text(f"{json.dumps(one)}\n{json.dumps({'error': 'blank'})}\n{json.dumps(other)}\n")
    first, second = rows_of(path, snapshot)
    assert first.answers[0] == "58"
    assert second.answers == ()
    path.write_text(json.dumps({"messages": [{"result": one}, {"result": other}]}))
    assert rows_of(path, snapshot) == [first, second]
    with pytest.raises(CitespanError, match="holds 2 questions"):
        rows_of(path, snapshot, answer="58")


def test_of_a_conversation_what_was_called_wrong_is_no_gold(
    saved: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    one = json.loads(saved.read_text())
    turns = [
        {**one, "verdict": "wrong"},
        {**one, "answered": False, "answers": [], "error": "the index is damaged"},
        {**one, "question": "And who?", "topic": "How many went public? And who?"},
        {**one, "question": "Why?", "verdict": "unanswerable"},
    ]
    path = tmp_path / "chat.json"
    path.write_text(json.dumps({"turns": turns}))
    followed, unanswerable = rows_of(path, snapshot)
    assert followed.question == "How many went public? And who?"
    assert followed.answers[0] == "58"
    assert (unanswerable.question, unanswerable.answers) == ("Why?", ())
    path.write_text(json.dumps({"turns": turns[:1]}))
    with pytest.raises(CitespanError, match="called wrong"):
        rows_of(path, snapshot)
    (corrected,) = rows_of(path, snapshot, no_answer=True)
    assert corrected.answers == ()


def change(result: dict[str, Any], **fields: Any) -> dict[str, Any]:
    citation = {**result["answers"][0]["citations"][0], **fields}
    return {**result, "answers": [{**result["answers"][0], "citations": [citation]}]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": 171}, "cites '58', but defectors-icsr-report.txt has '8' at 171:172 now"),
        ({"document": "0" * 16}, "which is not in the index"),
        ({"document": ["a"]}, r"has document = \['a'\], expected text"),
        ({"start": "170"}, "has start = '170', expected a whole number"),
    ],
)
def test_an_answer_that_no_longer_stands_is_refused(
    saved: Path, snapshot: Snapshot, tmp_path: Path, fields: Any, message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(change(json.loads(saved.read_text()), **fields)))
    with pytest.raises(CitespanError, match=message):
        add_gold(path, tmp_path / "gold.jsonl", snapshot)
    assert not (tmp_path / "gold.jsonl").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[" * 99_999, "\x00", '{"question": 3, "answers": []}',
     '{"question": "Who?", "answers": [{}], "answered": true}',
     '{"question": "Who?", "answers": [{"citations": []}], "answered": true}',
     '{"a":' * 700 + "1" + "}" * 700, "{}\n" + "[" * 99_999,
     '{"question": "Who?", "answers": "Ada"}', '{"question": "", "answers": []}'],
)  # fmt: skip
def test_hostile_files_are_refused(text: str, snapshot: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(CitespanError):
        rows_of(path, snapshot)


def test_the_command(saved: Path, sample_index: Path, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    arguments = ["gold", "add", saved, "--to", gold, "--index", sample_index]
    done = citespan(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [json.loads(gold.read_text())]
    assert citespan(*arguments, "--answer", "58", "--no-answer").returncode == 2
    again = citespan(*arguments)
    assert again.returncode == 1
    assert "already has the question" in again.stderr
    # What was added is what eval reads.
    done = citespan("eval", gold, "--index", sample_index, "--json")
    assert json.loads(done.stdout)["summary"]["em"]["value"] == 100

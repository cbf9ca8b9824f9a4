"""Saved answers against files that live on."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from corpus.extract import Columns
from corpus.load import load
from corpus.records import Document
from corpus.split import sentence_around
from qa.verify import read_citations, verify

TEXT = "Intro stands here.\r\n\r\nIn all 58 people spoke — publicly. The end 58."


def citation_of(document: Document, start: int, end: int) -> dict[str, Any]:
    low, high = sentence_around(document.text, start, end)
    return {
        "document": document.id,
        "title": document.title,
        "source": str(document.source),
        "sha256": document.sha256,
        "start": start,
        "end": end,
        "quote": document.text[start:end],
        "sentence": document.text[low:high],
        "sentence_start": low,
    }


def citation(path: Path, quote: str = "58") -> dict[str, Any]:
    (document,) = load(path, path.read_bytes()).documents
    start = document.text.index(quote)
    return citation_of(document, start, start + len(quote))


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.txt"
    path.write_bytes(TEXT.encode())
    return path


def status(saved: dict[str, Any]) -> str:
    (checked,) = verify([saved])["citations"]
    return str(checked["status"])


def test_unchanged(note: Path) -> None:
    saved = citation(note)
    note.write_bytes(TEXT.encode() + b" And more.")
    assert verify([saved])["counts"] == {"unchanged": 1}


def test_moved_says_where(note: Path) -> None:
    saved = citation(note)
    note.write_bytes(b"A new start.\n\n" + TEXT.encode())
    (checked,) = verify([saved])["citations"]
    assert checked["status"] == "moved"
    now = note.read_bytes().decode()
    assert now[checked["start_now"] : checked["end_now"]] == "58"
    assert checked["start_now"] == saved["start"] + 14


@pytest.mark.parametrize(
    "text",
    ["In all 59 people spoke — publicly.", "XX" + TEXT.replace("publicly", "quietly"), ""],
)
def test_changed(note: Path, text: str) -> None:
    saved = citation(note)
    note.write_bytes(text.encode())
    assert status(saved) == "changed"


def test_a_quote_within_another_word_or_sentence_has_not_moved(note: Path) -> None:
    saved = {**citation(note), "sentence": "58", "sentence_start": citation(note)["start"]}
    note.write_bytes(b"A new start: foo 1958 was.")
    assert status(saved) == "changed"
    saved = citation(note)
    note.write_bytes(b"It is false that " + saved["sentence"].encode())
    assert status(saved) == "changed"


def test_of_twins_the_nearest_counts(note: Path) -> None:
    twin = "Total: 58 units.\n\n"
    note.write_bytes((twin + "Second part.\n\n" + twin).encode())
    saved = citation(note)
    shift = note.read_bytes().decode().rindex("58") - saved["start"]
    second = {key: saved[key] + shift for key in ("start", "end", "sentence_start")}
    note.write_bytes(b"New. " + note.read_bytes())
    (checked,) = verify([{**saved, **second}])["citations"]
    assert checked["start_now"] == saved["start"] + shift + 5


def test_a_file_that_no_longer_decodes_is_changed(note: Path) -> None:
    saved = citation(note)
    note.write_bytes(b"%PDF-1.7")
    (checked,) = verify([saved])["citations"]
    assert (checked["status"], "PDF" in checked["reason"]) == ("changed", True)


def test_missing(note: Path) -> None:
    saved = citation(note)
    note.unlink()
    assert status(saved) == "missing"
    note.mkdir()
    assert status(saved) == "missing"


def test_reader_changed(note: Path) -> None:
    saved = citation(note)
    # As if an earlier loader had dropped the first line from the text.
    saved = {**saved, "start": saved["start"] - 22, "end": saved["end"] - 22}
    assert status(saved) == "reader-changed"


def test_counts_over_several(note: Path) -> None:
    here, gone = citation(note), {**citation(note), "source": str(note) + ".gone"}
    assert verify([here, gone, here])["counts"] == {"unchanged": 2, "missing": 1}


@pytest.mark.parametrize("form", ["object", "list", "lines", "conversation"])
def test_every_saved_form_is_read(note: Path, tmp_path: Path, form: str) -> None:
    one = {"question": "?", "answers": [{"citations": [citation(note)]}]}
    two = {"question": "??", "answers": [{"citations": [citation(note), citation(note, "end")]}]}
    saved = tmp_path / "saved.json"
    saved.write_text(
        {
            "object": json.dumps(two, indent=1),
            "list": json.dumps([two]),
            "lines": json.dumps(one) + "\n\n" + json.dumps({"error": "x"}) + "\n"
            + json.dumps({"answers": [{"citations": [citation(note, "end")]}]}),
            "conversation": json.dumps({"turns": [{"result": one}, {"result": two}]}),
        }[form]
    )  # fmt: skip
    assert len(read_citations(saved)) == (3 if form == "conversation" else 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "line 1 is not JSON"),
        ('{"citations": [{"document": 5}]}', "citation 1 has document = 5, expected text"),
        ('{"citations": [{"document": "a", "source": "b", "sha256": "c", "start": true}]}',
         "start = True, expected a whole number"),
        ("", "no saved answers"),
        ("null", "no saved answers"),
        ("[" * 100_000, "nested too deeply"),
        ("{}\n" + "[" * 100_000, "line 2 is nested too deeply"),
        ('{"a":' * 700 + "1" + "}" * 700, "no saved answers"),
        ('{"citations": [null]}', "citation 1 is None, expected an object"),
        ('{"citations": [{"document": "a", "source": "b", "sha256": "c", "start": 3, "end": 5,'
         ' "quote": "61", "sentence": "In 58.", "sentence_start": 0}]}', "the file was altered"),
    ],
)  # fmt: skip
def test_what_is_no_saved_answer_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_citations(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_citations(tmp_path / "none.json")


SAID = "In all 58 people spoke in public about it."
OTHER = ["The first paragraph says something else.", "The last one says nothing new at all."]


def write_text(path: Path, paragraphs: list[str]) -> None:
    path.write_text("\n\n".join(paragraphs), encoding="utf-8")


def write_html(path: Path, paragraphs: list[str]) -> None:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    path.write_text(f"<!doctype html><html><body>{body}</body></html>", encoding="utf-8")


def write_pdf(path: Path, paragraphs: list[str]) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), invariant=1)
    for n, paragraph in enumerate(paragraphs):
        canvas.drawString(72, 700 - 40 * n, paragraph)
    canvas.save()


def write_docx(path: Path, paragraphs: list[str]) -> None:
    import docx

    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    document.save(str(path))


def write_csv(path: Path, paragraphs: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["id", "text"], ["a", "\n\n".join(paragraphs)]])


def write_json_lines(path: Path, paragraphs: list[str]) -> None:
    path.write_text(json.dumps({"id": "a", "text": "\n\n".join(paragraphs)}), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "txt": write_text,
    "md": write_text,
    "html": write_html,
    "pdf": write_pdf,
    "docx": write_docx,
    "csv": write_csv,
    "jsonl": write_json_lines,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_each_type_is_told_the_truth_about(tmp_path: Path, kind: str) -> None:
    path, write = tmp_path / f"note.{kind}", WRITERS[kind]
    write(path, [OTHER[0], SAID, OTHER[1]])
    saved = citation(path)
    assert saved["sentence"] == SAID
    assert status(saved) == "unchanged"
    # The bytes are the same, and an earlier loader made another text of them.
    earlier = {**saved, "start": saved["start"] - 3, "end": saved["end"] - 3}
    assert status(earlier) == "reader-changed"

    write(path, ["A new paragraph stands above.", OTHER[0], SAID, OTHER[1]])
    (checked,) = verify([saved])["citations"]
    assert checked["status"] == "moved"
    (document,) = load(path, path.read_bytes()).documents
    assert document.text[checked["start_now"] : checked["end_now"]] == "58"

    write(path, [OTHER[0], SAID.replace("58", "59"), OTHER[1]])
    assert status(saved) == "changed"
    path.write_bytes(b"\x89PNG an image now")
    assert status(saved) == "changed"
    path.unlink()
    assert status(saved) == "missing"


@pytest.mark.parametrize(("kind", "write"), [("csv", write_csv), ("jsonl", write_json_lines)])
def test_a_row_that_is_gone_is_missing(
    tmp_path: Path, kind: str, write: Callable[[Path, list[str]], None]
) -> None:
    path = tmp_path / f"rows.{kind}"
    write(path, OTHER)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n" + (f"b,{SAID}" if kind == "csv" else json.dumps({"text": SAID})))
    documents = load(path, path.read_bytes()).documents
    start = documents[1].text.index("58")
    saved = citation_of(documents[1], start, start + 2)
    assert status(saved) == "unchanged"
    write(path, OTHER)
    assert status(saved) == "missing"


@settings(max_examples=10)  # Each starts processes that read.
@given(st.permutations(range(4)), st.integers(0, 3))
def test_a_row_is_found_wherever_it_went(order: Sequence[int], cited: int) -> None:
    rows = ["Ada Wolf,1920 in Oslo", "Bo Lind,1931 in Bonn", "Cy Hart,1920 in Oslo", "Di Rue,1899"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        path.write_text("\n".join(["name,born", *rows]), encoding="utf-8")
        document = load(path, path.read_bytes()).documents[cited]
        start = document.text.index(rows[cited].split(",")[1])
        saved = citation_of(document, start, len(document.text))

        path.write_text("\n".join(["name,born", *(rows[n] for n in order)]), encoding="utf-8")
        (checked,) = verify([saved])["citations"]
        if order[cited] == cited:
            assert checked["status"] == "unchanged"
        else:
            assert checked["status"] == "moved"
            now = load(path, path.read_bytes()).documents[order.index(cited)]
            assert checked["document_now"] == now.id
            assert now.text[checked["start_now"] : checked["end_now"]] == saved["quote"]

        path.write_text("\n".join(["name,born", *rows[:cited], *rows[cited + 1 :]]))
        assert status(saved) in ("missing", "changed")


def test_columns_are_those_of_when_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "note.csv"
    path.write_text(f"id,note,place\n7,{SAID},Oslo\n", encoding="utf-8")
    columns = Columns(("note",))
    (document,) = load(path, path.read_bytes(), columns).documents
    saved = citation_of(document, document.text.index("58"), document.text.index("58") + 2)
    assert verify([saved], columns)["counts"] == {"unchanged": 1}
    assert verify([saved])["counts"] == {"reader-changed": 1}

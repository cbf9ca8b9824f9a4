"""Saved answers against files that live on."""

import json
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import InputError
from corpus.load import load
from corpus.split import sentence_around
from qa.verify import read_citations, verify

TEXT = "Intro stands here.\r\n\r\nIn all 58 people spoke — publicly. The end 58."


def citation(path: Path, quote: str = "58") -> dict[str, Any]:
    (document,) = load(path, path.read_bytes()).documents
    start = document.text.index(quote)
    low, high = sentence_around(document.text, start, start + len(quote))
    return {
        "document": document.id,
        "source": str(path),
        "sha256": document.sha256,
        "start": start,
        "end": start + len(quote),
        "quote": quote,
        "sentence": document.text[low:high],
        "sentence_start": low,
    }


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

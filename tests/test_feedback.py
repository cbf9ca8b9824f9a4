"""What visitors say of answers stands in a gold file, whatever characters the documents hold."""

from pathlib import Path

from corpus.records import Document
from qa.feedback import FEEDBACK, forget, keep
from qa.gold import GoldRow, Place, read_rows

TEXT = "one\u2028two\x85three\x1cfour\rfive\nsix"
"""All that some program or other takes for the end of a line."""


def test_any_line_end_in_an_answer_is_kept(tmp_path: Path) -> None:
    document = Document("0" * 16, tmp_path / "a.txt", None, "a", TEXT, "", "text/1", "utf-8")
    for id_ in ("first", "second"):
        keep(tmp_path, id_, "Which?", [(document, 0, len(TEXT))], "right")
    keep(tmp_path, "third", "What?", [], "unanswerable")
    place, tags = Place(document.id, 0, len(TEXT)), ("feedback", "right")
    rows = read_rows(tmp_path / FEEDBACK)
    assert rows[:2] == [
        GoldRow(id_, "Which?", (TEXT,), (place,), tags) for id_ in ("first", "second")
    ]
    assert rows[2] == GoldRow("third", "What?", (), (), ("feedback", "unanswerable"))

    keep(tmp_path, "first", "Which?", [], "unanswerable")  # Second thoughts.
    forget(tmp_path, "second")
    assert [(row.id, row.answers) for row in read_rows(tmp_path / FEEDBACK)] == [
        ("third", ()), ("first", ()),
    ]  # fmt: skip

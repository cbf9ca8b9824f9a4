"""Lines and pages of a document."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from corpus.records import Document


def document(
    text: str, anchors: tuple[tuple[int, int], ...] = ((0, 1),), pages: tuple[int, ...] = ()
) -> Document:
    return Document("0" * 16, Path("/a"), None, "a", text, "", "text/1", None, None, pages, anchors)


@given(st.text(alphabet="a\n\r\f\u2028😀", max_size=60), st.data())
def test_lines_equal_a_plain_count(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    line, i = 1, 0
    while i < len(text):
        width = 2 if text.startswith("\r\n", i) else 1
        if text[i] in "\r\n" and i + width <= offset:
            line += 1
        i += width
    assert document(text).line(offset) == line


def test_pages_start_where_they_say() -> None:
    paged = document("one\ftwo\fthree", (), (0, 4, 8))
    assert [paged.page(offset) for offset in (0, 3, 4, 7, 8, 12)] == [1, 1, 2, 2, 3, 3]
    assert paged.line(0) is None
    assert document("one").page(0) is None


def test_lines_count_on_from_the_nearest_anchor() -> None:
    row = document("name: Ada\nnote: one\ntwo\nage: 36", ((0, 7), (10, 7), (24, 8)))
    lines = [row.line(row.text.index(word)) for word in ("Ada", "one", "two", "36")]
    assert lines == [7, 7, 8, 8]
    assert document("abc", ((2, 5),)).line(1) is None

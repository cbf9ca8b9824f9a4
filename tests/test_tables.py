"""CSV and JSON lines: every cell is found in its row, at the line of the file where it stands."""

import codecs
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import LoadError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.load import Loaded, load
from corpus.records import Document

PIECES = st.text(
    st.sampled_from(" ab,;|\t\"'\n\r:\\é😀\u2028\x0b\x85\x00")
    | st.characters(exclude_categories=["Cs"], exclude_characters="<>"),
    max_size=8,
)
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.tuples(PIECES, PIECES, PIECES), min_size=width, max_size=width),
        min_size=1,
        max_size=5,
    )
)


def read(data: bytes | str, columns: Columns = DEFAULT_COLUMNS, name: str = "rows.csv") -> Loaded:
    return load(Path("/folder") / name, data.encode() if isinstance(data, str) else data, columns)


def read_json(data: bytes | str, columns: Columns = DEFAULT_COLUMNS) -> Loaded:
    return read(data, columns, "rows.jsonl")


def texts(loaded: Loaded) -> list[str]:
    return [document.text for document in loaded.documents]


def marked(table: list[list[tuple[str, str, str]]]) -> list[list[str]]:
    """Cells of the pieces, with two marks in each that stand nowhere else."""
    return [
        [f"{a}<{r}.{c}.0>{b}<{r}.{c}.1>{z}" for c, (a, b, z) in enumerate(row)]
        for r, row in enumerate(table)
    ]


def line_in(data: bytes, mark: str) -> int:
    """The line of the file on which the mark stands, counted in its bytes."""
    assert data.count(mark.encode()) == 1
    before = data[: data.index(mark.encode())].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1


def check_row(data: bytes, document: Document, r: int, cells: list[str]) -> None:
    assert document.row == r + 1
    at = 0
    for c, cell in enumerate(cells):
        at = document.text.index(cell.strip(), at)
        for mark in (f"<{r}.{c}.0>", f"<{r}.{c}.1>"):
            offset = document.text.index(mark)
            assert at <= offset < at + len(cell)
            assert document.line(offset) == line_in(data, mark)


@settings(max_examples=150)
@given(TABLES, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_csv_cells_are_found_at_their_lines(
    table: list[list[tuple[str, str, str]]], delimiter: str, newline: str, bom: bool
) -> None:
    rows = marked(table)
    stream = io.StringIO()
    writer = csv.writer(
        stream,
        delimiter=delimiter,
        lineterminator=newline,
        # Python's writer quotes other line ends than its own only when told to quote all.
        quoting=csv.QUOTE_MINIMAL if newline == "\r\n" else csv.QUOTE_ALL,
    )
    writer.writerows([["one", "two", "three", "four"][: len(rows[0])], *rows])
    data = codecs.BOM_UTF8 * bom + stream.getvalue().encode()
    loaded = read(data)
    assert loaded.note is None
    for r, (document, cells) in enumerate(zip(loaded.documents, rows, strict=True)):
        check_row(data, document, r, cells)


@settings(max_examples=150)
@given(
    TABLES,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.sampled_from(["", " \t", "{bad", "[1]", "7", '"text"', "\x00"]), max_size=6),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_json_cells_are_found_at_their_lines(
    table: list[list[tuple[str, str, str]]],
    newline: str,
    others: list[str],
    ascii_only: bool,
    random: Any,
) -> None:
    rows = marked(table)
    lines = [
        json.dumps({f"key {c}": cell for c, cell in enumerate(cells)}, ensure_ascii=ascii_only)
        for cells in rows
    ]
    for other in others:
        lines.insert(random.randint(0, len(lines)), other)
    data = newline.join(lines).encode()
    loaded = read_json(data)
    for r, (document, cells) in enumerate(zip(loaded.documents, rows, strict=True)):
        check_row(data, document, r, cells)
    bad = sum(bool(other.strip()) for other in others)
    assert (loaded.note is not None) == (bad > 0)
    if loaded.note is not None:
        assert loaded.note.startswith(f"{bad} of its lines")


def test_the_note_names_a_line_that_is_no_object() -> None:
    loaded = read_json('{"a": "good"}\n\n[1, 2]\n{"a": "also"}\n')
    assert texts(loaded) == ["a: good", "a: also"]
    assert [document.row for document in loaded.documents] == [1, 2]
    assert loaded.note is not None
    assert "line 3" in loaded.note


def test_cells_bear_their_columns_names_and_the_main_one_stands_alone() -> None:
    assert texts(read("city,people\nOslo,700000\nRome,2800000\n")) == [
        "city: Oslo\npeople: 700000",
        "city: Rome\npeople: 2800000",
    ]
    assert texts(read("id,Text,by\n7,It rained.,Ada\n")) == ["id: 7\n\nIt rained.\n\nby: Ada"]


def test_a_columns_name_of_two_lines_moves_no_line() -> None:
    (document,) = read('"first\nname",age\nAda,36\n').documents
    assert document.line(document.text.index("Ada")) == 3
    assert document.line(document.text.index("36")) == 3


def test_a_key_of_two_lines_moves_no_line() -> None:
    (document,) = read_json('{"first\\nname": "Ada", "age": 36}').documents
    assert document.line(document.text.index("Ada")) == 1
    assert document.line(document.text.index("36")) == 1


def test_text_and_title_columns_are_chosen() -> None:
    data = "id,note,place,who\n1,It rained.,Oslo,Ada\n2,It snowed.,Bergen,Bob\n"
    loaded = read(data, Columns(("place", "note"), "who"))
    assert texts(loaded) == [
        "place: Oslo\nnote: It rained.",
        "place: Bergen\nnote: It snowed.",
    ]
    assert [document.title for document in loaded.documents] == ["Ada", "Bob"]
    document = loaded.documents[1]
    assert document.line(document.text.index("Bergen")) == 3
    assert texts(read(data, Columns(("note",)))) == ["It rained.", "It snowed."]


def test_keys_are_chosen_where_an_object_has_them() -> None:
    data = '{"note": "It rained.", "by": "Ada"}\n{"by": "Bob"}\n{"note": "It snowed."}\n'
    loaded = read_json(data, Columns(("note",)))
    assert [(document.row, document.text) for document in loaded.documents] == [
        (1, "It rained."),
        (3, "It snowed."),
    ]


@pytest.mark.parametrize(
    ("data", "name"),
    [("a,b\n1,2\n", "t.csv"), ('{"a": 1}\n{"b": 2}', "t.jsonl")],
)
@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (Columns(("body",)), "'body'"),
        (Columns(title="name"), "'name'"),
        (Columns(("body",), "name"), "'body' or 'name'"),
    ],
)
def test_a_missing_column_is_said_with_those_there_are(
    data: str, name: str, columns: Columns, missing: str
) -> None:
    with pytest.raises(LoadError, match=f"has no column {missing}; it has 'a', 'b'"):
        read(data, columns, name)


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ("id,title,x\n1,The title,y\n", "The title"),
        ("Name,x\nAda,y\n", "Ada"),
        ("city,x\nOslo,y\n", "Oslo"),
        ("id,city\n17,Oslo\n", "rows, row 1"),
        ("date,city\n2024-05-06,Oslo\n", "rows, row 1"),
        ("share,city\n12.5%,Oslo\n", "rows, row 1"),
        ("text,by\nIt rained.,Ada\n", "rows, row 1"),
        (f"city,x\n{'long ' * 40},y\n", "rows, row 1"),
        ("title,x\n,y\n", "rows, row 1"),
        ('city,x\n"New\n  York",y\n', "New York"),
    ],
)
def test_titles(data: str, title: str) -> None:
    (document,) = read(data).documents
    assert document.title == title


def test_ragged_rows_lose_nothing() -> None:
    loaded = read("a,b\n1\n1,2,3,4\n,5\n")
    assert texts(loaded) == ["a: 1", "a: 1\nb: 2\ncolumn 3: 3\ncolumn 4: 4", "b: 5"]


@pytest.mark.parametrize("delimiter", ";,\t|^~")
@pytest.mark.parametrize("written", ["sep={}", '"sep={}"', "SEP={}"])
def test_a_delimiter_that_is_told_to_excel_is_taken(delimiter: str, written: str) -> None:
    """Its line was taken for that of the column names."""
    other = ";" if delimiter == "," else ","
    lines = [written.format(delimiter), f"a{delimiter}b", f"1{other}2{delimiter}4"]
    (document,) = read("\ufeff" + "\r\n".join(lines)).documents
    assert document.text == f"a: 1{other}2\nb: 4"
    assert document.line(0) == 3


@pytest.mark.parametrize("data", ["sep=;x\n1\n", "sep=a\n1\n", "sep\n1\n"])
def test_a_column_whose_name_begins_with_sep_is_one(data: str) -> None:
    assert texts(read(data))[-1].endswith("1")


def test_a_column_without_a_name_has_no_colon() -> None:
    """As programs write that number their rows."""
    assert texts(read(",city\n0,Oslo\n1,Rome\n")) == ["0\ncity: Oslo", "1\ncity: Rome"]
    assert texts(read_json('{"": "alone", "a": "x"}')) == ["alone\na: x"]


def test_blank_lines_are_no_rows() -> None:
    loaded = read("\n\na,b\n\n1,2\n,\n \n3,4\n\n")
    found = [(d.row, d.text, d.line(0)) for d in loaded.documents]
    assert found == [(1, "a: 1\nb: 2", 5), (2, "a: 3\nb: 4", 8)]


@pytest.mark.parametrize("data", ["a,b\n", "a,b", "\n\na,b\n\n,\n"])
def test_a_header_alone_is_no_table(data: str) -> None:
    with pytest.raises(LoadError, match="has no rows"):
        read(data)


@pytest.mark.parametrize("data", ["[1]\n", "plain words\n", "[\n]\n", '{\n "a": 1\n}\n'])
def test_lines_without_an_object_are_no_table(data: str) -> None:
    with pytest.raises(LoadError, match="has no JSON objects"):
        read_json(data)


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (codecs.BOM_UTF8 + "a,b\ncafé,58\n".encode(), "utf-8"),
        (codecs.BOM_UTF16_LE + "a,b\ncafé,58\n".encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + "a\tb\ncafé\t58\n".encode("utf-16-be"), "utf-16-be"),
        ("a;b\nMüller und Jäger;58\ncafé;58\n".encode("cp1252"), "cp1252"),
    ],
)
def test_encodings(data: bytes, codec: str) -> None:
    loaded = read(data)
    assert loaded.documents[-1].text == "a: café\nb: 58"
    assert loaded.documents[-1].encoding == codec


@pytest.mark.parametrize("value", ["20 °C", "½ cup", "it’s", "naïve café"])
def test_a_lone_symbol_of_windows_is_no_japanese(value: str) -> None:
    (document,) = read(f"what,how much\nthe measure,{value}\n".encode("cp1252")).documents
    assert document.text == f"what: the measure\nhow much: {value}"


def test_a_huge_cell_is_whole() -> None:
    cell = "line of it\n" * 200_000 + "the last word"
    (document,) = read(f'a,b\n1,"{cell}"\n').documents
    assert document.text == f"a: 1\nb: {cell}"
    assert document.line(len(document.text) - 1) == 2 + 200_000


@pytest.mark.parametrize(
    "data",
    [
        'a,b\n1,"x" y\n2,sentinel\n',
        'a,b\n1,sentinel\n2,"never closed\n3,z\n',
    ],
)
def test_stray_quotes_are_noted(data: str) -> None:
    loaded = read(data)
    assert loaded.note is not None
    assert "quotes" in loaded.note
    assert sum("sentinel" in text for text in texts(loaded)) == 1


def test_a_lone_column_has_no_delimiter() -> None:
    """Lists of sentences are saved like this, without quotes."""
    loaded = read("text\nHello, world.\nOne; two, three | four.\n")
    assert texts(loaded) == ["Hello, world.", "One; two, three | four."]


def test_a_comma_within_cells_is_not_the_delimiter() -> None:
    loaded = read("city;price\nOslo;1,50\nRome;2,75\n")
    assert texts(loaded)[1] == "city: Rome\nprice: 2,75"


@pytest.mark.parametrize(
    "written",
    ["19.90", "12345678901234567890.125", "1e400", "1E3", "-0.0", "123456789012345678901234567890"],
)
def test_numbers_are_quoted_as_they_are_written(written: str) -> None:
    assert texts(read_json(f'{{"n": {written}}}')) == [f"n: {written}"]


def test_values_that_are_no_strings() -> None:
    line = '{"a": ["x", 1, true], "b": {"c": ["é"]}, "d": null, "e": false, "f": []}'
    assert texts(read_json(line)) == ['a: x, 1, true\nb: {"c": ["é"]}\ne: false']


@pytest.mark.parametrize("line", ['{"a\\ud800": "x"}', '{"a": "x\\ud800"}', '{"a": ["\\ud800"]}'])
def test_lone_surrogates_are_replaced(line: str) -> None:
    (document,) = read_json(line).documents
    assert "\ufffd" in document.text
    assert document.text.encode().decode() == document.text
    assert document.title.encode().decode() == document.title


def test_keys_that_differ_in_white_space_alone_are_two() -> None:
    (document,) = read_json(
        '{"a": "first", " a": "second", "b\\ud800": "x1", "b\\ufffd": "x2"}'
    ).documents
    assert all(value in document.text for value in ("first", "second", "x1", "x2"))


def test_deep_json_is_read_or_refused() -> None:
    # Somewhere here Python can read it and can no longer write it.
    for depth in (10, *range(800, 1000), 20_000):
        try:
            (document,) = read_json(f'{{"a": {"[" * depth}"x"{"]" * depth}}}').documents
        except LoadError:
            continue
        assert "x" in document.text

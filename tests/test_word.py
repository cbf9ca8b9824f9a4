"""DOCX: what is in the body is in the text, once and in order; what was deleted is not."""

import datetime
import io
import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfbase.rl_codecs import RL_Codecs

from corpus.errors import LoadError
from corpus.load import load
from corpus.records import Document

MAIN, CORE, TYPES = "word/document.xml", "docProps/core.xml", "[Content_Types].xml"
_OFFICE = "http://schemas.openxmlformats.org"
NAMESPACES = {
    "w": f"{_OFFICE}/wordprocessingml/2006/main",
    "r": f"{_OFFICE}/officeDocument/2006/relationships",
    "m": f"{_OFFICE}/officeDocument/2006/math",
    "mc": f"{_OFFICE}/markup-compatibility/2006",
    "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
    "v": "urn:schemas-microsoft-com:vml",
}


def saved(fill: Callable[[Any], object]) -> bytes:
    """What python-docx writes."""
    document = docx.Document()
    fill(document)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


SIMPLE = saved(lambda document: document.add_paragraph("Simple words."))


def edited(data: bytes, name: str, edit: Callable[[bytes], bytes | None]) -> bytes:
    """The container with one part changed, or left out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for part in old.namelist():
            content = edit(old.read(part)) if part == name else old.read(part)
            if content is not None:
                new.writestr(part, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def with_body(body: str) -> bytes:
    """A document of this markup, for what python-docx does not write."""
    names = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in NAMESPACES.items())
    xml = f"<w:document {names}><w:body>{body}<w:sectPr/></w:body></w:document>"
    return edited(SIMPLE, MAIN, lambda _: xml.encode())


def p(*content: str) -> str:
    return f"<w:p>{''.join(content)}</w:p>"


def r(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def m(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def symbol(char: str, font: str = "Symbol") -> str:
    return f'<w:r><w:sym w:font="{font}" w:char="{char}"/></w:r>'


def table(*rows: list[str]) -> str:
    return "".join(
        ["<w:tbl>"]
        + [f"<w:tr>{''.join(f'<w:tc>{cell}</w:tc>' for cell in row)}</w:tr>" for row in rows]
        + ["</w:tbl>"]
    )


def document_of(data: bytes) -> Document:
    (document,) = load(Path("/folder/letter.docx"), data).documents
    return document


def text_of(data: bytes) -> str:
    return document_of(data).text


def outcome(data: bytes) -> str:
    """The text, or why there is none."""
    try:
        return text_of(data)
    except LoadError as error:
        return str(error)


def test_the_body_is_in_order() -> None:
    def fill(document: Any) -> None:
        document.add_heading("The heading", 1)
        document.add_paragraph("Before the table.")
        document.add_table(2, 2)
        for n, cell in enumerate(document.tables[0]._cells):
            cell.text = f"cell {n}"
        document.add_paragraph("After the table.")
        document.add_paragraph("One", style="List Bullet")

    assert text_of(saved(fill)) == (
        "The heading\n\nBefore the table.\n\ncell 0 | cell 1\ncell 2 | cell 3\n\n"
        "After the table.\n\nOne"
    )


def test_runs_make_one_paragraph() -> None:
    def fill(document: Any) -> None:
        paragraph = document.add_paragraph("Half a wo")
        paragraph.add_run("rd is ").bold = True
        paragraph.add_run("bold.")

    assert text_of(saved(fill)) == "Half a word is bold."


WORDS = st.lists(st.text("abcÄß58|.-😀", min_size=1, max_size=6), min_size=1, max_size=4)
PARAGRAPHS = WORDS.map(" ".join)
ROWS = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(PARAGRAPHS, min_size=width, max_size=width), min_size=1)
)


@settings(max_examples=60)
@given(st.lists(PARAGRAPHS | ROWS, min_size=1, max_size=6))
def test_everything_is_found_in_order_and_once(blocks: list[str | list[list[str]]]) -> None:
    def fill(document: Any) -> None:
        for block in blocks:
            if isinstance(block, str):
                document.add_paragraph(block)
                continue
            made = document.add_table(len(block), len(block[0]))
            for row, cells in zip(made.rows, block, strict=True):
                for cell, text in zip(row.cells, cells, strict=True):
                    cell.text = text

    lines = [
        line
        for block in blocks
        for line in ([block] if isinstance(block, str) else [" | ".join(row) for row in block])
    ]
    assert [line for line in text_of(saved(fill)).split("\n") if line] == lines


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (p(r("It was "), f"<w:ins>{r('surely ')}</w:ins>", r("so.")), "It was surely so."),
        (
            p(r("It was "), "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>", r("so.")),
            "It was so.",
        ),
        (p(r("It was "), f"<w:del>{r('gone')}</w:del>", r("so.")), "It was so."),
        (
            p(f"<w:moveFrom>{r('moved')}</w:moveFrom>", r("left"))
            + p(f"<w:moveTo>{r('moved')}</w:moveTo>"),
            "left\n\nmoved",
        ),
        (
            p(r("One"))
            + f"<w:sdt><w:sdtPr/><w:sdtContent>{p(r('two'))}</w:sdtContent></w:sdt>"
            + p(r("three "), f"<w:sdt><w:sdtContent>{r('four')}</w:sdtContent></w:sdt>"),
            "One\n\ntwo\n\nthree four",
        ),
        (
            p(r("See "), f'<w:hyperlink r:id="x">{r("the page")}</w:hyperlink>', r(".")),
            "See the page.",
        ),
        (p(r("Page "), f'<w:fldSimple w:instr="PAGE">{r("58")}</w:fldSimple>'), "Page 58"),
        (
            p(r("a"), "<w:r><w:tab/></w:r>", r("b"), "<w:r><w:br/></w:r>", r("c")),
            "a\tb\nc",
        ),
        (p(r("well"), "<w:r><w:noBreakHyphen/></w:r>", r("known")), "well-known"),
        (p(r("hy"), "<w:r><w:softHyphen/></w:r>", r("phen")), "hyphen"),
        (
            p('<w:pPr><w:tabs><w:tab w:val="left" w:pos="9"/></w:tabs></w:pPr>', r("text")),
            "text",
        ),
        (p(r("Of "), f"<m:oMath><m:r><m:t>{'x+y'}</m:t></m:r></m:oMath>"), "Of x+y"),
        (
            p(
                r("Nearly "),
                f"<m:oMath><m:f><m:num>{m('1')}</m:num><m:den>{m('2')}</m:den></m:f></m:oMath>",
                r(" of it"),
            ),
            "Nearly 1/2 of it",
        ),
        (p(r("left"), '<w:r><w:ptab w:alignment="right"/></w:r>', r("right")), "left\tright"),
        (p(r("be<!-- no -->fore <?no no?>and after")), "before and after"),
        (p(r("No"), "<w:r><w:instrText>PAGE</w:instrText></w:r>"), "No"),
        (p(r("&lt;a&gt; &amp; b")), "<a> & b"),
        (p("<!-- no --><?no no?>", r("yes")) + "<!-- no -->", "yes"),
        (p(r("")) + p() + p(r("text")) + p(r(" ")), "text"),
    ],
)
def test_what_stands_in_a_paragraph(body: str, text: str) -> None:
    assert text_of(with_body(body)) == text


@pytest.mark.parametrize(
    ("char", "font", "character"),
    [
        ("F06D", "Symbol", "µ"),
        ("006D", "Symbol", "µ"),
        ("f0a3", "Symbol", "≤"),
        ("F0B3", "Symbol", "≥"),
        ("F0B1", "Symbol", "±"),
        ("F0B4", "Symbol", "×"),
        ("F0B0", "Symbol", "°"),
        ("F0D7", "Symbol", "⋅"),
        ("F0BE", "Symbol", "—"),
        ("F0AE", "Symbol", "→"),
        ("F0E0", "Wingdings", "→"),
        ("F04A", "Wingdings", "\ufffd"),
        ("F0FF", "Symbol", "\ufffd"),
        ("F06D", "Some other font", "\ufffd"),
        ("2265", "Cambria Math", "≥"),
        ("00B5", "Calibri", "µ"),
        ("D800", "Calibri", "\ufffd"),
        ("0000", "Calibri", "\ufffd"),
        ("-5", "Calibri", "\ufffd"),
        ("FFFFFFFFFFFFFFFFFFFF", "Calibri", "\ufffd"),
        ("no number", "Calibri", "\ufffd"),
    ],
)
def test_a_symbol_is_its_character_or_shows_that_it_was_there(
    char: str, font: str, character: str
) -> None:
    """It was left out, so that 5 µm became 5 m."""
    body = p(r("It is 5 "), symbol(char, font), r("m wide"))
    assert text_of(with_body(body)) == f"It is 5 {character}m wide"


def test_the_letters_of_the_symbol_font_are_those_that_another_program_knows() -> None:
    """But for what some programs take for a sign of its own that is written with a letter."""
    RL_Codecs.register()
    for code in (*range(0x41, 0x5B), *range(0x61, 0x7B)):
        theirs = bytes([code]).decode("SymbolEncoding").replace("\u2206", "Δ")
        text = text_of(with_body(p(symbol(f"F0{code:02X}"))))
        assert unicodedata.normalize("NFKC", text) == unicodedata.normalize("NFKC", theirs)


def test_a_hyperlink_by_python_docx() -> None:
    def fill(document: Any) -> None:
        link = OxmlElement("w:hyperlink")
        run = OxmlElement("w:r")
        run.text = "the linked words"
        link.append(run)
        document.add_paragraph("Before ")._p.append(link)
        assert link.getparent().tag == qn("w:p")

    assert text_of(saved(fill)) == "Before the linked words"


def test_a_text_box_is_read_once() -> None:
    def box(*paragraphs: str) -> str:
        content = f"<w:txbxContent>{''.join(p(r(text)) for text in paragraphs)}</w:txbxContent>"
        return (
            '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><wps:txbx>'
            f"{content}</wps:txbx></mc:Choice><mc:Fallback><w:pict><v:textbox>"
            f"{content}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
        )

    body = p(r("Before"), box("In the box.", "Still in it."), r(" after.")) + p(r("Next."))
    assert text_of(with_body(body)) == ("Before\n\nIn the box.\n\nStill in it.\n\nafter.\n\nNext.")
    old = p(f"<w:r><w:pict><v:textbox><w:txbxContent>{p(r('Old.'))}</w:txbxContent></v:textbox>"
            "</w:pict></w:r>")  # fmt: skip
    assert text_of(with_body(old)) == "Old."
    assert text_of(with_body(table([p(r("a"), box("b")), p(r("c"))]))) == "a b | c"


def test_a_table_within_a_cell_is_part_of_that_cell() -> None:
    inner = table([p(r("1")), p(r("2"))], [p(r("3")), p(r("4"))])
    body = table([p(r("a")) + inner + p(r("b")), p(r("c"))], [p(r("d")), p(r("e"))])
    assert text_of(with_body(body)) == "a 1 2 3 4 b | c\nd | e"


def test_merged_cells_are_read_once() -> None:
    def fill(document: Any) -> None:
        made = document.add_table(3, 3)
        for n, cell in enumerate(made._cells):
            cell.text = f"c{n}"
        wide = made.cell(0, 0).merge(made.cell(0, 1))
        wide.text = "wide"
        made.cell(1, 2).merge(made.cell(2, 2)).text = "tall"

    assert text_of(saved(fill)) == "wide | c2\nc3 | c4 | tall\nc6 | c7"


def test_cells_of_several_paragraphs_and_empty_ones() -> None:
    body = table(
        [p(r("a")) + p(r("b")), p(r("c"))],
        [p(), p(r("d"))],
        [p(), p()],
        [p(r("e")), p(), p(r("f"))],
    )
    assert text_of(with_body(body)) == "a b | c\n| d\ne | | f"


def test_bars_in_cells_stay() -> None:
    rows = [[p(r("or")), p(r("||"))], [p(r("pipe")), p(r("a | b |"))]]
    assert text_of(with_body(table(*rows))) == "or | ||\npipe | a | b |"


def test_rows_and_cells_in_content_controls() -> None:
    cell = f"<w:sdt><w:sdtContent><w:tc>{p(r('b'))}</w:tc></w:sdtContent></w:sdt>"
    row = f"<w:tr><w:tc>{p(r('a'))}</w:tc>{cell}</w:tr>"
    body = f"<w:tbl><w:sdt><w:sdtContent>{row}</w:sdtContent></w:sdt></w:tbl>"
    assert text_of(with_body(body)) == "a | b"


def test_the_reading_printed_above_a_word_is_not_within_it() -> None:
    ruby = f"<w:r><w:ruby><w:rt>{r('かん')}</w:rt><w:rubyBase>{r('漢')}</w:rubyBase></w:ruby></w:r>"
    assert text_of(with_body(p(r("この"), ruby, r("字")))) == "この漢字"


def test_no_text_is_said() -> None:
    for body in ("", p(), table([p(), p()])):
        with pytest.raises(LoadError, match="has no text"):
            text_of(with_body(body))


@pytest.mark.parametrize("part", [MAIN, CORE, TYPES, "_rels/.rels", "word/styles.xml"])
@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"garbage",
        b"<other/>",
        f"<w:document xmlns:w='{NAMESPACES['w']}'/>".encode(),
        b"<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
        b"<a>" * 400,
    ],
    ids=["missing", "empty", "garbage", "another", "no body", "entity", "deep"],
)
def test_a_damaged_part_is_read_or_refused(part: str, content: bytes | None) -> None:
    found = outcome(edited(SIMPLE, part, lambda _: content))
    assert re.match(r"Simple words\.$|is a damaged DOCX|has no text", found)


def test_a_container_cut_short_is_damaged() -> None:
    for cut in (30, len(SIMPLE) // 2, len(SIMPLE) - 10):
        with pytest.raises(LoadError, match="damaged DOCX"):
            text_of(SIMPLE[:cut])


@pytest.mark.parametrize(
    ("field", "value"),
    [(6, b"\x01\x00"), (8, b"\x62\x00"), (8, b"\x0c\x00"), (4, b"\xff\x00")],
    ids=["encrypted", "unknown compression", "another compression", "newer zip"],
)
def test_a_zip_that_python_cannot_unpack_is_refused(field: int, value: bytes) -> None:
    """Fields of the main part's entry, in its own header and in the directory's."""
    data = bytearray(SIMPLE)
    local = data.index(b"PK\x03\x04", data.index(MAIN.encode()) - 40)
    directory = data.rindex(b"PK\x01\x02", 0, data.rindex(MAIN.encode()))
    data[local + field : local + field + 2] = value
    data[directory + field + 2 : directory + field + 4] = value
    with pytest.raises(LoadError, match="DOCX"):
        text_of(bytes(data))


def test_a_part_whose_compressed_bytes_are_damaged_is_refused() -> None:
    start = SIMPLE.index(MAIN.encode()) + len(MAIN)
    for at in range(start, start + 60):
        with pytest.raises(LoadError, match="damaged DOCX"):
            text_of(SIMPLE[:at] + b"\xff\xff\xff\xff" + SIMPLE[at + 4 :])


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(SIMPLE)
    directory = data.rindex(b"PK\x01\x02", 0, data.rindex(MAIN.encode()))
    data[directory + 24 : directory + 28] = (2**31).to_bytes(4, "little")

    def unpack(*_: object, **__: object) -> None:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "open", unpack)
    with pytest.raises(LoadError, match=r"unpacks to 2,04\d MB, more than 256"):
        text_of(bytes(data))


def test_a_part_may_not_be_larger_than_it_says() -> None:
    """Nor is what is beyond unpacked."""
    data = bytearray(with_body(p(r("x" * 100_000))))
    directory = data.rindex(b"PK\x01\x02", 0, data.rindex(MAIN.encode()))
    data[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    with pytest.raises(LoadError, match="damaged DOCX"):
        text_of(bytes(data))


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.ms-word.document.macroEnabled.main+xml",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
    ],
)
def test_words_other_formats_are_read_or_named(kind: str) -> None:
    main = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    data = edited(SIMPLE, TYPES, lambda xml: xml.replace(main, kind.encode()))
    found = outcome(data)
    assert "object at 0x" not in found
    assert "damaged" not in found


def test_strict_open_xml_is_read_or_named() -> None:
    strict = b"http://purl.oclc.org/ooxml/wordprocessingml/main"
    data = edited(SIMPLE, MAIN, lambda xml: xml.replace(NAMESPACES["w"].encode(), strict))
    assert re.search(r"Simple words|Strict", outcome(data))


def test_the_main_part_is_the_one_that_the_container_names() -> None:
    """Office on the web calls it document2.xml."""
    other = "word/document2.xml"
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SIMPLE)) as old, zipfile.ZipFile(stream, "w") as new:
        for part in old.namelist():
            name = part.replace("word/document.xml", other).replace(
                "document.xml.rels", "document2.xml.rels"
            )
            new.writestr(name, old.read(part).replace(MAIN.encode(), other.encode()))
    assert text_of(stream.getvalue()) == "Simple words."


def test_title_and_date_are_the_files_own() -> None:
    def fill(document: Any) -> None:
        document.core_properties.title = "The stated\ttitle"
        document.core_properties.created = datetime.datetime(2020, 1, 2)
        document.core_properties.modified = datetime.datetime(2024, 5, 6)
        document.add_paragraph("Words.")

    document = document_of(saved(fill))
    assert (document.title, document.date) == ("The stated title", "2024-05-06")
    assert document.encoding is None
    assert document.page(0) is document.line(0) is None


@pytest.mark.parametrize("stated", ["", "Word Document", "Document1", "untitled", "a.docx"])
def test_a_title_that_says_nothing_is_not_used(stated: str) -> None:
    def fill(document: Any) -> None:
        document.core_properties.title = stated
        document.add_paragraph("The headline")
        document.add_paragraph("Words.")

    assert document_of(saved(fill)).title == "The headline"


def test_a_document_without_properties_has_no_date() -> None:
    """python-docx makes up properties of today for it."""
    data = edited(SIMPLE, CORE, lambda _: None)
    data = edited(
        data, "_rels/.rels", lambda xml: re.sub(rb"<Relationship [^>]*core-prop[^>]*>", b"", xml)
    )
    document = document_of(data)
    assert (document.text, document.title, document.date) == ("Simple words.", "letter", None)


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06"),
        ("2024-13-45T00:00:00Z", None),
        ("", None),
        ("soon", None),
        ("9999-12-31T23:59:59-12:00", "9999-12-31"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01"),
    ],
)
def test_dates(written: str, date: str | None) -> None:
    def edit(xml: bytes) -> bytes:
        return re.sub(rb"(<dcterms:\w+ [^>]*>)[^<]*<", rb"\g<1>" + written.encode() + b"<", xml)

    assert document_of(edited(SIMPLE, CORE, edit)).date == date

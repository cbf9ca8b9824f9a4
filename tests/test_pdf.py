"""PDF: what an independent writer put at a place is cited at that page and place."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdf.generic import RectangleObject
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate

from corpus import page_view
from corpus.errors import LoadError
from corpus.load import Loaded, load
from corpus.pdf_places import Box, boxes
from corpus.records import Document

WIDTH, HEIGHT = 600, 800
FONT, SIZE = "Helvetica", 12
# Of Helvetica's font file: how high its capitals reach, and how low its p and q.
CAPITALS, DESCENT = 0.718, 0.207


def read(data: bytes) -> Loaded:
    return load(Path("/folder/paper.pdf"), data)


def document_of(data: bytes) -> Document:
    (document,) = read(data).documents
    return document


def drawn(*pages: Callable[[Canvas], None], **options: str) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(WIDTH, HEIGHT))
    if "title" in options:
        canvas.setTitle(options["title"])
    for page in pages:
        canvas.setFont(FONT, SIZE)
        page(canvas)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def lines(
    *texts: str, x: float = 72, y: float = 700, lead: float = 14, size: float = SIZE
) -> Callable[[Canvas], None]:
    """A page with these lines under each other; an empty one leaves room."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont(FONT, size)
        for n, text in enumerate(texts):
            if text:
                canvas.drawString(x, y - n * lead, text)

    return draw


def turned(page: Callable[[Canvas], None], rotation: int) -> Callable[[Canvas], None]:
    """The same for whoever reads it, on a page that lies turned in the file."""

    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(rotation)
        x, y = {0: (0, 0), 90: (HEIGHT, 0), 180: (WIDTH, HEIGHT), 270: (0, WIDTH)}[rotation]
        canvas.translate(x, y)
        canvas.rotate(rotation)
        page(canvas)

    return draw


def blank(_: Canvas) -> None:
    pass


def image(canvas: Canvas) -> None:
    canvas.drawImage(ImageReader(Image.new("L", (8, 8), 128)), 0, 0, WIDTH, HEIGHT)


def edited(data: bytes, edit: Callable[[pypdf.PdfWriter], object]) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    edit(writer)
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def handmade(
    content: bytes, meaning: dict[str, str] | None = None, info: bytes = b"", page: bytes = b""
) -> bytes:
    """A page in Courier of 20 points: 12 for each byte, whose meaning may be another."""
    codes = "".join(
        f"<{ord(code):02X}> <{text.encode('utf-16-be', 'surrogatepass').hex()}>\n"
        for code, text in (meaning or {}).items()
    )
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
        "1 begincodespacerange <00> <FF> endcodespacerange\n"
        f"{len(meaning or {})} beginbfchar\n{codes}endbfchar\nendcmap end end"
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>" + page + b">>",
        stream_of(b"BT /F 20 Tf " + content + b" ET"),
        b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding"
        b"/ToUnicode 6 0 R/FirstChar 32/LastChar 126/Widths[" + b"600 " * 95 + b"]>>",
        stream_of(cmap.encode()),
        b"<<" + info + b">>",
    ]
    out = b"%PDF-1.7\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + (
        b"xref\n0 8\n0000000000 65535 f \n%strailer\n<</Size 8/Root 1 0 R/Info 7 0 R>>\n"
        b"startxref\n%d\n%%%%EOF\n" % (table, len(out))
    )


def stream_of(content: bytes) -> bytes:
    return b"<</Length %d>>\nstream\n%s\nendstream" % (len(content), content)


def boxes_of(data: bytes, quote: str) -> list[Box]:
    document = document_of(data)
    start = document.text.index(quote)
    return boxes(data, document, start, start + len(quote))


def check_place(
    box: Box, x: float, y: float, width: float, *, page: tuple[float, float] = (WIDTH, HEIGHT)
) -> None:
    """The box is that of a word with capitals and descenders, drawn at x on the baseline y."""
    page_width, page_height = page
    slack = 0.15 * SIZE
    assert box.left * page_width == pytest.approx(x, abs=slack)
    assert box.right * page_width == pytest.approx(x + width, abs=slack)
    top, bottom = ((1 - edge) * page_height for edge in (box.top, box.bottom))
    assert top == pytest.approx(y + CAPITALS * SIZE, abs=slack)
    assert bottom == pytest.approx(y - DESCENT * SIZE, abs=slack)


def check_line(box: Box, x: float, y: float, text: str) -> None:
    """The box is on the line of this text and as wide, drawn at x on the baseline y."""
    assert box.left * WIDTH == pytest.approx(x, abs=3)
    assert box.right * WIDTH == pytest.approx(x + stringWidth(text, FONT, SIZE), abs=3)
    top, bottom = ((1 - edge) * HEIGHT for edge in (box.top, box.bottom))
    assert y - 0.3 * SIZE < bottom < top < y + SIZE


def test_a_box_is_where_the_writer_drew() -> None:
    before, word = "Some words, then ", "Happy"
    data = drawn(blank, lines("First", before + word + " end", "Last", x=100, y=500))
    (box,) = boxes_of(data, word)
    assert box.page == document_of(data).page(document_of(data).text.index(word)) == 2
    check_place(box, 100 + stringWidth(before, FONT, SIZE), 486, stringWidth(word, FONT, SIZE))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_page_that_reads_upright(rotation: int) -> None:
    page = lines("The Happy one", "goes on.", "", "Apart.", x=100, y=500)
    data = drawn(turned(page, rotation))
    assert document_of(data).text == "The Happy one\ngoes on.\n\nApart."
    (box,) = boxes_of(data, "Happy")
    check_place(box, 100 + stringWidth("The ", FONT, SIZE), 500, stringWidth("Happy", FONT, SIZE))


@pytest.mark.parametrize("kind", ["cropbox", "mediabox"])
def test_a_page_cut_to_a_part(kind: str) -> None:
    def cut(writer: pypdf.PdfWriter) -> None:
        setattr(writer.pages[0], kind, RectangleObject((50, 150, 450, 650)))

    data = edited(drawn(lines("The Happy one", x=100, y=500)), cut)
    (box,) = boxes_of(data, "Happy")
    x, width = (stringWidth(word, FONT, SIZE) for word in ("The ", "Happy"))
    check_place(box, 100 + x - 50, 500 - 150, width, page=(400, 500))


def test_a_page_cut_and_turned() -> None:
    data = handmade(b"0 1 -1 0 300 400 Tm (Happy) Tj", page=b"/CropBox[100 200 500 700]/Rotate 90")
    # Turned clockwise, what ran up the page from (300, 400) runs to the right.
    found = boxes_of(data, "Happy")
    assert len(found) == 1
    assert 500 * found[0].left == pytest.approx(400 - 200, abs=3)
    assert 500 * found[0].right == pytest.approx(460 - 200, abs=3)
    assert 400 * found[0].bottom == pytest.approx(300 - 100 + 3, abs=3)


def test_a_quote_over_lines_and_pages_has_a_box_for_each_line() -> None:
    data = drawn(lines("One Happy", "Hippy two"), lines("Hoppy three", y=300))
    document = document_of(data)
    start, end = document.text.index("Happy"), document.text.index(" three")
    found = boxes(data, document, start, end)
    assert [box.page for box in found] == [1, 1, 2]
    assert boxes(data, document, start, start) == []
    places = [(stringWidth("One ", FONT, SIZE), 700, "Happy"), (0, 686, "Hippy two"),
              (0, 300, "Hoppy")]  # fmt: skip
    for box, (x, y, text) in zip(found, places, strict=True):
        check_place(box, 72 + x, y, stringWidth(text, FONT, SIZE))


def test_a_broken_word_has_both_its_places() -> None:
    data = drawn(lines("Some Happ-", "yness here"))
    first, second = boxes_of(data, "Happyness")
    check_line(first, 72 + stringWidth("Some ", FONT, SIZE), 700, "Happ")
    check_line(second, 72, 686, "yness")


def test_a_quote_in_two_columns_has_a_box_in_each() -> None:
    def columns(canvas: Canvas) -> None:
        lines("Left one", "Left Happy", y=500)(canvas)
        lines("Hippy right", "right two", x=320, y=500)(canvas)

    data = drawn(columns)
    first, second = boxes_of(data, "Happy\nHippy")
    check_place(first, 72 + stringWidth("Left ", FONT, SIZE), 486, stringWidth("Happy", FONT, SIZE))
    check_place(second, 320, 500, stringWidth("Hippy", FONT, SIZE))


SIDES = '"left": 0, "top": 0, "right": 1, "bottom": 1'


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "{}x",
        "[1]",
        "[{}]",
        "[" * 100_000,
        f'[{{"page": 1e999, {SIDES}}}]',
        f'[{{"page": null, {SIDES}}}]',
        f'[{{"page": 1, {SIDES.replace("1", "NaN")}}}]',
        f'[{{"page": 1, {SIDES.replace("0", "-Infinity")}}}]',
    ],
    ids=range(9),
)
def test_a_process_that_a_file_has_taken_over_gives_no_places(
    reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = document_of(handmade(b"100 500 Td (One line.) Tj"))
    monkeypatch.setattr(page_view, "_asked", lambda *_: reply.encode())
    with pytest.raises(LoadError, match="break its rules"):
        page_view.places_of(document, 0, 3)
    with pytest.raises(LoadError, match="break its rules"):
        page_view.image_of(document, 1)


def test_no_box_is_given_for_a_file_that_changed() -> None:
    document = document_of(drawn(lines("One thing."), lines("Another Happy thing.")))
    with pytest.raises(LoadError, match="something else on page 2"):
        boxes(drawn(lines("One thing."), lines("Some other thing.")), document, 11, 31)


def test_characters_beyond_the_first_plane_are_one_each() -> None:
    data = handmade(b"100 500 Td (xAyBz) Tj", {"A": "😀", "B": "\U00020000"})
    document = document_of(data)
    assert document.text == "x😀y\U00020000z"
    for n in range(5):
        (box,) = boxes(data, document, n, n + 1)
        assert 100 + 12 * n - 1 <= box.left * WIDTH < box.right * WIDTH <= 100 + 12 * (n + 1) + 1


def test_a_ligature_is_its_letters_in_one_place() -> None:
    data = handmade(b"100 500 Td (oAce) Tj", {"A": "ffi"})
    document = document_of(data)
    assert document.text == "office"
    for n in (1, 2, 3):
        (box,) = boxes(data, document, n, n + 1)
        assert 111 <= box.left * WIDTH < box.right * WIDTH <= 125


@pytest.mark.parametrize("code", ["\x00", "\x02", "\x0c", "\r", "\x85", "\ufffe"])
def test_no_character_breaks_the_pages(code: str) -> None:
    document = document_of(handmade(b"100 500 Td (one A two) Tj", {"A": code}))
    assert re.fullmatch(r"one -? ?two", document.text)
    assert document.page_starts == (0,)


def test_half_a_character_is_not_lost() -> None:
    for half in "\ud83d\ude00":
        document = document_of(handmade(b"100 500 Td (one A two) Tj", {"A": half}))
        assert document.text == "one \ufffd two"


WORD = st.text(st.sampled_from("abcXYZ0189éüß.,_”“°^()"), min_size=1, max_size=8)
PAGE = st.lists(st.lists(WORD, min_size=1, max_size=5), max_size=6)


@settings(max_examples=100)
@given(st.lists(PAGE, min_size=1, max_size=4), st.data())
def test_words_are_on_their_pages_in_their_order(
    pages: list[list[list[str]]], data: st.DataObject
) -> None:
    places = [
        data.draw(st.lists(st.integers(50, 750).map(lambda y: y // 25 * 25), min_size=len(page),
                           max_size=len(page), unique=True))
        for page in pages
    ]  # fmt: skip

    def page_of(texts: Sequence[Sequence[str]], ys: Sequence[int]) -> Callable[[Canvas], None]:
        def draw(canvas: Canvas) -> None:
            for words, y in zip(texts, sorted(ys, reverse=True), strict=True):
                canvas.drawString(72, y, " ".join(words))

        return draw

    pdf = drawn(*(page_of(page, ys) for page, ys in zip(pages, places, strict=True)))
    expected = [[word for words in page for word in words] for page in pages]
    if not any(expected):
        with pytest.raises(LoadError, match="has no text"):
            read(pdf)
        return
    document = document_of(pdf)
    assert len(document.page_starts) == len(pages)
    ends = [*(start - 1 for start in document.page_starts[1:]), len(document.text)]
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    for n, (start, end, words) in enumerate(zip(document.page_starts, ends, expected, strict=True)):
        assert document.text[start:end].split() == words
        assert reader.pages[n].extract_text().split() == words
        assert all(document.page(offset) == n + 1 for offset in range(start, end))
    n = data.draw(st.sampled_from([n for n, words in enumerate(expected) if words]))
    line = data.draw(st.integers(0, len(pages[n]) - 1))
    start = document.page_starts[n]
    for words in pages[n][:line]:
        start = document.text.index(" ".join(words), start) + len(" ".join(words))
    start = document.text.index(pages[n][line][0], start)
    (box,) = boxes(pdf, document, start, start + len(pages[n][line][0]))
    assert box.page == n + 1
    check_line(box, 72, sorted(places[n], reverse=True)[line], pages[n][line][0])


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.text("bcdfgklmnpqrstz", min_size=2, max_size=6),
            st.text("bcdfgklmnpqrstz", min_size=2, max_size=6),
            st.sampled_from(["{}{} ", "{}{}\n", "{}-\n{} "]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_broken_words_are_whole_again(words: list[tuple[str, str, str]]) -> None:
    """Each word has its second half in the next line, or ends its line, or goes on in it."""
    page = "".join(form.format(one, other) for one, other, form in words)
    document = document_of(drawn(lines(*page.split("\n"))))
    assert document.text.split() == [one + other for one, other, _ in words]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (["an exam-", "ple of it"], "an example of it"),
        (["in 2014-", "2015 or so"], "in 2014-\n2015 or so"),
        (["a well-", "known man, so well-known"], "a well-known man, so well-known"),
        (["the Anglo-", "American way"], "the Anglo-American way"),
        (["the Covid-", "19 wards"], "the Covid-19 wards"),
        (["naïve-", "té is"], "naïveté is"),
        (["one thing -", "another"], "one thing -\nanother"),
        (["at the end-"], "at the end-"),
    ],
)
def test_hyphens_at_line_ends(written: list[str], text: str) -> None:
    assert document_of(drawn(lines(*written))).text == text


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["the pre-", "and post-war years"], "pre-"),
        (["Ein-", "und Ausgabe"], "Ein-"),
        (["see http://site.org/long-", "name/page"], "http://site.org/long-name/page"),
    ],
)
def test_hyphens_that_are_the_writers_own_stay(written: list[str], kept: str) -> None:
    assert kept in document_of(drawn(lines(*written))).text


def test_paragraphs_are_parted_by_blank_lines() -> None:
    data = drawn(lines("First line", "and second.", "", "Another", "of two.", "", "Last."))
    assert document_of(data).text == "First line\nand second.\n\nAnother\nof two.\n\nLast."


def test_a_heading_is_parted_from_its_text() -> None:
    def page(canvas: Canvas) -> None:
        lines("The heading", y=730, size=16)(canvas)
        lines("The text that", "stands below.", y=712)(canvas)

    assert document_of(drawn(page)).text == "The heading\n\nThe text that\nstands below."


def test_columns_are_read_one_after_the_other() -> None:
    def page(canvas: Canvas) -> None:
        lines("One", "two", "thr-")(canvas)
        lines("ee, four", "five", x=320)(canvas)

    assert document_of(drawn(page)).text == "One\ntwo\nthree, four\nfive"


def test_numbers_under_each_other_stay_apart() -> None:
    def page(canvas: Canvas) -> None:
        lines("Item", "Apples", "Pears", lead=20)(canvas)
        lines("N", "5", "8", x=300, lead=20)(canvas)

    for draw, words in (
        (lines("5", "8", "12"), "5 8 12"),
        (lines("ab", "c"), "ab c"),
        (lines("7 8", "5", "6"), "7 8 5 6"),
        (page, "Item Apples Pears N 5 8"),
    ):
        for rotation in (0, 90, 180, 270):
            data = drawn(turned(draw, rotation))
            assert document_of(data).text.split() == words.split()


@pytest.mark.parametrize("word", ["night”.", "“Yes”,", "snake_case", "10°.", "(a)^_", "a.b/-_c"])
def test_no_word_is_broken_by_its_punctuation(word: str) -> None:
    data = drawn(lines("the whole", word, "and more of it"))
    assert document_of(data).text == f"the whole\n{word}\nand more of it"
    (box,) = boxes_of(data, word)
    check_line(box, 72, 686, word)


def test_empty_pages_count() -> None:
    document = document_of(drawn(blank, lines("Second."), blank, lines("Fourth."), blank))
    assert document.text == "\fSecond.\f\fFourth.\f"
    assert [document.page(document.text.index(w)) for w in ("Second", "Fourth")] == [2, 4]
    assert len(document.page_starts) == 5


def test_words_equal_those_of_another_reader(tmp_path: Path) -> None:
    style = ParagraphStyle("body", fontName="Times-Roman", fontSize=11, leading=14, alignment=4)
    words = "Seventy of the défectors went public; 58 % of “them” (in 2014) did so twice."
    path = tmp_path / "flowing.pdf"
    SimpleDocTemplate(str(path)).build(
        [Paragraph(f"Number {n}. {words * (1 + n % 7)}", style) for n in range(90)]
    )
    document = document_of(path.read_bytes())
    theirs = [page.extract_text().split() for page in pypdf.PdfReader(path).pages]
    assert len(theirs) > 5
    assert [page.split() for page in document.text.split("\f")] == theirs


@pytest.mark.parametrize("pages", [[image], [image, image, blank]])
def test_only_images_are_scanned(pages: list[Callable[[Canvas], None]]) -> None:
    with pytest.raises(
        LoadError, match=r"scanned: its (one page has|\d pages have) no text layer.*OCR"
    ):
        read(drawn(*pages))


def test_a_document_without_anything_has_no_text() -> None:
    with pytest.raises(LoadError, match="its 2 pages have none"):
        read(drawn(blank, blank))


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([lines("Text."), image, blank], "page 2 is scanned"),
        ([image, lines("Text."), image], "pages 1, 3 are scanned"),
        ([*[image] * 11, lines("Text.")], "pages 1, 2, 3, 4, 5, 6, 7, 8 and 3 more are scanned"),
        ([lines("Text."), blank], None),
    ],
)
def test_scanned_pages_are_noted(pages: list[Callable[[Canvas], None]], said: str | None) -> None:
    note = read(drawn(*pages)).note
    assert (note or "").startswith(said or "")
    assert (note is None) == (said is None)


def test_an_image_within_a_form_is_a_scan_too() -> None:
    def page(canvas: Canvas) -> None:
        canvas.beginForm("scan")
        image(canvas)
        canvas.endForm()
        canvas.doForm("scan")

    assert (read(drawn(page, lines("Text."))).note or "").startswith("page 1 is scanned")


def test_a_password_is_needed_or_not() -> None:
    data = drawn(lines("Secret words."))
    locked = edited(data, lambda writer: writer.encrypt("open", algorithm="RC4-128"))
    with pytest.raises(LoadError, match="protected by a password"):
        read(locked)
    owned = edited(data, lambda writer: writer.encrypt("", "owner", algorithm="RC4-128"))
    assert document_of(owned).text == "Secret words."


def test_what_is_no_pdf_is_damaged() -> None:
    data = drawn(lines("Words."))
    for broken in (data[: len(data) // 2], b"%PDF-1.7\n" + b"garbage\n" * 50, b"%PDF-1.7", b"x"):
        with pytest.raises(LoadError, match="damaged PDF"):
            read(broken)


@pytest.mark.parametrize(
    ("stated", "title"),
    [
        (b"(A Real Title)", "A Real Title"),
        (b"<FEFFD83DDE000041>", "😀A"),
        (b"<FEFFD8000041>", "\ufffdA"),
        (b"(  )", "The headline"),
        (b"(\\000)", "The headline"),
        (b"(untitled)", "The headline"),
        (b"(Untitled 3)", "The headline"),
        (b"(Document1)", "The headline"),
        (b"(Microsoft Word - thesis final.doc)", "The headline"),
        (b"(thesis.dvi)", "The headline"),
        (b"(PowerPoint Presentation)", "The headline"),
        (b"17", "The headline"),
    ],
)
def test_titles(stated: bytes, title: str) -> None:
    content = b"100 500 Td (The headline) Tj 0 -24 Td (and a line of text.) Tj"
    assert document_of(handmade(content, info=b"/Title" + stated)).title == title


def test_a_document_without_title_or_headline_bears_its_files_name() -> None:
    assert document_of(handmade(b"100 500 Td (One line.) Tj")).title == "paper"


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("D:20240506070809Z", "2024-05-06"),
        ("D:20240506233000-05'00'", "2024-05-06"),
        ("D:20240230", None),
        ("D:20241399", None),
        ("D:00000000", None),
        ("yesterday", None),
    ],
)
def test_dates(written: str, date: str | None) -> None:
    info = f"/CreationDate({written})".encode()
    assert document_of(handmade(b"100 500 Td (Words.) Tj", info=info)).date == date

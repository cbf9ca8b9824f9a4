"""HTML: the words of the page in order, nothing around them, decoded as a browser would."""

import codecs
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml.html import builder as e

from corpus.errors import LoadError
from corpus.html import looks_like_html
from corpus.load import load
from corpus.records import Document

PROSE = (
    "Seventy of the defectors spoke about their departure in public, and the centre that"
    " counted them says that many more did so where nobody took any notes."
)
MENU = e.NAV(e.UL(e.LI(e.A("Menu entry", href="/")), e.LI(e.A("About us", href="/about"))))


def written(*body: Any, head: Sequence[Any] = ()) -> str:
    page = e.HTML(e.HEAD(*head), e.BODY(*body))
    markup: str = lxml.html.tostring(
        page, doctype="<!DOCTYPE html>", encoding="unicode", include_meta_content_type=True
    )
    return markup


def article(*content: Any, head: Sequence[Any] = ()) -> str:
    """An article with these in its middle, among what surrounds articles."""
    before, after = e.P(PROSE), e.P(PROSE[::-1])
    return written(MENU, e.E.article(before, *content, after), head=head)


def read(markup: str | bytes, name: str = "page.html") -> Document:
    data = markup.encode() if isinstance(markup, str) else markup
    (document,) = load(Path("/folder") / name, data).documents
    return document


def text_of(markup: str | bytes) -> str:
    return read(markup).text


def middle(*content: Any) -> str:
    """What becomes of them in an article."""
    text = text_of(article(*content))
    assert text.startswith(PROSE)
    assert text.endswith(PROSE[::-1])
    return text[len(PROSE) : -len(PROSE)].strip()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([e.P("Sentinel words.")], "Sentinel words."),
        ([e.P(" Two\n  lines,\tone space. ")], "Two lines, one space."),
        ([e.P("A", e.BR(), "break")], "A\nbreak"),
        ([e.H2("A heading"), e.P("Its text.")], "A heading\n\nIts text."),
        ([e.UL(e.LI("One"), e.LI("two"))], "One\ntwo"),
        ([e.OL(e.LI(e.P("One")), e.LI(e.P("two")))], "One\n\ntwo"),
        ([e.BLOCKQUOTE(e.P("Quoted."), e.P("Twice."))], "Quoted.\n\nTwice."),
        ([e.PRE("a = 1\n    b = 2\n\nc")], "a = 1\n    b = 2\n\nc"),
        ([e.PRE(e.CODE("x\n\ty"))], "x\n\ty"),
        ([e.DL(e.DT("Term"), e.DD("Meaning."))], "Term\n\nMeaning."),
        ([e.E.figure(e.IMG(src="a.png"), e.E.figcaption("Caption."))], "Caption."),
        ([e.E.details(e.E.summary("Question?"), e.P("Answer."))], "Question?\n\nAnswer."),
        ([e.H3(e.BUTTON("Question?")), e.DIV(e.P("Answer."))], "Question?\n\nAnswer."),
        ([e.DL(e.DT(e.SPAN(e.BUTTON("Term"))), e.DD("Meaning."))], "Term\n\nMeaning."),
        ([e.E.details(e.E.summary(e.BUTTON("Question?")), e.P("Answer."))],
         "Question?\n\nAnswer."),
        ([e.P("Words.", e.BUTTON("Share")), e.BUTTON("Print")], "Words."),
        ([e.DIV("Outside", e.P("inside"), "after")], "Outside\n\ninside\n\nafter"),
        ([e.P("5 < 6 & 7 > 2 — “é” 😀")], "5 < 6 & 7 > 2 — “é” 😀"),
        ([e.P("The same words again."), e.P("The same words again.")],
         "The same words again.\n\nThe same words again."),
        (
            [e.TABLE(e.TR(e.TH("City"), e.TH("People")), e.TR(e.TD("Oslo"), e.TD("58")))],
            "City | People\nOslo | 58",
        ),
        (
            [e.TABLE(e.TR(e.TD(e.P("a"), e.P("b")), e.TD(e.UL(e.LI("c"), e.LI("d")))))],
            "a b | c d",
        ),
        ([e.TABLE(e.TR(e.TD("or"), e.TD("||")), e.TR(e.TD("and"), e.TD("&&")))],
         "or | ||\nand | &&"),
        ([e.TABLE(e.TR(e.TD("a"), e.TD(e.TABLE(e.TR(e.TD("b"), e.TD("c"))))))], "a | b c"),
    ],
)  # fmt: skip
def test_blocks(content: list[Any], text: str) -> None:
    assert middle(*content) == text


INLINE = """
    a abbr b bdi cite code data del dfn em font i ins kbd label mark math output q s samp small span
    strong sub sup time tt u var x-own
"""


@pytest.mark.parametrize("tag", INLINE.split())
def test_no_word_is_lost_or_moved_by_its_markup(tag: str) -> None:
    markup = f"<p>Some words (<{tag}>mar</{tag}>ked) in the midst of it.</p>"
    assert middle(lxml.html.fragment_fromstring(markup)) == (
        "Some words (marked) in the midst of it."
    )


def test_entities_are_what_they_stand_for() -> None:
    page = written(e.P("SLOT")).replace(
        "SLOT", "&eacute;&#233;&#xE9; &lt;b&gt; &amp;amp; &#x1F600;"
    )
    assert text_of(page) == "ééé <b> &amp; 😀"
    # A browser shows the replacement character for these too.
    page = written(e.P("SLOT")).replace("SLOT", "lone &#55357; surrogate")
    assert text_of(page).encode().decode() == "lone \ufffd surrogate"


@pytest.mark.parametrize(
    "unseen",
    [
        "<script>sentinel()</script>",
        "<style>.sentinel { color: red }</style>",
        "<!-- sentinel -->",
        "<template><p>sentinel</p></template>",
        "<p hidden>sentinel</p>",
        "<svg><text>sentinel</text></svg>",
        "<img src='x.png' alt='sentinel'>",
    ],
)
def test_what_no_browser_shows_is_absent(unseen: str) -> None:
    for page in (article(e.P("SLOT")), written(e.P("SLOT"), e.P("Few words."))):
        assert "sentinel" not in text_of(page.replace("<p>SLOT</p>", unseen))


def test_menus_are_absent_beside_an_article() -> None:
    assert "Menu entry" not in text_of(article())
    assert "About us" not in text_of(article())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([e.P("Few words.")], "Few words."),
        ([e.P("One"), e.P("two three")], "One\n\ntwo three"),
        ([e.H1("Top"), e.P("Words."), e.UL(e.LI("a"), e.LI("b"))], "Top\n\nWords.\n\na\nb"),
        ([e.PRE("a\n  b")], "a\n  b"),
        ([e.UL(*(e.LI(e.A(f"Entry {n}", href="/")) for n in range(3)))],
         "Entry 0\nEntry 1\nEntry 2"),
        ([MENU], "Menu entry\nAbout us"),
        ([e.DL(e.DT("Ox"), e.DD("A beast."), e.DT("Oak"), e.DD("A tree."))],
         "Ox\n\nA beast.\n\nOak\n\nA tree."),
        ([e.TABLE(e.TR(e.TD("Oslo"), e.TD("58")), e.TR(e.TD("Rome"), e.TD("17")))],
         "Oslo | 58\nRome | 17"),
    ],
)  # fmt: skip
def test_small_pages_are_read_as_they_are(body: list[Any], text: str) -> None:
    assert text_of(written(*body)) == text


def test_words_between_cells_stay_apart_from_them() -> None:
    """Browsers show them before the table."""
    markup = "<table><tr>stray<td>one</td>words<td>two</td>here</tr><tr>alone</tr></table>"
    text = text_of(written(e.P("SLOT")).replace("<p>SLOT</p>", markup))
    assert sorted(text.replace("|", " ").split()) == [
        "alone", "here", "one", "stray", "two", "words",
    ]  # fmt: skip


WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyzéß", min_size=2, max_size=9), min_size=4,
                 max_size=40)  # fmt: skip
PARAGRAPHS = st.lists(WORDS.map(lambda words: " ".join(words).capitalize() + "."), min_size=3,
                      max_size=8)  # fmt: skip


@settings(max_examples=80)
@given(PARAGRAPHS, st.booleans(), st.sampled_from(["article", "div", "main", "section"]))
def test_no_paragraph_is_lost(paragraphs: list[str], menu: bool, around: str) -> None:
    inner = getattr(e.E, around)(e.H1("The headline"), *map(e.P, paragraphs))
    text = text_of(written(*([MENU] if menu else []), inner))
    at = 0
    for paragraph in paragraphs:
        at = text.index(paragraph, at) + len(paragraph)


MARKUP = [
    "<html>", "<body>", "<template>", "<pre>", "<table>", "</table>", "<tr>", "<td>", "<dl>",
    "<dd>", "<ul>", "<li>", "<p>", "</p>", "<h1>", "<div hidden>", "</div>", "<svg>", "<title>",
    "<select>", "<textarea>", "<noscript>", "<!-- c -->", "<![CDATA[", "]]>", "<!--", "<?pi?>",
    "<br>", "&#0;", "&#xD800;", "<script>", "</script>", "<x:y>", '<a href="http://[x">', "</",
    "words of it", "\0", '{"a": [1]}', PROSE,
]  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.sampled_from(MARKUP), max_size=30).map("".join))
@example('<template><pre>{"a": [1]}<td><dl><dd><![CDATA[')
def test_any_markup_is_read_or_refused(markup: str) -> None:
    try:
        document = read(f"<!doctype html><html>{markup}")
    except LoadError:
        return
    for text in (document.text, document.title):
        assert text.encode().decode() == text


@pytest.mark.parametrize("depth", [200, 300, 1500, 5000, 50_000])
@pytest.mark.parametrize("tag", ["div", "b", "ul"])
def test_deep_nesting_loses_nothing_in_silence(depth: int, tag: str) -> None:
    deep = f"<{tag}>" * depth + "In the depth." + f"</{tag}>" * depth
    page = f"<html><body><p>Before it all.</p>{deep}<p>After it all.</p></body></html>"
    try:
        text = text_of(page)
    except LoadError:
        assert depth > 1000
        return
    assert text.replace("\n\n", " ") == "Before it all. In the depth. After it all."


@pytest.mark.parametrize(
    "page",
    [
        "<html></html>",
        "<!doctype html>",
        "<html><body></body></html>",
        "<html><body><p> </p><script>x</script></body></html>",
        "<html><head><title>Only a title</title></head></html>",
        "<!-- -->",
        "&nbsp;",
    ],
)
def test_empty_pages_are_said(page: str) -> None:
    with pytest.raises(LoadError, match="has no text"):
        read(page)


RUSSIAN = "Пятьдесят восемь человек рассказали о своём уходе."


@pytest.mark.parametrize(
    ("declared", "codec", "words"),
    [
        ("utf-8", "utf-8", "naïve “quotes” – 58 €"),
        ("windows-1252", "cp1252", "naïve “quotes” – 58 €"),
        ("iso-8859-1", "cp1252", "naïve “quotes” – 58 €"),
        ("us-ascii", "cp1252", "naïve “quotes” – 58 €"),
        ("iso-8859-9", "cp1254", "“İstanbul” – şehir"),
        ("iso-8859-2", "iso8859-2", "Mężczyzna powiedział"),
        ("windows-1251", "cp1251", RUSSIAN),
        ("koi8-r", "koi8-r", RUSSIAN),
        ("shift_jis", "cp932", "①髙橋は東京に住む"),
        ("euc-jp", "euc_jp", "東京に住む"),
        ("euc-kr", "cp949", "똠방각하 펲시콜라"),
        ("gb2312", "gbk", "朱镕基总理说"),
        ("big5", "big5", "繁體中文"),
    ],
)
def test_a_declared_charset_means_what_it_means_to_browsers(
    declared: str, codec: str, words: str
) -> None:
    for meta in (e.META(charset=declared),
                 e.META({"http-equiv": "Content-Type",
                         "content": f"text/html; charset={declared.upper()}"})):  # fmt: skip
        document = read(written(e.P(words), head=[meta]).encode(codec))
        assert document.text == words
        assert document.encoding is not None
        assert words.encode(document.encoding) == words.encode(codec)


@pytest.mark.parametrize(
    "declared",
    [
        "windows-1251x", "utf-16", "utf-16le", "utf-32", "utf-7", "unicode",
        "idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "rot13", "hex",
        "hz", "charmap", "cp037", "mbcs", "aliases", "none",
    ],
)  # fmt: skip
@pytest.mark.parametrize("words", [r"C:\new\temp costs 58 €", r"plain +ADw- \u0041 words 58 ~{"])
def test_a_wrong_declaration_changes_nothing(declared: str, words: str) -> None:
    for padding in range(4):  # Some codecs take whole pairs or fours of bytes only.
        page = written(e.P(words + "!" * padding), head=[e.META(charset=declared)])
        assert text_of(page) == words + "!" * padding


def test_a_byte_order_mark_is_right_whatever_is_declared() -> None:
    page = written(e.P("naïve 58 €"), head=[e.META(charset="windows-1252")])
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        document = read(mark + page.encode(codec))
        assert (document.text, document.encoding) == ("naïve 58 €", codec)


@pytest.mark.parametrize("codec", ["utf-8", "iso-8859-1", "utf-16"])
def test_xhtml_with_an_xml_declaration(codec: str) -> None:
    page = (
        f'<?xml version="1.0" encoding="{codec}"?>\n<!DOCTYPE html PUBLIC'
        ' "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">\n'
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>The café</title></head>'
        "<body><p>naïve<br/>words</p></body></html>"
    )
    document = read(page.encode(codec), "page.xhtml")
    assert (document.title, document.text) == ("The café", "naïve\nwords")


@pytest.mark.parametrize(
    ("head", "body", "title"),
    [
        ([e.TITLE("The page’s title")], [e.P("Words.")], "The page’s title"),
        ([e.TITLE(" Two\n  lines ")], [e.P("Words.")], "Two lines"),
        ([e.TITLE("Untitled document")], [e.H1("The heading"), e.P("Words.")], "The heading"),
        ([], [e.H1("The heading"), e.P("Words.")], "The heading"),
        ([e.META(property="og:title", content="Stated")], [e.P("Words.")], "Stated"),
        ([], [e.P("Only a sentence.")], "page"),
    ],
)
def test_titles(head: list[Any], body: list[Any], title: str) -> None:
    assert read(written(*body, head=head)).title == title


def test_a_title_within_a_drawing_is_not_the_pages() -> None:
    markup = "<html><body><svg><title>Icon</title></svg><p>Words.</p></body></html>"
    assert read(markup).title == "page"


@pytest.mark.parametrize(
    ("head", "date"),
    [
        ([e.META(property="article:published_time", content="2024-05-06T07:08:09Z")],
         "2024-05-06"),
        ([e.META(name="date", content="2024-05-06")], "2024-05-06"),
        ([e.META(name="date", content="2024-13-45")], None),
        ([e.META(name="date", content="soon")], None),
        ([e.META(charset="iso2022_jp")], None),
        ([e.LINK(href="/2017/01/02/style.css", rel="stylesheet")], None),
        ([], None),
    ],
)  # fmt: skip
def test_dates_are_those_of_the_metadata(head: list[Any], date: str | None) -> None:
    page = article(e.P("It began on 5 March 1998 in Oslo."), head=head)
    assert read(page.replace("</body>", "<footer>© 2019</footer></body>")).date == date


@pytest.mark.parametrize(
    ("data", "is_html"),
    [
        (b"<!DOCTYPE html><p>", True),
        (b"\xef\xbb\xbf\n <html lang=en>", True),
        (b'<?xml version="1.0"?>\n<!-- a --> <!-- b -->\n<!doctype HTML SYSTEM "x">', True),
        (b"<htmlish>", False),
        (b"<!-- a note --> plain text about <html>", False),
        (b"Text that says <html>", False),
        (b'<?xml version="1.0"?><svg/>', False),
        (b"", False),
    ],
)
def test_pages_are_known_by_their_beginning(data: bytes, is_html: bool) -> None:
    assert looks_like_html(data) is is_html


def test_many_comments_take_no_time() -> None:
    started = time.perf_counter()
    assert not looks_like_html(b"<!-- -->" * 23)
    assert time.perf_counter() - started < 0.3


def test_large_pages_take_linear_time() -> None:
    def seconds(n: int) -> float:
        words = e.P(" ".join(f"word{k}" for k in range(40 * n)))
        around = (e.P(f"Footer number {k} of the whole site") for k in range(n))
        page = written(e.E.article(words), e.E.footer(*around))
        started = time.perf_counter()
        assert f"word{40 * n - 1}" in text_of(page)
        return time.perf_counter() - started

    seconds(10)
    # Four times as large: sixteen times the time would be quadratic.
    assert min(seconds(2000), seconds(2000)) < 6 * seconds(500) + 0.3

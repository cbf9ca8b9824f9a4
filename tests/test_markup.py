"""Nothing that comes from outside is markup on the page."""

from pathlib import Path

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.records import Document
from qa import markup
from qa.calibration import Signals
from qa.conversation import Turn, as_markdown, export_json, in_words, kept, restored
from qa.results import Answer, Citation

NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("<>&\"'`[](){}$\\/=\r\n\f\t \x00\x07\u202e\u2066\ufeff\u200b\u00ad"),
        st.characters(),
    ),
    max_size=60,
)
PLAIN = {
    "i",
    "p",
    "div",
    "mark",
    "section",
    "header",
    "h2",
    "nav",
    "span",
    "button",
    "body",
    "html",
}

SIGNALS = Signals(5.0, 0.8, 2.0, 0.0)


def document(text: str, **changed: object) -> Document:
    fields = {
        "id": "0123456789abcdef", "source": Path("/a/b.txt"), "row": None, "title": "T",
        "text": text, "sha256": "0" * 64, "loader": "text/1", "encoding": "utf-8",
        **changed,
    }  # fmt: skip
    return Document(**fields)  # type: ignore[arg-type]


def turn(text: str, start: int, end: int, **changed: object) -> Turn:
    citation = Citation(
        document="0123456789abcdef", title=text, source=f"/{text}", sha256="0" * 64, start=start,
        end=end, page=None, line=1, quote=text[start:end], sentence=text, sentence_start=0,
        passage=1,
    )  # fmt: skip
    answers = (Answer(text[start:end], 0.7, 1.0, SIGNALS, (citation,)),)
    fields = {"id": "t", "question": text, "asked_at": 0.0, "threshold": 0.3, "answers": answers}
    return Turn(**{**fields, **changed})  # type: ignore[arg-type]


def tags(html: str) -> set[str]:
    return {str(element.tag) for element in lxml.html.fromstring(f"<div>{html}</div>").iter()}


@given(NASTY)
def test_escaped_text_is_the_text_and_has_no_tags_but_signs(text: str) -> None:
    tree = lxml.html.fromstring(f"<div>{markup.escaped(text)}</div>")
    assert {element.tag for element in tree.iter()} <= {"div", "i"}
    shown = tree.text_content()
    # One for one, so that selections can be told in offsets; lines are split before.
    assert len(shown.replace("\r\n", "\n")) == len(text.replace("\r\n", "\n"))
    assert all(
        ours == theirs or ours == "\ufffd" or {ours, theirs} <= set("\r\n")
        for ours, theirs in zip(shown, text, strict=False)
    ) or "\r\n" in text  # fmt: skip


@settings(max_examples=60)
@given(NASTY, st.data())
def test_the_source_shows_every_character_at_its_offset(text: str, data: st.DataObject) -> None:
    text += "x"
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    html = markup.source(document(text, title=text), markup.Place(start, end))
    tree = lxml.html.fromstring(html)
    assert {str(element.tag) for element in tree.iter()} <= PLAIN
    marked = ""
    for line in tree.xpath("//*[@data-at]"):
        at, content = int(line.get("data-at")), line.text_content()
        assert len(content) == len(text[at : at + len(content)])
        for ours, theirs in zip(content, text[at:], strict=False):
            assert ours in (theirs, "\ufffd")
            assert theirs not in "\r\n\f"
        marked += "".join(mark.text_content() for mark in line.findall(".//mark"))
    assert len(marked) == sum(c not in "\r\n\f" for c in text[start:end])


@settings(max_examples=60)
@given(NASTY, st.data())
def test_a_conversation_has_no_markup_of_its_documents(text: str, data: st.DataObject) -> None:
    text += "x"
    start = data.draw(st.integers(0, len(text) - 1))
    one = turn(text, start, len(text), follows=text, error=data.draw(st.none() | st.just(text)))
    html = markup.conversation([one], documents=1)
    allowed = PLAIN | {"article", "ul", "li", "blockquote", "q", "details", "summary", "h3", "code"}
    assert tags(html) <= allowed
    assert not lxml.html.fromstring(f"<div>{html}</div>").xpath("//@onerror | //@onclick")


@settings(max_examples=60)
@given(NASTY)
def test_markdown_has_no_markup_of_its_documents(text: str) -> None:
    from markdown_it import MarkdownIt

    told = as_markdown([turn(f"{text} said so", 0, len(text) + 5)])
    kinds = {token.type for token in MarkdownIt("commonmark", {"html": True}).parse(told)}
    inline = {
        child.type
        for token in MarkdownIt("commonmark", {"html": True}).parse(told)
        for child in token.children or []
    }
    assert not kinds & {"html_block", "fence", "code_block", "bullet_list_open", "table_open"}
    assert not inline & {"html_inline", "link_open", "image", "code_inline"}


def test_what_the_browser_keeps_comes_back_and_junk_does_not() -> None:
    one = turn("Ann came.", 0, 3)
    assert restored(kept([one])) == [one]
    for junk in (None, "x", 3, [1], [{"id": 1}], {"a": 1}, [{**kept([one])[0], "answers": "no"}]):
        assert restored(junk) == []
    bare = kept([one])
    bare[0]["answers"][0]["citations"] = []
    assert restored(bare) == []


def test_disagreeing_answers_stand_side_by_side() -> None:
    one = turn("Ann came. Ben came.", 0, 3)
    other = turn("Ann came. Ben came.", 10, 13)
    first, second = one.answers[0], other.answers[0]

    def shown(*against: int) -> str:
        answers = (
            Answer(first.text, 0.7, 1.0, SIGNALS, first.citations, against),
            Answer(second.text, 0.5, 0.5, SIGNALS, second.citations),
        )
        return markup.conversation(
            [turn("Ann came. Ben came.", 0, 3, answers=answers)], documents=1
        )

    assert "The documents disagree" in shown(1)
    assert "1 further answer" not in shown(1)
    assert "The documents disagree" not in shown()
    assert "1 further answer" in shown()


def test_a_long_document_is_shown_in_parts_around_the_place() -> None:
    text = "".join(f"Line {n}.\n" for n in range(100_000))
    start = text.index("Line 77777.")
    html = markup.source(document(text), markup.Place(start, start + 11))
    assert len(html) < 12_000_000
    assert '<mark id="cited">Line 77777.</mark>' in html
    assert "Earlier" in html
    assert "Later" in html


def test_export_says_whether_it_was_answered() -> None:
    told = export_json([turn("Ann came.", 0, 3), turn("Ann came.", 0, 3, threshold=0.9)])
    assert [each["answered"] for each in told["turns"]] == [True, False]


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.34), (0.35, 0.59), (0.6, 0.84), (0.85, 1.0)])
def test_words_for_confidence_change_where_they_should(low: float, high: float) -> None:
    assert in_words(low) == in_words(high)


def test_an_error_is_a_sentence_in_which_what_to_type_stands_out() -> None:
    shown = markup.trouble("no index here; make it with `citespan index <PATH>`")
    assert "<p>No index here; make it with <code>citespan index &lt;PATH&gt;</code>.</p>" in shown


def test_a_question_that_is_only_mentioned_is_cut_short() -> None:
    html = markup.conversation([turn("Ann came.", 0, 3, follows="why " * 1000)], documents=1)
    assert len(html) < 2000
    assert "…</q>" in html

"""What the page shows, as HTML. Every text that comes from outside goes through `escaped`."""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from corpus.database import DocumentSummary
from corpus.pdf_places import Box
from corpus.records import Document
from qa.conversation import NEAREST, Near, Turn, given, in_words
from qa.results import Answer, Citation

__all__ = [
    "Place",
    "adder",
    "conversation",
    "documents",
    "download",
    "escaped",
    "examples",
    "header",
    "source",
    "trouble",
]

_SIGN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069"
    "\ufeff\ud800-\udfff]"
)
"""Characters that steer or hide: shown by their number. Joiners, which Persian and emoji need, are
left alone."""
_TYPED = re.compile("`([^`]+)`")
_LINE = re.compile(r"[^\r\n\f]*(\r\n|[\r\n\f]|\Z)")
_WHOLE_CHARS = 300_000
"""Longer documents are shown in parts of this size: a browser lays out no more in good time."""
_RIVALS = 3
_SHORT_CHARS = 160
"""Of a question that is only mentioned."""
_KINDS = {
    "text": "Text",
    "markdown": "Markdown",
    "html": "Web page",
    "pdf": "PDF",
    "docx": "Word",
    "csv": "Table",
    "jsonl": "JSON lines",
}


def escaped(text: str) -> str:
    """The text for HTML: nothing in it is markup, and what would steer or hide is shown.

    One character of the text is one character of what is shown, so that a
    selection on the page can be told in offsets of the text.

    >>> escaped("<b>\u202e")
    '&lt;b&gt;<i class="sign" data-code="U+202E" title="RIGHT-TO-LEFT OVERRIDE">\ufffd</i>'
    """
    parts: list[str] = []
    at = 0
    for match in _SIGN.finditer(text):
        parts.append(html.escape(text[at : match.start()]))
        code = f"U+{ord(match[0]):04X}"
        name = html.escape(unicodedata.name(match[0], "control character"))
        parts.append(f'<i class="sign" data-code="{code}" title="{name}">\ufffd</i>')
        at = match.end()
    parts.append(html.escape(text[at:]))
    return "".join(parts)


def _attribute(text: str) -> str:
    """The text for an attribute or a title, where no sign can be shown."""
    return html.escape(_SIGN.sub("\ufffd", text))


def _said(sentence: str) -> str:
    """What an error says, as a sentence on the page: what is to be typed stands out."""
    told = _TYPED.sub(r"<code>\1</code>", escaped(sentence[:1].upper() + sentence[1:]))
    return told if told.endswith((".", "!", "?")) else f"{told}."


def _where(name: str, *places: str | None) -> str:
    """A file's name and places in it; only between them, and in the name, is a line broken."""
    return _apart([escaped(name), *(escaped(place) for place in places if place)])


def _apart(parts: Sequence[str]) -> str:
    first, *others = parts
    return first + "".join(f' · <span class="whole">{part}</span>' for part in others)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT_CHARS else text[: _SHORT_CHARS - 1] + "…"


def _button(act: str, label: str, kind: str = "quiet", **data: object) -> str:
    """A button that the page's script turns into an event; the label is HTML."""
    told = "".join(f' data-{name}="{_attribute(str(value))}"' for name, value in data.items())
    return f'<button type="button" class="{kind}" data-act="{act}"{told}>{label}</button>'


# The conversation


def conversation(
    turns: Sequence[Turn],
    *,
    documents: int,
    pending: str | None = None,
) -> str:
    """The whole conversation, or how to begin one.

    Args:
        turns: from the first.
        documents: how many there are to ask.
        pending: a question that is being asked now.
    """
    blocks = [_turn(turn, latest=turn is turns[-1] and not pending) for turn in turns]
    if pending is not None:
        blocks.append(
            f'<article class="turn pending" aria-busy="true"><h2>{escaped(pending)}</h2>'
            '<p class="reading"><span></span><span></span><span></span> Reading the documents</p>'
            "</article>"
        )
    if not blocks:
        return _beginning(documents)
    return "".join(blocks)


def _beginning(documents: int) -> str:
    if not documents:
        return (
            '<section class="beginning"><h1>No documents yet</h1>'
            "<p>Add some, and ask. Text, Markdown, web pages, PDF, Word, CSV and JSON lines are"
            " read, here on this machine.</p>"
            f"{_button('choose', 'Add documents', 'strong')}</section>"
        )
    return (
        '<section class="beginning"><h1>Ask your documents</h1><p>Every answer is a quote, with its'
        " place. Where the documents do not say, neither does this page.</p></section>"
    )


def examples(questions: Sequence[str]) -> str:
    """Questions to begin with; shown as long as none has been asked."""
    if not questions:
        return ""
    tried = "".join(
        f"<li>{_button('ask', escaped(question), 'example', question=question)}</li>"
        for question in questions
    )
    return f'<h2>Questions that these documents answer</h2><ul class="examples">{tried}</ul>'


def _turn(turn: Turn, *, latest: bool) -> str:
    asked = f"<h2>{escaped(turn.question)}</h2>{_understood(turn)}"
    if turn.error is not None:
        again = _button("again", "Ask again", turn=turn.id)
        body = f'<div class="trouble" role="alert"><p>{_said(turn.error)}</p>{again}</div>'
    elif turn.answered:
        body = _answers(turn) + _feedback(turn)
    else:
        body = _not_answered(turn) + _feedback(turn)
    mark = ' data-latest="true"' if latest else ""
    return f'<article class="turn" id="turn-{_attribute(turn.id)}"{mark}>{asked}{body}</article>'


def _understood(turn: Turn) -> str:
    if turn.follows is None:
        return ""
    return (
        '<p class="understood">Understood as a follow-up to'
        f" <q>{escaped(_shortened(turn.follows))}</q>"
        f" {_button('alone', 'Ask it alone', 'link', turn=turn.id)}</p>"
    )


def _answers(turn: Turn) -> str:
    shown = given(turn)
    sides = _sides(turn, shown)
    if len(sides) > 1:
        columns = "".join(f"<li>{_answer(turn, n)}</li>" for n in sides)
        first = (
            '<section class="disagreement"><h3>The documents disagree</h3>'
            f'<ul class="sides">{columns}</ul></section>'
        )
    else:
        sides = shown[:1]
        first = _answer(turn, sides[0])
    further = [n for n in shown if n not in sides]
    if not further:
        return first
    rest = "".join(f"<li>{_answer(turn, n)}</li>" for n in further)
    count = "1 further answer" if len(further) == 1 else f"{len(further)} further answers"
    return f'{first}<details class="further"><summary>{count}</summary><ul>{rest}</ul></details>'


def _sides(turn: Turn, shown: Sequence[int]) -> list[int]:
    """The best answer and those shown that contradict it."""
    against = set(turn.answers[shown[0]].disagrees_with)
    rivals = [n for n in shown[1:] if n in against or shown[0] in turn.answers[n].disagrees_with]
    return [shown[0], *rivals[: _RIVALS - 1]]


def _answer(turn: Turn, n: int) -> str:
    answer = turn.answers[n]
    places = "".join(
        f"<li>{_sentence(citation)}{_cite(turn, n, c)}</li>"
        for c, citation in enumerate(answer.citations)
    )
    return (
        f'<div class="answer"><blockquote class="quote">{escaped(answer.text)}</blockquote>'
        f'{_sureness(answer)}<ul class="places">{places}</ul></div>'
    )


def _sureness(answer: Answer) -> str:
    word = in_words(answer.confidence)
    return (
        f'<p class="sureness" data-word="{word}"><span class="dot" aria-hidden="true"></span>{word}'
        f' <span class="number">{answer.confidence:.0%}</span></p>'
    )


def _sentence(citation: Citation) -> str:
    at = citation.start - citation.sentence_start
    before, after = citation.sentence[:at], citation.sentence[at + len(citation.quote) :]
    return (
        f'<p class="sentence">{escaped(before)}<mark>{escaped(citation.quote)}</mark>'
        f"{escaped(after)}</p>"
    )


def _cite(turn: Turn, answer: int, number: int) -> str:
    citation = turn.citation(answer, number)
    date = dict(turn.dates).get(citation.document)
    where = _where(
        Path(citation.source).name,
        f"page {citation.page}" if citation.page is not None else None,
        f"line {citation.line}" if citation.line is not None else None,
        date,
    )
    label = (
        f'<span class="title">{escaped(citation.title)}</span><span class="where">{where}</span>'
    )
    return _button("open", label, "cite", turn=turn.id, answer=answer, citation=number)


def _not_answered(turn: Turn) -> str:
    nearest = "".join(
        f"<li>{_sentence(answer.citations[0])}{_cite(turn, n, 0)}</li>"
        for n, answer in enumerate(turn.answers[:NEAREST])
    ) or "".join(f"<li>{_near(near)}</li>" for near in turn.nearest)
    offered = (
        f'<h3>Nearest passages, which do not answer it</h3><ul class="nearest">{nearest}</ul>'
        if nearest
        else ""
    )
    return (
        '<div class="answer none"><p class="quote">The documents do not say.</p>'
        '<p class="why">Nothing in them is a sure enough answer to this question.</p>'
        f"{offered}</div>"
    )


def _near(near: Near) -> str:
    label = (
        f'<span class="title">{escaped(near.title)}</span>'
        f'<span class="where">{_where(Path(near.source).name)}</span>'
    )
    data = {"document": near.document, "start": near.start, "end": near.end}
    return f'<p class="sentence">{escaped(near.text)}</p>' + _button("show", label, "cite", **data)


def _feedback(turn: Turn) -> str:
    told = {
        "right": "Noted as right.",
        "marked": "Your words are noted as the right answer.",
        "unanswerable": "Noted: the documents do not say.",
        "wrong": "Noted as wrong. What is right? Open a source, select the words, and mark them.",
    }
    pressed = {name: str(turn.verdict == name).lower() for name in ("right", "wrong")}
    right = "Right" if turn.answered else "Right, they do not say"
    buttons = (
        f'<button type="button" class="quiet" aria-pressed="{pressed["right"]}" data-act="right"'
        f' data-turn="{_attribute(turn.id)}">{right}</button>'
        f'<button type="button" class="quiet" aria-pressed="{pressed["wrong"]}" data-act="wrong"'
        f' data-turn="{_attribute(turn.id)}">Wrong</button>'
    )
    if turn.verdict == "wrong" and turn.answered:
        buttons += _button("unanswerable", "The documents do not say", turn=turn.id)
    said = f'<span role="status">{told[turn.verdict]}</span>' if turn.verdict else ""
    return f'<div class="feedback"><span class="asked">Is this right?</span>{buttons}{said}</div>'


# The source


@dataclass(frozen=True, slots=True)
class Place:
    """What of a document is to be shown."""

    start: int
    """Half-open, in the document's text; nothing is marked where `start == end`."""
    end: int
    turn: Turn | None = None
    """The turn that cites it."""
    position: tuple[int, int] | None = None
    """Which of the turn's citations it is: of the answer, and in the answer."""
    image: bool = True
    """Whether to show a page as an image, where that can be done."""
    boxes: Sequence[Box] = ()
    """Where the words stand on their pages."""
    trouble: str | None = None
    """Why there are no images."""
    request: str = ""
    """Which of the page's requests this answers."""


def source(document: Document, place: Place) -> str:
    """The document with the place marked."""
    pages = sorted({box.page for box in place.boxes})
    as_image = place.image and bool(pages)
    body = _images(document, place, pages) if as_image else _text(document, place)
    turn = f' data-turn="{_attribute(place.turn.id)}"' if place.turn else ""
    asked = f' data-question="{_attribute(place.turn.question)}"' if place.turn else ""
    return (
        f'<section class="source" data-document="{document.id}"{turn}{asked}'
        f' data-request="{_attribute(place.request)}">'
        f"{_source_head(document, place, as_image)}{body}{_marker(place)}</section>"
    )


def _source_head(document: Document, place: Place, as_image: bool) -> str:
    marked = place.start < place.end
    page, line = document.page(place.start), document.line(place.start)
    where = _where(
        document.source.name,
        document.date,
        f"page {page}" if marked and page is not None else None,
        f"line {line}" if marked and line is not None else None,
        f"characters {place.start:,}–{place.end:,}" if marked else None,
    )
    views = ""
    if place.boxes or (document.page_starts and place.turn):
        views = _views(place, as_image)
    said = f'<p class="note">{escaped(place.trouble)}</p>' if place.trouble else ""
    steps = _stepper(place) + views
    ways = f'<div class="ways">{steps}</div>' if steps else ""
    close = _button("close", "Close", "quiet close")
    return (
        f'<header><div class="bar"><h2 title="{_attribute(document.title)}">'
        f"{escaped(document.title)}</h2>{close}</div>"
        f'<p class="where">{where}</p>{said}{ways}</header>'
    )


def _stepper(place: Place) -> str:
    """Previous and next of the turn's citations."""
    if place.turn is None or place.position is None:
        return ""
    positions = place.turn.citations
    if len(positions) < 2:
        return ""
    at = positions.index(place.position)
    steps = []
    for step, label, name in ((-1, "‹", "Previous citation"), (1, "›", "Next citation")):
        if 0 <= at + step < len(positions):
            answer, citation = positions[at + step]
            data = f'data-turn="{_attribute(place.turn.id)}" data-answer="{answer}"'
            steps.append(
                f'<button type="button" class="quiet step" data-act="open" {data}'
                f' data-citation="{citation}" data-step="{step}" aria-label="{name}"'
                f' title="{name}">{label}</button>'
            )
        else:
            steps.append(
                f'<button type="button" class="quiet step" disabled aria-label="{name}">{label}'
                "</button>"
            )
    return (
        f'<nav aria-label="Citations">{steps[0]}'
        f'<span><span class="long">Citation </span>{at + 1} of {len(positions)}</span>'
        f"{steps[1]}</nav>"
    )


def _views(place: Place, as_image: bool) -> str:
    if place.turn is None or place.position is None:
        return ""
    answer, citation = place.position
    buttons = []
    for view, label, on in (("page", "Page", as_image), ("text", "Text", not as_image)):
        buttons.append(
            f'<button type="button" class="quiet" data-act="open" aria-pressed="{str(on).lower()}"'
            f' data-turn="{_attribute(place.turn.id)}" data-answer="{answer}"'
            f' data-citation="{citation}" data-view="{view}">{label}</button>'
        )
    return f'<div class="views" role="group" aria-label="View">{"".join(buttons)}</div>'


def _images(document: Document, place: Place, pages: Sequence[int]) -> str:
    figures = []
    for page in pages:
        boxes = "".join(
            f'<span class="box" style="left:{100 * box.left:.3f}%;top:{100 * box.top:.3f}%;'
            f"width:{100 * (box.right - box.left):.3f}%;"
            f'height:{100 * (box.bottom - box.top):.3f}%"></span>'
            for box in place.boxes
            if box.page == page
        )
        figures.append(
            f'<figure><img src="/api/documents/{document.id}/pages/{page}"'
            f' alt="Page {page} of {_attribute(document.title)}, as an image">{boxes}</figure>'
        )
    return f'<div class="pages">{"".join(figures)}</div>'


def _text(document: Document, place: Place) -> str:
    """The text by lines, each with its offset, with the place marked."""
    low, high = _window(document.text, place)
    note = ""
    if high - low < len(document.text):
        note = f"<span>Characters {low:,} to {high:,} of {len(document.text):,}</span>"
        for at, label in ((low - 1, "Earlier"), (high, "Later")):
            if 0 <= at < len(document.text):
                note += _button("show", label, document=document.id, start=at, end=at)
        note = f'<div class="note parts">{note}</div>'
    tabular = document.kind in ("csv", "jsonl")
    lines = "".join(_lines(document, place, low, high))
    kind = "text tabular" if tabular else "text"
    return f'{note}<div class="{kind}" tabindex="0" aria-label="The text as indexed">{lines}</div>'


def _window(text: str, place: Place) -> tuple[int, int]:
    if len(text) <= _WHOLE_CHARS:
        return 0, len(text)
    middle = (place.start + place.end) // 2
    low = max(0, min(middle - _WHOLE_CHARS // 2, len(text) - _WHOLE_CHARS))
    return low, low + _WHOLE_CHARS


def _lines(document: Document, place: Place, low: int, high: int) -> Iterator[str]:
    text, at = document.text, low
    while at < high:
        match = _LINE.match(text, at, high)
        assert match is not None
        end = match.start(1)
        yield f'<p data-at="{at}">{_marked(text, at, end, place)}</p>'
        if match[1] == "\f":
            page = document.page(match.end())
            yield f'<div class="pagebreak" aria-hidden="true">page {page}</div>'
        if match.end() == at:
            return
        at = match.end()


def _marked(text: str, start: int, end: int, place: Place) -> str:
    """A line with what of the place is in it marked."""
    low, high = max(start, place.start), min(end, place.end)
    if low >= high:
        return escaped(text[start:end])
    target = ' id="cited"' if low == place.start else ""
    return (
        f"{escaped(text[start:low])}<mark{target}>{escaped(text[low:high])}</mark>"
        f"{escaped(text[high:end])}"
    )


def _marker(place: Place) -> str:
    """What appears when words are selected."""
    if place.turn is None:
        return ""
    return (
        '<div class="marker" hidden><span class="selected"></span>'
        f"{_button('mark', 'Mark as the right answer', 'strong', turn=place.turn.id)}</div>"
    )


# Documents, and the rest


def documents(summaries: Sequence[DocumentSummary], uploads: Path) -> str:
    """The list of documents, a row for each file."""
    if not summaries:
        return '<p class="note">There are none yet.</p>'
    rows = "".join(
        _file(list(group), uploads) for _, group in groupby(summaries, key=lambda s: s.source)
    )
    return f'<ul class="files">{rows}</ul>'


def adder() -> str:
    """The head of the list of documents, where some are added."""
    close = _button("close", "Close", "quiet close")
    return (
        '<header><div class="bar"><h2>Documents</h2>'
        '<label class="adder" for="files">Add documents<input id="files" type="file" multiple>'
        f'</label>{close}</div></header><ul id="arrivals" aria-live="polite"></ul>'
    )


def _file(rows: Sequence[DocumentSummary], uploads: Path) -> str:
    first = rows[0]
    passages = sum(row.passages for row in rows)
    kind = _KINDS.get(first.kind, first.kind)
    title = first.title if len(rows) == 1 else first.source.name
    indexed = datetime.fromtimestamp(max(row.indexed_at for row in rows))
    told = [
        kind,
        *([_count(first.pages, "page")] if first.pages is not None else []),
        *([_count(len(rows), "row")] if first.row is not None else []),
        _count(passages, "passage"),
        f'indexed <time datetime="{indexed.isoformat(timespec="seconds")}">'
        f"{indexed.strftime('%-d %b %Y, %H:%M')}</time>",
    ]
    own = first.source.is_relative_to(uploads)
    warning = (
        "The uploaded copy is deleted."
        if own
        else "The file itself stays where it is; to have it back, index it again by name."
    )
    label = (
        f'<span class="title">{escaped(title)}</span>'
        f'<span class="where" title="{_attribute(str(first.source))}">'
        f"{_where(first.source.name)}</span>"
    )
    return (
        f'<li data-document="{first.id}">'
        f"{_button('show', label, 'cite', document=first.id, start=0, end=0)}"
        f'<p class="told">{_apart(told)}</p>'
        f"{_button('doubt', 'Remove', 'quiet remove', document=first.id)}"
        f'<div class="confirm" hidden><p>Remove “{escaped(title)}”? {warning}</p>'
        f"{_button('remove', 'Remove', 'strong danger', document=first.id)}"
        f"{_button('keep', 'Keep', 'quiet')}</div></li>"
    )


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def header(documents: int, passages: int) -> str:
    """The bar at the top of the page."""
    count = f"{_count(documents, 'document')}, {_count(passages, 'passage')}"
    exports = "".join(
        _button("export", label, "plain", format=format_)
        for label, format_ in (("As Markdown", "md"), ("As JSON, to verify", "json"))
    )
    return (
        f'<header class="top"><p class="name">Citespan</p><p class="count">{count}</p>'
        f'<nav aria-label="Page">{_button("documents", f"Documents <b>{documents:,}</b>")}'
        f'<details class="menu"><summary>Export</summary><div>{exports}</div></details>'
        f"{_button('clear', 'New<span class=long> conversation</span>')}</nav></header>"
    )


def trouble(sentence: str) -> str:
    """A mistake or a fault, in a sentence."""
    close = _button("close", "Close", "quiet close")
    return (
        f'<section class="source"><header><div class="bar"><h2>That did not work</h2>{close}</div>'
        f'</header><div class="trouble" role="alert"><p>{_said(sentence)}</p></div></section>'
    )


def download(name: str, kind: str, encoded: str) -> str:
    """A link that the page's script follows at once.

    Args:
        name: of the file.
        kind: its media type.
        encoded: its bytes in base64.
    """
    return f'<a download="{_attribute(name)}" href="data:{kind};base64,{encoded}">download</a>'

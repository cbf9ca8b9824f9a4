"""The chat page: Gradio carries events between the browser and the library; `markup` draws."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio.to_thread
import gradio as gr
from fastapi import FastAPI
from fastapi.responses import FileResponse

from corpus.errors import CitespanError, InputError, LoadError, UnknownDocumentError
from corpus.log import event, failure
from corpus.page_view import places_of
from corpus.records import Document
from qa import feedback, markup
from qa.conversation import (
    Turn,
    as_markdown,
    export_json,
    failed,
    given,
    kept,
    replaced,
    restored,
    turn_of,
)
from qa.followup import Understood, understood
from qa.library import Library

__all__ = ["mount"]

_PAGE = Path(__file__).parent / "page"
_SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "sans-serif"]
_MONO = ["ui-monospace", "Menlo", "Consolas", "monospace"]
_STYLE = "/page.css"
_STORAGE = "citespan-conversation"
_SECRET = "citespan"  # noqa: S105 - the browser's own copy is kept from nobody
_PLACEHOLDER = "Ask a question"

Changed: TypeAlias = dict[Any, Any]
"""Components with what they now show."""
_Data: TypeAlias = Mapping[str, Any]
"""What a button on the page carries."""
_Act: TypeAlias = Callable[[list[Turn], _Data], AsyncIterator[Changed]]


def mount(app: FastAPI, library: Library) -> None:
    """Put the page at the root of the application, with all of Gradio's extras off."""

    @app.get(_STYLE, include_in_schema=False)
    async def style() -> FileResponse:
        # Served as it is: what is given to Gradio is rewritten, and loses rules.
        return FileResponse(_PAGE / "page.css", headers={"cache-control": "no-cache"})

    page = Page(library)
    gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        theme=_theme(),
        head=f'<meta name="robots" content="noindex"><link rel="stylesheet" href="{_STYLE}">',
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        max_file_size=0,
    )


def _theme() -> gr.themes.Base:
    """System fonts, so that none is fetched; paper and ink, with one green."""
    ink = gr.themes.Color(
        "#faf8f4", "#f3f0ea", "#e6e1d7", "#d8d2c6", "#b3ab9c", "#8a8375", "#6b655a", "#4c4840",
        "#34322d", "#23211d", "#191a1c", name="ink",
    )  # fmt: skip
    green = gr.themes.Color(
        "#eef6f3", "#d8ebe4", "#b4d7cb", "#8fc7b8", "#5fa593", "#3c8271", "#275d52", "#204d44",
        "#1a3e37", "#14302b", "#0d211e", name="green",
    )  # fmt: skip
    return gr.themes.Base(
        primary_hue=green, secondary_hue=green, neutral_hue=ink, font=_SANS, font_mono=_MONO
    ).set(
        body_background_fill="#faf8f4",
        body_background_fill_dark="#191a1c",
        body_text_color="#23211d",
        body_text_color_dark="#e9e5dc",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_shadow_dark="none",
        input_background_fill="#ffffff",
        input_background_fill_dark="#232427",
        button_primary_background_fill="#275d52",
        button_primary_background_fill_hover="#204d44",
        button_primary_background_fill_dark="#8fc7b8",
        button_primary_background_fill_hover_dark="#b4d7cb",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#14201d",
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that is to be asked now."""

    question: str
    understood: Understood
    instead_of: str | None = None
    """The id of the turn in whose place the new one comes."""


class Page:
    """The page's components and what happens on them. It holds nothing of any visitor."""

    def __init__(self, library: Library) -> None:
        self._library = library
        script = (_PAGE / "page.js").read_text(encoding="utf-8")
        with gr.Blocks(title="Citespan", analytics_enabled=False, fill_width=True) as self.blocks:
            self._kept = gr.BrowserState([], storage_key=_STORAGE, secret=_SECRET)
            self._header = _html("header")
            with gr.Row(elem_id="desk"):
                with gr.Column(elem_id="talk"):
                    # Its script is the whole page's, and `act` the event that it sends.
                    self._conversation = gr.HTML(
                        "", elem_id="conversation", js_on_load=script, apply_default_css=False
                    )
                    self._examples = _html("examples")
                    with gr.Row(elem_id="asking"):
                        self._question = gr.Textbox(
                            placeholder=_PLACEHOLDER,
                            label="Question",
                            show_label=False,
                            container=False,
                            lines=1,
                            max_lines=5,
                            max_length=10_000,
                            elem_id="question",
                            scale=1,
                        )
                        self._send = gr.Button("Ask", variant="primary", elem_id="ask", scale=0)
                with gr.Column(elem_id="aside"):
                    self._source = _html("source")
                    _html("adder", markup.adder())
                    self._documents = _html("documents")
            self._download = gr.HTML(
                "",
                elem_id="download",
                apply_default_css=False,
                js_on_load="watch('value', () => element.querySelector('a')?.click())",
            )
            self._listen()
        self.blocks.queue(default_concurrency_limit=None, api_open=False)

    def _listen(self) -> None:
        everything = [
            self._question,
            self._conversation,
            self._examples,
            self._kept,
            self._source,
            self._documents,
            self._header,
            self._download,
        ]
        options: dict[str, Any] = {
            "outputs": everything,
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_limit": None,
        }
        self.blocks.load(self._loaded, [self._kept], **options)
        # Whatever changes the conversation is one event, of which Gradio takes one at a time: each
        # gives back all the turns, and of two at once the second would undo the first.
        gr.on(
            [self._question.submit, self._send.click, self._conversation.submit],
            self._submitted,
            [self._question, self._kept],
            trigger_mode="once",
            **options,
        )
        self._conversation.look(self._acted, [self._kept], trigger_mode="multiple", **options)

    # Events. Each yields the components that change, with what they show then.

    async def _loaded(self, stored: Any) -> AsyncIterator[Changed]:
        """The page as it was left, or with examples."""
        async for changed in self._reported(self._begin(restored(stored))):
            yield changed

    async def _submitted(
        self, pressed: gr.EventData, question: str, stored: Any
    ) -> AsyncIterator[Changed]:
        """Do what a button on the page says; without one, ask what stands in the box."""
        doing = self._acted(pressed, stored) if pressed._data else self._asked(question, stored)
        async for changed in doing:
            yield changed

    async def _asked(self, question: str, stored: Any) -> AsyncIterator[Changed]:
        """Ask what stands in the box."""
        asking = self._ask(restored(stored), {"question": question})
        async for changed in self._reported(asking):
            yield changed

    async def _acted(self, pressed: gr.EventData, stored: Any) -> AsyncIterator[Changed]:
        """Do what a button on the page says."""
        acting = self._act(restored(stored), dict(pressed._data or {}))
        async for changed in self._reported(acting):
            yield changed

    async def _reported(self, changes: AsyncIterator[Changed]) -> AsyncIterator[Changed]:
        """The changes; where a bug ends them, the id by which the log has it."""
        try:
            async for changed in changes:
                yield changed
        except Exception as error:
            yield {self._source: markup.trouble(_bug(error))}

    async def _begin(self, turns: list[Turn]) -> AsyncIterator[Changed]:
        yield {**await self._library_now(), self._conversation: await self._talk(turns)}
        yield await self._beginnings()

    async def _act(self, turns: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        acts: Mapping[str, _Act] = {
            "ask": self._ask,
            "again": self._ask_again,
            "alone": self._ask_again,
            "open": self._open,
            "show": self._show,
            "right": self._judge,
            "wrong": self._judge,
            "unanswerable": self._judge,
            "mark": self._judge,
            "remove": self._remove,
            "refresh": self._refresh,
            "export": self._export,
            "clear": self._clear,
        }
        try:
            async for changed in acts[data["name"]](turns, data):
                yield changed
        except (CitespanError, KeyError, IndexError, ValueError, TypeError) as error:
            event("refused", act=data.get("name"), error=repr(error))
            yield {self._source: markup.trouble(_refusal(error))}

    async def _ask(self, turns: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        question = str(data["question"]).strip()
        if question:
            asked = _Asked(question, _in_context(question, turns))
            async for changed in self._ask_now(asked, turns):
                yield changed

    async def _ask_again(self, turns: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        """Ask a question once more, in its place; alone, where it was taken to follow another."""
        turn = _named(turns, data)
        before = [] if data["name"] == "alone" else turns[: turns.index(turn)]
        asked = _Asked(turn.question, _in_context(turn.question, before), turn.id)
        async for changed in self._ask_now(asked, turns):
            yield changed

    async def _open(self, turns: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        position = int(data["answer"]), int(data["citation"])
        turn = _named(turns, data)
        yield {self._source: await self._cited(turn, position, data)}

    async def _show(self, _: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        request = str(data.get("request", ""))
        place = markup.Place(int(data["start"]), int(data["end"]), request=request)
        yield {self._source: markup.source(await self._document(data["document"]), place)}

    async def _judge(self, turns: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        turn = _named(turns, data)
        yield await self._told(replaced(turns, await self._judged(turn, data["name"], data)))

    async def _remove(self, _: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        await self._library.remove(str(data["document"]), whole_file=True)
        yield {**await self._library_now(), self._source: ""}

    async def _refresh(self, turns: list[Turn], _: _Data) -> AsyncIterator[Changed]:
        yield await self._library_now()
        if not turns:
            yield {self._conversation: await self._talk(turns)}
        yield await self._beginnings()

    async def _export(self, turns: list[Turn], data: _Data) -> AsyncIterator[Changed]:
        yield {self._download: _exported(turns, str(data.get("format")))}

    async def _clear(self, _: list[Turn], __: _Data) -> AsyncIterator[Changed]:
        yield {self._kept: [], self._conversation: await self._talk([]), self._source: ""}

    async def _beginnings(self) -> Changed:
        """Examples, which take a while to find: by then a first question may have been asked."""
        return {self._examples: markup.examples(await self._library.examples())}

    async def _ask_now(self, asked: _Asked, turns: Sequence[Turn]) -> AsyncIterator[Changed]:
        """Show that the documents are read, then what they say, with its source opened."""
        if asked.instead_of is None:
            yield {
                self._question: "",
                self._conversation: await self._talk(turns, pending=asked.question),
            }
        turn = await self._answered(asked)
        if asked.instead_of is None:
            turns = [*turns, turn]
        else:
            turns = [turn if each.id == asked.instead_of else each for each in turns]
        changed = await self._told(turns)
        if turn.answered:
            try:
                changed[self._source] = await self._cited(turn, turn.citations[0], {})
            except CitespanError as error:
                changed[self._source] = markup.trouble(_refusal(error))
        yield changed

    async def _answered(self, asked: _Asked) -> Turn:
        meant = asked.understood
        try:
            result = await self._library.ask(meant.question, search_for=meant.topic)
            found = await self._still_there({hit.passage.document_id for hit in result.hits})
        except CitespanError as error:
            event("refused", act="ask", error=str(error))
            return failed(asked.question, error)
        except Exception as error:
            return failed(asked.question, CitespanError(_bug(error)))
        return turn_of(
            asked.question,
            result,
            titles={id_: (each.title, str(each.source)) for id_, each in found.items()},
            dates={id_: each.date for id_, each in found.items() if each.date},
            topic=meant.topic,
            follows=meant.follows,
        )

    async def _still_there(self, ids: Collection[str]) -> dict[str, Document]:
        """These documents by their ids, without those that were removed meanwhile."""
        found = {}
        for id_ in ids:
            with suppress(UnknownDocumentError):
                found[id_] = await self._document(id_)
        return found

    async def _cited(self, turn: Turn, position: tuple[int, int], data: _Data) -> str:
        """The source of one of the turn's citations, its place marked."""
        citation = turn.citation(*position)
        document = await self._document(citation.document)
        place = markup.Place(
            citation.start,
            citation.end,
            turn,
            position,
            image=data.get("view") != "text",
            request=str(data.get("request", "")),
        )
        if document.text[citation.start : citation.end] != citation.quote:
            changed = "It has changed since it was quoted: the quote no longer stands there."
            place = replace(place, end=citation.start, trouble=changed)
        elif document.kind == "pdf":
            try:
                boxes = await anyio.to_thread.run_sync(
                    places_of, document, citation.start, citation.end
                )
                place = replace(place, boxes=boxes)
            except LoadError as error:
                said = f"Its pages cannot be shown: the file {error}."
                place = replace(place, trouble=said)
        return markup.source(document, place)

    async def _judged(self, turn: Turn, act: str, data: _Data) -> Turn:
        """The turn with what the visitor says of it, which goes into the gold file."""
        folder = self._library.folder
        write = partial(feedback.keep, folder, turn.id, _standing_alone(turn))
        if act == "wrong":
            await anyio.to_thread.run_sync(feedback.forget, folder, turn.id)
            return replace(turn, verdict="wrong")
        if act == "mark":
            document = await self._document(str(data["document"]))
            start, end = feedback.gold_span(document, int(data["start"]), int(data["end"]))
            await anyio.to_thread.run_sync(write, [(document, start, end)], "marked")
            return replace(turn, verdict="marked")
        if act == "unanswerable" or not turn.answered:
            await anyio.to_thread.run_sync(write, [], "unanswerable")
            return replace(turn, verdict="right" if act == "right" else "unanswerable")
        best = turn.answers[given(turn)[0]]
        spans = [
            (await self._document(each.document), each.start, each.end) for each in best.citations
        ]
        if any(
            doc.text[start:end] != best.citations[n].quote
            for n, (doc, start, end) in enumerate(spans)
        ):
            raise InputError("the document has changed since it was quoted; ask again")
        await anyio.to_thread.run_sync(write, spans, "right")
        return replace(turn, verdict="right")

    async def _document(self, id_: str) -> Document:
        return await anyio.to_thread.run_sync(self._library.document, str(id_))

    async def _told(self, turns: Sequence[Turn]) -> Changed:
        return {self._kept: kept(turns), self._conversation: await self._talk(turns)}

    async def _talk(self, turns: Sequence[Turn], *, pending: str | None = None) -> str:
        documents = await anyio.to_thread.run_sync(self._library.documents)
        return markup.conversation(turns, documents=len(documents), pending=pending)

    async def _library_now(self) -> Changed:
        """What the page shows of the index."""
        summaries = await anyio.to_thread.run_sync(self._library.documents)
        passages = sum(summary.passages for summary in summaries)
        return {
            self._documents: markup.documents(summaries, self._library.uploads),
            self._header: markup.header(len({s.source for s in summaries}), passages),
        }


def _refusal(error: Exception) -> str:
    """Why what a button asked for was not done."""
    if isinstance(error, UnknownDocumentError):
        return "That document is no longer in the index."
    return str(error) if isinstance(error, CitespanError) else "That is no longer there."


def _bug(error: Exception) -> str:
    return f"This is a bug in Citespan; its log has it as {failure(error)}."


def _html(name: str, value: str = "") -> gr.HTML:
    return gr.HTML(value, elem_id=name, js_on_load=None, apply_default_css=False)


def _standing_alone(turn: Turn) -> str:
    """The turn's question with what it follows: a gold question is read without the others."""
    return turn.topic or turn.question


def _named(turns: Sequence[Turn], data: _Data) -> Turn:
    for turn in turns:
        if turn.id == data["turn"]:
            return turn
    raise InputError("that question is no longer in this conversation")


def _in_context(question: str, turns: Sequence[Turn]) -> Understood:
    """The question after the turns before it."""
    last = next((turn for turn in reversed(turns) if turn.error is None), None)
    return understood(question, last.topic if last else None)


def _exported(turns: Sequence[Turn], format_: str) -> str:
    if format_ == "json":
        text = json.dumps(export_json(turns), ensure_ascii=False, indent=1)
        name, kind = "citespan-conversation.json", "application/json"
    else:
        text, name, kind = as_markdown(turns), "citespan-conversation.md", "text/markdown"
    return markup.download(name, kind, base64.b64encode(text.encode("utf-8")).decode("ascii"))

"""The chat page in a real browser."""

import json
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from conftest import citespan, python
from serving import Server, chromium, copied, serving
from states import HOSTILE, TOKEN, TWICE
from visiting import WAIT, Visitor, browsing

from qa.verify import read_citations, verify


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


@pytest.fixture(scope="module")
def server(sample_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = copied(sample_index, tmp_path_factory.mktemp("page") / "index")
    with serving(folder) as running:
        yield running


OPENED = "() => document.querySelector('#source section')?.dataset.request"
"""Whether the source shows what was clicked, and not what an answer opened by itself."""


@pytest.fixture
def visitor(browser: Any, server: Server) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    somebody = Visitor(context, server)
    yield somebody.enter()
    context.close()
    assert somebody.requested
    assert somebody.elsewhere == []
    assert somebody.faults == []


def gold(server: Server) -> list[Any]:
    path = server.folder / "feedback.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_ask_cite_and_open_the_source(visitor: Visitor) -> None:
    turn = visitor.ask("How many defectors went public?")
    assert turn.locator(".quote").first.inner_text() == "58"
    assert re.search(r"very likely\s+\d\d%", turn.locator(".sureness").first.inner_text())
    assert turn.locator(".sentence mark").first.inner_text() == "58"
    assert "defectors-icsr-report.txt · line 3" in turn.locator(".cite").first.inner_text()

    turn.locator(".cite").first.click()
    cited = visitor.page.locator("#source #cited")
    cited.wait_for()
    assert cited.inner_text() == "58"
    shown = visitor.page.evaluate("document.querySelector('#source .text').innerText")
    assert "Whether ministers will agree" in shown  # The whole document is there.
    visitor.page.wait_for_function(
        """() => { const box = document.querySelector('#cited').getBoundingClientRect();
                   return box.top > 0 && box.bottom < innerHeight; }"""
    )


def test_the_cited_words_are_scrolled_into_view(visitor: Visitor, server: Server) -> None:
    filler = "\n\n".join(f"Paragraph {n} says nothing of note." for n in range(400))
    text = f"{filler}\n\nThe lighthouse of Ymer was built by Runa Dahl.\n\n{filler}"
    server.upload(("lighthouse.txt", text.encode()))
    visitor.ask("Who built the lighthouse of Ymer?")
    visitor.page.wait_for_selector("#source #cited")
    visitor.page.wait_for_function(
        """() => { const box = document.querySelector('#cited').getBoundingClientRect();
                   return document.querySelector('#aside').scrollTop > 2000
                       && box.top > 80 && box.bottom < innerHeight; }"""
    )


def test_next_and_previous_citation(visitor: Visitor) -> None:
    visitor.ask(TWICE)
    page = visitor.page
    page.wait_for_selector("#source nav")
    first = page.inner_text("#source header")
    page.keyboard.press("Tab")
    page.locator("#source .step").last.click()
    page.wait_for_function("() => document.querySelector('#source nav').innerText.includes('2 of')")
    assert page.inner_text("#source header") != first
    page.locator("#source .step").first.click()
    page.wait_for_function("() => document.querySelector('#source nav').innerText.includes('1 of')")
    assert page.inner_text("#source header") == first


def test_pdf_pages_have_the_words_boxed(visitor: Visitor, server: Server) -> None:
    question = "Who carried out the security review?"
    citation = server.ask(question)["answers"][0]["citations"][0]
    assert citation["source"].endswith(".pdf")
    visitor.ask(question)
    box = visitor.page.wait_for_selector("#source .box")
    visitor.page.wait_for_function(
        "() => document.querySelector('#source img')?.naturalWidth > 500"
    )
    # The box lies where an independent reader finds the words.
    import pypdf

    heights: list[float] = []

    def note(text: str, outer: list[float], inner: list[float], *_: Any) -> None:
        if citation["quote"] in text:
            heights.append(outer[5] + inner[5])

    page = pypdf.PdfReader(citation["source"]).pages[citation["page"] - 1]
    page.extract_text(visitor_text=note)
    height = float(page.mediabox.height)
    image, boxed = visitor.page.query_selector("#source img").bounding_box(), box.bounding_box()
    down = (boxed["y"] + boxed["height"] - image["y"]) / image["height"]
    assert abs(down - (1 - heights[0] / height)) < 0.02

    visitor.page.get_by_role("button", name="Text", exact=True).click()
    visitor.page.wait_for_selector("#source #cited")
    assert visitor.page.inner_text("#cited").split() == citation["quote"].split()


def test_follow_up_is_said_and_can_be_undone(visitor: Visitor) -> None:
    visitor.ask("When was the Ardvik Observatory founded?")
    turn = visitor.ask("Who is its director?")
    assert "Understood as a follow-up to" in turn.inner_text()
    assert "When was the Ardvik Observatory founded?" in turn.inner_text()
    assert turn.locator(".quote").first.inner_text() == "Solveig Nuorti"
    turn.get_by_role("button", name="Ask it alone").click()
    visitor.page.wait_for_function(
        "() => !document.querySelector('.turn:last-child').innerText.includes('Understood')"
    )
    assert visitor.page.locator(".turn").count() == 2
    # What stands alone is not taken for a follow-up.
    assert "Understood" not in visitor.ask("Who directs the ICSR?").inner_text()


def test_when_the_documents_do_not_say(visitor: Visitor) -> None:
    turn = visitor.ask("What colour is the moon of Xanthos?")
    assert "The documents do not say." in turn.inner_text()
    assert turn.locator(".nearest .cite").count() >= 1
    turn.locator(".nearest .cite").first.click()
    visitor.page.wait_for_selector("#source #cited, #source .box")


def test_examples_come_from_the_index_and_answer(visitor: Visitor) -> None:
    example = visitor.page.wait_for_selector(".example")
    example.click()
    visitor.page.wait_for_selector(".turn:not(.pending) .quote")
    assert "The documents do not say" not in visitor.page.inner_text(".turn")


def test_upload_ask_and_remove(visitor: Visitor, server: Server, tmp_path: Path) -> None:
    good, bad = tmp_path / "harbour of Ost.txt", tmp_path / "picture.txt"
    good.write_text("The harbour of Ost was opened by Bo Anders in 1911.")
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    page = visitor.page
    page.get_by_role("button", name=re.compile("^Documents")).click()
    page.set_input_files("#files", [good, bad])
    page.wait_for_selector('#arrivals [data-outcome="added"]')
    failed = page.wait_for_selector('#arrivals [data-outcome="failed"]').inner_text()
    assert "picture.txt" in failed
    assert "PNG image" in failed
    assert not (server.folder / "uploads" / "picture.txt").exists()
    row = page.locator(".files li", has_text="harbour of Ost.txt")
    row.wait_for()
    assert re.search(r"Text · 1 passage · indexed \d", row.inner_text())
    assert "Bo Anders" in visitor.ask("Who opened the harbour of Ost?").inner_text()

    page.get_by_role("button", name=re.compile("^Documents")).click()
    row.get_by_role("button", name="Remove").click()
    assert "The uploaded copy is deleted" in row.inner_text()
    row.get_by_role("button", name="Keep").click()
    assert row.get_by_role("button", name="Remove").count() == 1
    row.get_by_role("button", name="Remove").click()
    row.locator(".confirm").get_by_role("button", name="Remove").click()
    row.wait_for(state="detached")
    assert not (server.folder / "uploads" / good.name).exists()
    # The browser itself notes that an upload was refused.
    visitor.faults = [fault for fault in visitor.faults if "409" not in fault]
    # What cited it says that it is gone.
    page.locator(".turn .cite").first.click()
    page.wait_for_selector("#source .trouble")
    assert "no longer in the index" in page.inner_text("#source .trouble")


def test_feedback_becomes_gold(visitor: Visitor, server: Server) -> None:
    turn = visitor.ask("How many defectors went public?")
    turn.get_by_role("button", name="Right").click()
    turn.get_by_text("Noted as right").wait_for()
    row = gold(server)[-1]
    assert (row["question"], row["answers"]) == ("How many defectors went public?", ["58"])
    text = server.request(f"/api/documents/{row['spans'][0]['document']}")[2]["text"]
    assert [text[span["start"] : span["end"]] for span in row["spans"]] == ["58"] * len(
        row["spans"]
    )

    # Second thoughts take the place of the first.
    turn.get_by_role("button", name="Wrong").click()
    turn.get_by_text("What is right?").wait_for()
    assert row["id"] not in [kept["id"] for kept in gold(server)]
    turn.locator(".cite").first.click()
    visitor.page.wait_for_function(OPENED)
    visitor.select("Seventeen of the 58")
    visitor.page.get_by_role("button", name="Mark as the right answer").click()
    turn.get_by_text("Your words are noted").wait_for()
    row = next(kept for kept in gold(server) if kept["id"] == row["id"])
    assert row["answers"] == ["Seventeen of the 58"]
    (span,) = row["spans"]
    assert text[span["start"] : span["end"]] == "Seventeen of the 58"

    turn = visitor.ask("What colour is the moon of Xanthos?")
    turn.get_by_role("button", name="Right, they do not say").click()
    turn.get_by_text("Noted as right").wait_for()
    assert gold(server)[-1]["answers"] == []


def test_marked_words_are_told_in_code_points(visitor: Visitor, server: Server) -> None:
    text = "\ufeffThe \U0001f40b keeper \U0001f1f8\U0001f1ea of Ulm\u202e was \x07 e\u0301"
    text += "mile Ravn.\r\n"
    document = server.upload(("points.txt", text.encode()))[2]["documents"][0]
    turn = visitor.ask("Who was the keeper of Ulm?")
    turn.locator(".cite", has_text="points.txt").first.click()
    visitor.page.wait_for_function(OPENED)
    assert visitor.page.locator(f'#source section[data-document="{document["id"]}"]').count()
    visitor.select("mile Ravn")
    visitor.page.get_by_role("button", name="Mark as the right answer").click()
    turn.get_by_text("Your words are noted").wait_for()
    assert gold(server)[-1]["answers"] == ["mile Ravn"]


def test_export_as_markdown_and_as_json_that_verifies(visitor: Visitor, tmp_path: Path) -> None:
    visitor.ask("How many defectors went public?")
    visitor.ask("When was the Ardvik Observatory founded?")
    markdown = visitor.download("As Markdown")
    assert "## How many defectors went public?" in markdown
    assert "**58**" in markdown
    saved = tmp_path / "conversation.json"
    saved.write_text(visitor.download("As JSON"), encoding="utf-8")
    report = verify(read_citations(saved))
    assert set(report["counts"]) == {"unchanged"}
    assert report["counts"]["unchanged"] >= 2
    assert citespan("verify", saved).returncode == 0


def test_the_conversation_survives_a_reload(visitor: Visitor) -> None:
    visitor.ask("How many defectors went public?")
    visitor.reload()
    visitor.page.wait_for_selector(".turn")
    assert visitor.page.inner_text(".turn .quote") == "58"
    visitor.page.locator(".turn .cite").first.click()
    visitor.page.wait_for_selector("#source #cited")
    visitor.page.get_by_role("button", name="New").click()
    visitor.page.wait_for_selector(".beginning")
    visitor.reload()
    visitor.page.wait_for_selector(".beginning")
    assert visitor.page.locator(".turn").count() == 0


def test_two_visitors_at_once_share_nothing_but_the_index(
    browser: Any, server: Server, visitor: Visitor
) -> None:
    context = browser.new_context()
    other = Visitor(context, server).enter()
    visitor.page.fill("#question textarea", "How many defectors went public?")
    other.page.fill("#question textarea", "When was the Grauwen Dam completed?")
    visitor.page.keyboard.press("Enter")
    other.page.keyboard.press("Enter")
    for somebody, own, others in ((visitor, "58", "1961"), (other, "1961", "58")):
        somebody.page.wait_for_selector(".turn:not(.pending) .quote")
        talk = somebody.page.inner_text("#conversation")
        assert own in talk
        assert others not in talk.split("characters")[0].splitlines()
        assert somebody.page.locator(".turn").count() == 1
    other.reload()
    other.page.wait_for_selector(".turn")
    assert "defectors" not in other.page.inner_text("#conversation")
    context.close()


def test_a_hostile_document_is_only_text(visitor: Visitor, server: Server) -> None:
    added = server.upload(("<img src=x onerror=alert(1)>.md", HOSTILE.encode()))[2]
    page = visitor.page
    visitor.reload()
    page.wait_for_selector(".beginning")
    for question in ("Who opened the hostile harbour?", "Who is the hostile keeper?"):
        visitor.ask(question)
        page.wait_for_selector("#source .text")
    shown = page.evaluate("document.querySelector('#source .text').textContent")
    assert "<script>document.title='owned'</script>" in shown
    assert "[a link](javascript:" in shown
    assert "\u202e" not in page.content()
    signs = page.locator("#source .sign").evaluate_all("all => all.map(one => one.dataset.code)")
    assert {"U+202E", "U+202C", "U+0007"} <= set(signs)
    page.mouse.move(400, 300)
    for selector in ("#conversation", "#source", "#documents"):
        made = page.locator(f"{selector} :is(script, img[src='x'], b, a, [onerror], [onmouseover])")
        assert made.count() == 0, selector
    assert page.title() == "Citespan"
    markdown = visitor.download("As Markdown")
    assert "<script>" not in markdown
    assert "](javascript" not in markdown
    server.request(f"/api/documents/{added['documents'][0]['id']}", method="DELETE")


def test_another_sites_page_adds_and_reads_nothing(
    browser: Any, server: Server, tmp_path: Path
) -> None:
    elsewhere = HTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    )
    threading.Thread(target=elsewhere.serve_forever).start()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{elsewhere.server_port}/")
    documents = f"{server.url}/api/documents"
    page.evaluate(
        """url => {
            const form = new FormData();
            form.append("files", new File(["Nobody asked for this."], "planted.txt"));
            return fetch(url, { method: "POST", mode: "no-cors", body: form }).catch(() => {});
        }""",
        documents,
    )
    read = "url => fetch(url).then((reply) => reply.text(), () => 'nothing')"
    assert page.evaluate(read, documents) == "nothing"
    assert not list((server.folder / "uploads").glob("planted*"))
    context.close()
    elsewhere.shutdown()
    elsewhere.server_close()


def test_while_one_question_is_asked_nothing_else_changes_the_conversation(
    visitor: Visitor, server: Server
) -> None:
    page, before = visitor.page, gold(server)
    page.wait_for_selector(".example")
    visitor.ask("How many defectors went public?")
    held: list[Any] = []

    def hold(reply: Any) -> None:
        held.append(reply)

    page.route("**/gradio_api/queue/data*", hold)
    page.fill("#question textarea", "When was the Grauwen Dam completed?")
    with page.expect_request("**/gradio_api/queue/data*"):
        page.keyboard.press("Enter")
    for act in ("ask", "right", "clear"):
        page.evaluate(f"document.querySelector('[data-act={act}]').click()")
    page.wait_for_timeout(500)
    for reply in held:
        reply.continue_()
    page.unroute_all()
    page.wait_for_function("() => document.querySelectorAll('.turn:not(.pending)').length > 1")
    for again in (False, True):
        if again:
            visitor.reload()
            page.wait_for_selector(".turn")
        assert page.locator(".turn .quote").all_inner_texts() == ["58", "1961"]
        assert page.locator("[aria-pressed=true]").count() == 0
    assert gold(server) == before
    page.locator("[data-act=right]").first.click()
    page.get_by_text("Noted as right").wait_for()
    assert len(gold(server)) == len(before) + 1


GONE = """
import asyncio, json, sys
from pathlib import Path
from corpus.errors import UnknownDocumentError
from qa.library import Library
from qa.ui import Page

def gone(library, id_):
    raise UnknownDocumentError(id_)

async def shown(question):
    told = {}
    async for changed in page._asked(question, []):
        told |= changed
    return told[page._kept], told[page._conversation], told.get(page._source, "")

async def main():
    print(json.dumps([await shown(question) for question in sys.argv[2:]]))

Library.document = gone
page = Page(Library(Path(sys.argv[1])))
asyncio.run(main())
"""
"""Asks when all documents have been removed since they were read."""


def test_an_answer_outlives_the_document_that_it_is_from(sample_index: Path) -> None:
    questions = ["How many defectors went public?", "What colour is the moon of Xanthos?"]
    done = python(GONE, str(sample_index), *questions)
    assert done.returncode == 0, done.stderr
    answered, unanswered = json.loads(done.stdout)
    for (turn,), talk, _ in (answered, unanswered):
        assert turn["error"] is None
        assert "pending" not in talk
    assert '<blockquote class="quote">58</blockquote>' in answered[1]
    assert "no longer in the index" in answered[2]
    assert "The documents do not say." in unanswered[1]


def test_an_inline_handler_never_runs(visitor: Visitor) -> None:
    """Even if an escape were missing: the policy forbids it. The control shows that it could."""
    visitor.page.evaluate(
        """() => { const div = document.createElement('div');
                   div.innerHTML = '<img src="data:," onerror="document.title=`owned`">';
                   document.body.append(div); }"""
    )
    visitor.page.wait_for_timeout(500)
    assert visitor.page.title() == "Citespan"
    assert any("Content Security Policy" in fault for fault in visitor.faults)
    visitor.faults.clear()


def test_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.page
    page.locator("body").press("/")
    page.keyboard.type(TWICE)
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn:not(.pending) .cite")
    page.locator(".turn .cite").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#source #cited")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#source nav').innerText.includes('2 of')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#documents .files")


def test_on_a_narrow_screen_the_source_is_a_sheet(browser: Any, server: Server) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 800}, has_touch=True)
    visitor = Visitor(context, server).enter()
    page = visitor.page
    visitor.ask("Who carried out the security review?")
    assert not page.locator("#aside").is_visible()
    assert page.locator("#ask").bounding_box()["y"] < 800
    page.locator(".turn .cite").first.tap()
    page.wait_for_selector("#source .box")
    page.get_by_role("button", name="Close").first.tap()
    page.wait_for_selector("#aside", state="hidden")
    page.get_by_role("button", name=re.compile("^Documents")).tap()
    page.wait_for_selector(".files li")
    assert page.locator(".files li").first.is_visible()
    context.close()


def test_a_server_that_is_gone_is_said_and_waited_for(
    browser: Any, sample_index: Path, tmp_path: Path
) -> None:
    folder = copied(sample_index, tmp_path / "index")
    context = browser.new_context()
    with serving(folder) as server:
        visitor = Visitor(context, server).enter()
        page = visitor.page
        page.wait_for_selector(".example")
        visitor.ask("How many defectors went public?")
    page.fill("#question textarea", "Who directs the ICSR?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lost")
    assert "The server does not answer" in page.inner_text(".lost")
    assert not page.locator(".toast-wrap").is_visible()
    with serving(folder, "--port", server.url.rsplit(":")[-1]):
        page.wait_for_selector(".lost", state="detached")
        page.wait_for_selector(".turn .quote")
        assert page.inner_text(".turn .quote") == "58"
        assert page.input_value("#question textarea") == "Who directs the ICSR?"
        page.locator("#ask").click()
        page.wait_for_function("() => document.querySelectorAll('.turn:not(.pending)').length == 2")
        context.close()


def test_the_token_is_given_once_and_kept_from_scripts(
    browser: Any, sample_index: Path, tmp_path: Path
) -> None:
    folder = copied(sample_index, tmp_path / "index")
    with serving(folder, CITESPAN_TOKEN=TOKEN) as locked:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto(locked.url)
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        assert context.cookies() == []
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".beginning")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in cookie["value"]
        assert "citespan" not in page.evaluate("document.cookie")
        page.reload()
        page.wait_for_selector(".beginning")
        context.close()


def test_chromium_is_asked_for_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        chromium()

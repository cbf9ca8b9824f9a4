"""Somebody at the page: a real browser before a real server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving import Server, chromium

WAIT = 60_000
"""Milliseconds; the machine may be busy."""


@contextmanager
def browsing() -> Iterator[Any]:
    """A running browser."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


class Visitor:
    """Somebody at the page, and what the page asked of the network."""

    def __init__(self, context: Any, server: Server) -> None:
        self.context = context
        self.server = server
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.requested: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.faults.append(said.text) if said.type == "error" else None,
        )

    def enter(self) -> "Visitor":
        self.page.goto(self.server.url)
        self.page.wait_for_selector(".beginning, .turn")
        self.page.wait_for_selector(".top", state="attached")
        return self

    def reload(self) -> None:
        """Load the page again; that this cuts off what was still coming is no fault."""
        self.page.reload()
        cut_off = ("AbortError", "Connection errored out")
        self.faults = [fault for fault in self.faults if not any(map(fault.__contains__, cut_off))]

    @property
    def elsewhere(self) -> list[str]:
        """What was asked for that is not this server's."""
        own = (f"{self.server.url}/", "data:", "blob:")
        return [url for url in self.requested if not url.startswith(own)]

    def ask(self, question: str) -> Any:
        """The turn that the question becomes."""
        done = self.page.locator(".turn:not(.pending)")
        before = done.count()
        self.page.fill("#question textarea", question)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function(
            "n => document.querySelectorAll('.turn:not(.pending)').length > n"
            " && !document.querySelector('.turn.pending')",
            arg=before,
        )
        return done.last

    def select(self, words: str) -> None:
        """Select these words in the source's text, as with the mouse."""
        self.page.evaluate(
            """words => {
                const walker = document.createTreeWalker(
                    document.querySelector('#source .text'), NodeFilter.SHOW_TEXT);
                while (walker.nextNode()) {
                    const at = walker.currentNode.data.indexOf(words);
                    if (at < 0) continue;
                    const range = document.createRange();
                    range.setStart(walker.currentNode, at);
                    range.setEnd(walker.currentNode, at + words.length);
                    getSelection().removeAllRanges();
                    getSelection().addRange(range);
                    return;
                }
                throw new Error('not in the text: ' + words);
            }""",
            words,
        )

    def download(self, label: str) -> str:
        self.page.get_by_text("Export", exact=True).click()
        with self.page.expect_download() as arriving:
            self.page.get_by_role("button", name=label).click()
        return Path(arriving.value.path()).read_text(encoding="utf-8")

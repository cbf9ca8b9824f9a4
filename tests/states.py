"""The page in each of its states: for laws that hold in all of them, and for pictures of them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import load
from serving import Server, copied, serving
from visiting import Visitor

TOKEN = "correct-horse-battery"
SIZES = {1280: 800, 400: 800}
"""Widths of the window with their heights: a laptop, and a phone."""
SCHEMES = ("light", "dark")
TWICE = "Who is the director of the Ardvik Observatory?"
"""Two documents answer it alike."""
HOSTILE = """\
The hostile harbour was opened by <script>document.title='owned'</script> Bo Anders in 1911.

<img src=x onerror="document.title='owned'"> [a link](javascript:document.title='owned')
stands in the hostile harbour, which \u202ereversed\u202c its \x07 name.
The hostile keeper is <b onmouseover=document.title='owned'>Ulf Berg</b> of ${document.title}.
"""
_TITLE = (
    "Minutes of the two hundred and fourteenth ordinary meeting of the joint committee for the "
    "maintenance of harbour walls, groynes, Küstenschutzbauwerksunterhaltungsangelegenheiten, "
    "slipways and other works between Ulm and Vard, held at the customs house"
)
_FILES = (
    ("<img src=x onerror=alert(1)>.md", HOSTILE),
    (
        "minutes_of_the_joint_committee_for_the_maintenance_of_harbour_walls_and_slipways.md",
        f"# {_TITLE}\n\nThe slipway at Vard was closed by Inge Solberg after the storm.\n",
    ),
    (
        "moorings.csv",
        "mooring,owner,length,remarks\n"
        "Kvitholm 7,Torvald Ek,14.2 m,renewed each spring with the consent of both neighbours\n"
        "Kvitholm 8,Sanna Lind,9.6 m,\n",
    ),
)
"""What visitors brought before, besides the sample."""


@dataclass(frozen=True)
class Servers:
    """Where the page is shown."""

    sample: Server
    empty: Server
    """Over an index without documents."""
    locked: Server
    """It asks for a token."""


@contextmanager
def servers(sample_index: Path, folder: Path) -> Iterator[Servers]:
    """All of them, over indexes in this folder."""
    with ExitStack() as stack:
        index = copied(sample_index, folder / "index")
        running = Servers(
            stack.enter_context(serving(index)),
            stack.enter_context(serving(folder / "empty")),
            stack.enter_context(serving(folder / "locked", CITESPAN_TOKEN=TOKEN)),
        )
        files = [(name, text.encode()) for name, text in _FILES]
        assert running.sample.upload(*files)[0] == 201
        yield running


@dataclass(frozen=True)
class State:
    """One of the page's states, and how somebody comes there."""

    name: str
    reach: Callable[[Visitor], object]
    where: str = "sample"
    """Which of the servers."""


@contextmanager
def shown(browser: Any, state: State, running: Servers, width: int) -> Iterator[Visitor]:
    """Somebody who sees the page in this state, in a window of this width."""
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]}, reduced_motion="reduce"
    )
    visitor = Visitor(context, getattr(running, state.where))
    state.reach(visitor)
    yield visitor
    context.close()


def lit(visitor: Visitor, scheme: str) -> None:
    """The page in a light or a dark room."""
    visitor.page.emulate_media(color_scheme=scheme)
    dark = str(scheme == "dark").lower()
    visitor.page.wait_for_function(
        f"() => !document.querySelector('.gradio-container')"
        f" || document.body.classList.contains('dark') === {dark}"
    )
    visitor.page.evaluate(
        """() => Promise.all(document.getAnimations()
            .filter(one => one.effect.getComputedTiming().iterations < Infinity)
            .map(one => one.finished))"""
    )


def _start(visitor: Visitor) -> None:
    visitor.enter().page.wait_for_selector(".example")


def _asking(*questions: str) -> Callable[[Visitor], Any]:
    """Ask these; the last one's turn comes back."""

    def reach(visitor: Visitor) -> Any:
        visitor.enter()
        return [visitor.ask(question) for question in questions][-1]

    return reach


def _citing(question: str, words: str = ".cite") -> Callable[[Visitor], Any]:
    """Ask, and open the source of the first citation."""

    def reach(visitor: Visitor) -> Any:
        turn = _asking(question)(visitor)
        turn.locator(words).first.click()
        visitor.page.wait_for_function(
            "() => document.querySelector('#source section')?.dataset.request"
        )
        return turn

    return reach


_answered = _asking("How many defectors went public?")
_sourced = _citing("How many defectors went public?")


def _loading(visitor: Visitor) -> None:
    # Others are before it in the queue.
    visitor.enter()
    threading.Thread(target=load, args=[visitor.server.url, 60, 2]).start()
    visitor.page.wait_for_timeout(500)
    visitor.page.fill("#question textarea", "How many defectors went public?")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector(".turn.pending")


def _boxed(visitor: Visitor) -> None:
    _citing("Who carried out the security review?")(visitor)
    visitor.page.wait_for_selector("#source .box")
    visitor.page.wait_for_function(
        "() => document.querySelector('#source img')?.naturalWidth > 500"
    )


def _further(visitor: Visitor) -> None:
    question = "What does a second guard at night cost?"
    _asking(question)(visitor).locator(".further summary").click()


def _at_documents(visitor: Visitor) -> None:
    visitor.enter().page.locator("[data-act=documents]").click()
    visitor.page.wait_for_selector(".files li")


def _uploading(visitor: Visitor) -> None:
    _at_documents(visitor)
    page = visitor.page
    line = visitor.context.new_cdp_session(page)
    line.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 40_000},
    )
    files = [
        {"name": "photograph of the harbour.txt", "buffer": b"\x89PNG\r\n\x1a\n"},
        {"name": "broken.pdf", "buffer": b"%PDF-1.7 nothing of the kind"},
        {"name": "Vard.txt", "buffer": b"The harbour of Vard was opened by Ida Quist in 1912."},
        {"name": "a year of weather reports.txt", "buffer": b"\x89PNG\r\n\x1a\n" + bytes(600_000)},
    ]
    page.set_input_files("#files", [{**each, "mimeType": "text/plain"} for each in files])
    page.wait_for_selector('#arrivals [data-outcome="added"]')
    page.locator('#arrivals [data-outcome="failed"]').nth(1).wait_for()
    page.locator("#arrivals li:not([data-outcome])", has_text="%").wait_for()


def _removing(visitor: Visitor) -> None:
    _at_documents(visitor)
    visitor.page.locator(".files .remove").first.click()


def _judged(label: str) -> Callable[[Visitor], None]:
    def reach(visitor: Visitor) -> None:
        turn = _answered(visitor)
        turn.get_by_role("button", name=label).click()
        turn.locator(".feedback [role=status]").wait_for()

    return reach


def _marking(visitor: Visitor) -> None:
    _sourced(visitor)
    visitor.select("Seventeen of the 58")
    visitor.page.wait_for_selector(".marker:not([hidden])")


def _exporting(visitor: Visitor) -> None:
    _answered(visitor)
    visitor.page.get_by_text("Export", exact=True).click()


def _gone(visitor: Visitor) -> None:
    _answered(visitor)
    visitor.page.route("**/*", lambda route: route.abort())
    visitor.page.fill("#question textarea", "Who directs the ICSR?")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_timeout(3000)


def _token(visitor: Visitor) -> None:
    visitor.page.goto(visitor.server.url)


def _wrong_token(visitor: Visitor) -> None:
    _token(visitor)
    visitor.page.fill("#token", "wrong")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("[role=alert]")


def _focused(visitor: Visitor) -> None:
    # By keyboard, since only then is it shown.
    _answered(visitor)
    for _ in range(40):
        visitor.page.keyboard.press("Shift+Tab")
        if visitor.page.evaluate("document.activeElement.matches('.cite')"):
            return
    raise AssertionError("no citation can be reached by keyboard")


STATES = (
    State("start", _start),
    State("loading", _loading),
    State("answered", _answered),
    State("source", _sourced),
    State("pdf", _boxed),
    State("table", _citing("Who owns mooring Kvitholm 7?")),
    State("further", _further),
    State("twice", _asking(TWICE)),
    State("disagreeing", _asking("On what date will the comet be nearest to Earth?")),
    State("nothing", _asking("What colour is the moon of Xanthos?")),
    State("following", _asking("When was the Ardvik Observatory founded?", "Who is its director?")),
    State("documents", _at_documents),
    State("uploading", _uploading),
    State("removing", _removing),
    State("right", _judged("Right")),
    State("wrong", _judged("Wrong")),
    State("marking", _marking),
    State("export", _exporting),
    State("gone", _gone),
    State("token", _token, "locked"),
    State("wrong-token", _wrong_token, "locked"),
    State("hostile", _citing("Who opened the hostile harbour?")),
    State("empty", lambda visitor: visitor.enter(), "empty"),
    State("empty-asked", _asking("Who opened the harbour?"), "empty"),
    State("long-question", _asking("Who closed the slipway at Vard after the storm, " * 30 + "?")),
    State("long-title", _citing("Who closed the slipway at Vard after the storm?")),
    State("focus", _focused),
    State("reference", lambda visitor: visitor.page.goto(f"{visitor.server.url}/docs")),
)

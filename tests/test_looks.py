"""Laws of how the page looks, in each of its states, narrow and wide, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from states import SCHEMES, SIZES, STATES, Servers, State, lit, servers, shown
from visiting import browsing

READABLE, LARGE = 4.5, 3.0
"""How far text must stand out from its ground (WCAG 2.2, level AA), and large text."""
TOUCHABLE = 24
"""How many pixels high and wide what is pressed must be, at the least (WCAG 2.2, 2.5.8)."""
LOOKS = """
const visible = (element) => element.getBoundingClientRect().width > 1
    && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
const typed = (element) => element.matches("input, textarea") ? element.value : "";
const name = (element) => `${element.tagName.toLowerCase()}.${element.className} `
    + JSON.stringify((typed(element) || element.textContent).trim().slice(0, 40));
const every = (selector = "body *") => [...document.querySelectorAll(selector)].filter(visible);
const rgba = (color) => {
    const parts = color.match(/^rgba?\\(([^)]+)\\)$/)[1].split(/[ ,/]+/).map(Number);
    return parts.length === 4 ? parts : [...parts, 1];
};
const over = ([r, g, b, a], ground) => [r, g, b].map((part, n) => part * a + ground[n] * (1 - a));
const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
        layers.push(rgba(getComputedStyle(each).backgroundColor));
        if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const light = (color) => {
    const [r, g, b] = color.map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (color, below) => {
    const [low, high] = [light(over(rgba(color), below)), light(below)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
};
const faded = (element) =>
    element !== null && (getComputedStyle(element).opacity < 1 || faded(element.parentElement));
"""
TOO_WIDE = """() => {
    const found = [];
    for (const each of every()) {
        const style = getComputedStyle(each), box = each.getBoundingClientRect();
        // An ellipsis says that it leaves something out.
        const told = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none";
        if (box.right > innerWidth + 1 || box.left < -1)
            found.push(`beyond the edge: ${name(each)}`);
        if (style.overflowX !== "visible" && !told && each.scrollWidth > each.clientWidth + 1)
            found.push(`wider than its place: ${name(each)}`);
    }
    if (document.documentElement.scrollWidth > innerWidth) found.push("the whole page");
    return found;
}"""
FAINT = """([readable, large]) => {
    const found = [];
    const judge = (element, pseudo, text) => {
        const style = getComputedStyle(element, pseudo);
        const size = parseFloat(style.fontSize);
        if (!text.trim() || !size || element.closest(":disabled")) return;
        if (faded(element)) found.push(`faded: ${name(element)}`);
        const bold = Number(style.fontWeight) >= 700;
        const least = size >= 24 || (bold && size >= 18.66) ? large : readable;
        const ratio = contrast(style.color, ground(element));
        if (ratio < least) found.push(`${ratio.toFixed(2)}: ${pseudo} ${name(element)}`);
    };
    for (const each of every()) {
        const own = [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
        judge(each, "", own.map((node) => node.data).join(""));
        if (typed(each)) judge(each, "", typed(each));
        else if (each.placeholder) judge(each, "::placeholder", each.placeholder);
        for (const pseudo of ["::before", "::after"]) {
            const { content } = getComputedStyle(each, pseudo);
            if (content.startsWith('"')) judge(each, pseudo, content.slice(1, -1));
        }
    }
    return found;
}"""
SMALL = """(least) => every("button, summary, .adder, a[href]:not(p a), input:not([type=file])")
    .filter((each) => !each.matches(".link"))
    .filter((each) => {
        const { width, height } = each.getBoundingClientRect();
        return Math.min(width, height) < least;
    })
    .map(name)
"""
NAMELESS = """() => every("button, summary, input, textarea, img, progress")
    .filter((each) => !(each.getAttribute("aria-label") || each.alt || each.textContent.trim()
                        || each.labels?.length))
    .map(name)
"""
FIRST = {"answered", "disagreeing", "documents", "hostile", "nothing", "pdf", "start", "token"}
"""The short run of the tests looks at these, on a narrow screen; the others are in the long one."""
FOCUS = """() => {
    const on = document.activeElement;
    if (on === document.body) return null;
    const shown = on.matches("#files") ? on.closest(".adder") : on;
    const style = getComputedStyle(shown);
    const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
    const stands = width ? contrast(style.outlineColor, ground(shown.parentElement)) : 0;
    return { name: name(shown), shown: visible(shown), width, stands };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


@pytest.fixture(scope="module")
def running(sample_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(sample_index, tmp_path_factory.mktemp("looks")) as all_of_them:
        yield all_of_them


def looked(page: Any, law: str, *arguments: Any) -> Any:
    """What breaks the law on the page."""
    return page.evaluate(f"(given) => {{ {LOOKS} return ({law})(given); }}", *arguments)


@pytest.mark.parametrize(
    ("state", "width"),
    [
        pytest.param(
            state,
            width,
            id=f"{state.name}-{width}",
            marks=() if state.name in FIRST and width == 400 else pytest.mark.long,
        )
        for state in STATES
        for width in SIZES
    ],
)
def test_every_state_can_be_read_and_used(
    browser: Any, running: Servers, state: State, width: int
) -> None:
    with shown(browser, state, running, width) as visitor:
        broken = {
            "too wide": looked(visitor.page, TOO_WIDE),
            "too small to touch": looked(visitor.page, SMALL, TOUCHABLE),
            "without a name": looked(visitor.page, NAMELESS),
        }
        for scheme in SCHEMES:
            lit(visitor, scheme)
            broken[f"too faint, {scheme}"] = looked(visitor.page, FAINT, [READABLE, LARGE])
        assert {law: found for law, found in broken.items() if found} == {}
        assert visitor.elsewhere == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_focus_is_seen_wherever_it_is(browser: Any, running: Servers, scheme: str) -> None:
    (state,) = (state for state in STATES if state.name == "twice")
    with shown(browser, state, running, 1280) as visitor:
        lit(visitor, scheme)
        stops = []
        for _ in range(40):
            visitor.page.keyboard.press("Tab")
            stop = looked(visitor.page, FOCUS)
            if stop is not None:
                stops.append(stop)
        # From the bar at the top to the source, and round again.
        assert len({stop["name"] for stop in stops}) > 8
        assert [s for s in stops if not s["shown"] or s["width"] < 1 or s["stands"] < 3] == []


def test_the_laws_find_what_they_are_for(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.set_content(
        """<body style="background: #191a1c"><p style="color: #555">dim</p>
        <p style="color: #fff; opacity: .5">faded</p><p style="color: #fff; width: 500px">wide</p>
        <div style="overflow: hidden; width: 50px; color: #fff">Küstenschutzbauwerk</div>
        <button style="height: 9px"></button>"""
    )
    assert len(looked(page, FAINT, [READABLE, LARGE])) == 2
    assert [each.split(":")[0] for each in looked(page, TOO_WIDE)] == [
        "beyond the edge",
        "wider than its place",
        "the whole page",
    ]
    assert len(looked(page, SMALL, TOUCHABLE)) == len(looked(page, NAMELESS)) == 1
    page.close()

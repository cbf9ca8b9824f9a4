"""The page stands alone, shows what was measured, and runs nothing that documents hold."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from test_eval import SETTINGS, WRONG, outcome

from eval.bench.table import write_into
from eval.bench.workshop import Measure
from eval.charts import curve, reliability_diagram
from eval.compare import compare
from eval.report import render
from eval.run import Excerpt, Outcome
from eval.summary import Run, run_json

HOSTILE = '</script><img src="https://evil.example/x" onerror="alert(1)"> <b>"&\u2028'


def hostile(n: int, **fields: Any) -> Outcome:
    text = f"Emoji 👩‍🚀 before {HOSTILE} and after."
    start = text.index("</script>")
    shown = Excerpt(HOSTILE, 3, None, 0, text, start, start + 9)
    return outcome(
        id=f"{n}{HOSTILE}", cluster=f"d{n}", question=f"Who {HOSTILE}", best=HOSTILE,
        golds=(HOSTILE,), tags=(HOSTILE,), kind=HOSTILE, answer_shown=shown, gold_shown=shown,
        **fields,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Run:
    settings = {**SETTINGS, "gold": HOSTILE, "index": HOSTILE, "generation": 1, "encoder": "e",
                "reader": "r", "dense_weight": 0.5, "threshold": 0.3}  # fmt: skip
    outcomes = [
        *(hostile(n, confidence=n / 10) for n in range(6)),
        *(hostile(n, em=0.0, f1=0.0, cause="wrong span") for n in range(6, 9)),
    ]
    return run_json(outcomes, settings)


def data(page: str) -> Any:
    tree = lxml.html.document_fromstring(page)
    (element,) = tree.xpath("//script[@id='data']")
    return json.loads(element.text)


def test_documents_cannot_break_out(run: Run) -> None:
    page = render(run, {"with": HOSTILE, **compare(run, run)})
    tree = lxml.html.document_fromstring(page)
    assert len(tree.xpath("//script")) == 2
    assert not tree.xpath("//img | //iframe | //object | //embed | //base")
    assert [question["id"] for question in data(page)] == [q["id"] for q in run["questions"]]
    assert data(page)[0]["answer_shown"]["text"] == run["questions"][0]["answer_shown"]["text"]


def test_nothing_is_fetched(run: Run) -> None:
    page = render(run)
    tree = lxml.html.document_fromstring(page)
    for name in ("src", "href", "action", "data", "poster", "srcset"):
        for value in tree.xpath(f"//@{name}"):
            assert value.startswith("#") or value == "data:,", value
    style = "".join(tree.xpath("//style/text()"))
    assert not re.search(r"url\(|@import", style)
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert "default-src 'none'" in policy


def test_what_was_measured_is_shown(run: Run) -> None:
    page = render(run)
    tree = lxml.html.document_fromstring(page)
    rows = {
        row.xpath("string(th)").strip(): [cell.text_content().strip() for cell in row.xpath("td")]
        for row in tree.xpath("//tr[@class='figure']")
    }
    assert set(rows) == set(run["summary"])
    figure = run["summary"]["f1"]
    assert rows["f1"][:2] == [
        f"{figure['value']:.1f}", f"{figure['low']:.1f} – {figure['high']:.1f}",
    ]  # fmt: skip
    bars = {
        item.xpath("string(button)"): int(item.xpath("string(span)"))
        for item in tree.xpath("//ul[@class='bars']/li")
    }
    assert bars == run["causes"]
    assert len(tree.xpath("//svg[@role='img'][string-length(@aria-label) > 20]")) == 3
    assert tree.get("lang") == "en"
    for label in tree.xpath("//input | //select"):
        assert label.getparent().tag == "label"
    assert all(th.get("scope") for th in tree.xpath("//th"))


def test_a_run_of_search_alone_has_a_page() -> None:
    outcomes = [
        outcome(id=str(n), cluster=str(n), golds=(), best="", read=False, seconds=0.1,
                relevant_ranks=(1,), n_relevant=2)
        for n in range(3)
    ]  # fmt: skip
    page = render(run_json(outcomes, SETTINGS))
    assert "ndcg@10" in page
    assert "share of the relevant documents" in page
    assert "passage" not in lxml.html.document_fromstring(page).xpath("string(//main)")
    assert "whole documents" not in page
    assert "Reliability" not in page
    assert "How well" in render(run_json([outcome()], SETTINGS))
    assert "How well" in render(run_json([outcome(**WRONG)], {**SETTINGS, "reader_only": True}))


def test_charts_put_things_where_they_belong() -> None:
    svg = lxml.html.fromstring(reliability_diagram([(4, 0.5, 1.0)], "told"))
    (dot,) = svg.xpath("//circle")
    assert (float(dot.get("cx")), float(dot.get("cy"))) == (198.0, 12.0)
    svg = lxml.html.fromstring(
        curve([(0, 0), (1, 0.4)], 'a "b"', x_label="x", y_label="<y>", x_ticks=[(1, 9)], top=0.4)
    )
    assert svg.get("aria-label") == 'a "b"'
    assert svg.xpath("//polyline/@points") == ["46.0,240.0 350.0,12.0"]


PEERS = {"Haystack": 2.0, "sentence-transformers + transformers": 3.0}


@pytest.mark.parametrize(
    ("target", "times", "peers", "met"),
    [
        (None, "", PEERS, None),
        (5.0, "", {}, True),
        (15.0, "≥ 2 × each", PEERS, False),
        (5.0, "≥ 2 × each", PEERS, True),
        (5.0, "≥ 2.5 × each", PEERS, False),
        (5.0, "≥ 2.5 × sentence-transformers", PEERS, True),
        (5.0, "≥ 2.5 × Haystack", PEERS, False),
        (5.0, "≥ 2.5 × Haystack", {}, None),
        (15.0, "≥ 2.5 × Haystack", {}, False),
    ],
)
def test_the_bench_calls_met_what_meets_both_halves_of_its_target(
    tmp_path: Path, target: float | None, times: str, peers: dict[str, float], met: bool | None
) -> None:
    # What was no peer but a yardstick does not count.
    ratios = {"imports": 0.5, **peers}
    measure = Measure("x", "a thing", "/s", 10.0, target, True, times, ratios, peers)
    assert measure.met is met
    told = {"processor": "p", "cores": 2, "load": 0.5}
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench: made by `make bench` --><!-- end of bench -->")
    shown = asdict(measure) | {"met": measure.met}
    write_into(readme, {"machine": told, "peers": peers, "measures": [shown], "growth": []})
    assert ("**10 /s**" in readme.read_text()) is (met is True)

"""The whole path with any characters: index any text, ask anything, print it anywhere.

What is a control character is decided here by Unicode's own tables, and not by
the list in `qa.render`.
"""

import csv
import html
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY_RECIPE, ToyEncoder
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import qa.verify
from corpus.sandbox import Sandbox
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import follow
from embeddings.search import Search
from qa.calibration import Calibration
from qa.cli import app
from qa.pipeline import Pipeline
from qa.reader import Reader
from qa.render import as_json, as_text
from qa.results import Result
from qa.settings import model_pair
from qa.verify import read_citations, verify

STEERING = ["Cc", "Cs", "Zl", "Zp"]
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = {"\u061c", "\u200e", "\u200f"}
OURS = re.compile("\033\\[(?:1|2|1;7|0)m")
"""What colours the terminal."""

NASTY = st.sampled_from(
    ["\x1b[2J", "\x9b31m", "\x1b]0;owned\x07", "\u202e", "\u2066", "\u2028", "\x85", "U.S\xa0.",
     "\x00", "\r", "\f", "\ufeff", "\u200f", "e\u0301", "\U0001f468\u200d\U0001f469", "\u05e9",
     "\ud800", "\udfff", "\U0010ffff", "\u3000", "58", "Ada Moreau", ". ", "\n\n", "| ", "# ",
     "\u0130", "\ufb03", "\u1e9e", "\U000e0041"]
)  # fmt: skip
WORDS = st.lists(
    st.one_of(NASTY, st.text(st.characters(), max_size=12), st.just(" ")), max_size=25
).map("".join)
LEAD = "The keeper of the harbour was Ada Moreau. "
KINDS = [".txt", ".md", ".csv", ".jsonl", ".html", ".unknown"]
CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


def steers(text: str) -> list[str]:
    """The characters that would move a terminal's cursor, or turn the text around."""
    return [
        character
        for character in text
        if character != "\n"
        and (
            unicodedata.category(character) in STEERING
            or unicodedata.bidirectional(character) in TURNING
            or character in MARKS
        )
    ]


def file_of(kind: str, text: str, codec: str) -> bytes:
    """A file of the kind that holds the text, as another program would write it."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if kind == ".jsonl":
        return json.dumps({"title": text, "text": LEAD + text}).encode()
    if kind == ".csv":
        stream = io.StringIO()
        csv.writer(stream).writerows([["name", text or "x"], ["1", LEAD + text]])
        return stream.getvalue().encode(codec)
    if kind == ".html":
        return f"<!doctype html><title>{html.escape(text)}</title><p>{LEAD}{text}</p>".encode()
    return (LEAD + text).encode(codec)


def name_of(text: str, kind: str) -> str:
    """A file name made of the text."""
    kept = re.sub(r"[/\0\ud800-\udfff]", "", text).encode()[:80].decode("utf-8", "ignore")
    return f"a{kept}{kind}"


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """A worker that outlives a run, since starting it would take most of its time."""
    with Sandbox(workers=1) as lasting, pytest.MonkeyPatch.context() as patch:
        for module in (follow, qa.verify):
            patch.setattr(module, "Sandbox", lambda **_: nullcontext(lasting))
        yield


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS, WORDS, st.sampled_from(KINDS), st.sampled_from(CODECS))
@example("It left the U.S\xa0. Army.", "Who kept it?", ".txt", "utf-8")
@example("\x1b]0;owned\x07\u202e\x9b2J", "\x1b[31m\ud800 Who?", ".jsonl", "utf-8")
def test_any_text_any_question_every_citation_verifies(
    workers: None,
    tmp_path: Path,
    tokenizer: Any,
    reader_model: Any,
    text: str,
    question: str,
    kind: str,
    codec: str,
) -> None:
    work = tmp_path / "work"
    shutil.rmtree(work, ignore_errors=True)
    docs = work / "docs"
    docs.mkdir(parents=True)
    (docs / name_of(text, kind)).write_bytes(file_of(kind, text, codec))
    (docs / "plain.txt").write_text("A plain sentence stands here.", encoding="utf-8")
    encoder = ToyEncoder(tokenizer)
    with Writer.open(work / "index", lambda: TOY_RECIPE) as writer:
        changes = follow.update(writer, [docs], encoder, max_bytes=2**20)
    assert len(changes.added) + len(changes.failed) == 2
    reader = Reader(reader_model)
    calibration = Calibration.load(model_pair("bundled").reader.folder / "calibration.json")
    with Snapshot.open(work / "index") as snapshot:
        pipeline = Pipeline(snapshot, Search.open(snapshot, encoder), reader, calibration)
        result = pipeline.ask(f"Who? {question}", min_confidence=0.0)
    check(result, work)
    for command in (["list"], ["show", "plain.txt"], ["verify", str(work / "answer.json")]):
        index = ["--index", str(work / "index")] if command[0] != "verify" else []
        said = CliRunner().invoke(app, [*command, *index])
        assert steers(said.output) == [], command


def check(result: Result, work: Path) -> None:
    printed = json.dumps(as_json(result), ensure_ascii=False, allow_nan=False)
    assert json.loads(printed.encode("utf-8")) == json.loads(json.dumps(as_json(result)))
    for colour in (False, True):
        said = as_text(result, colour=colour)
        assert steers(OURS.sub("", said) if colour else said) == []
        said.encode("utf-8")
    saved = work / "answer.json"
    saved.write_text(printed, encoding="utf-8")
    citations = read_citations(saved) if result.answers else []
    assert len(citations) == sum(len(answer.citations) for answer in result.answers)
    if citations:
        report = verify(citations)
        assert report["counts"] == {"unchanged": len(citations)}


def test_what_steers_is_told_from_what_does_not() -> None:
    assert steers("caf\u00e9 \U0001f468\u200d\U0001f469 \u05e9\u05dc\u05d5\u05dd\n") == []
    assert steers("a\x1b\x9b\u202e\u2028\ud800\t") == ["\x1b", "\x9b", "\u202e", "\u2028", "\ud800",
                                                        "\t"]  # fmt: skip

"""The command line's contract: keys, streams, exit codes, and errors that teach."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import citespan, python

from qa.indexing import SAMPLE

QUESTION = "How many defectors went public?"
HEAVY = {"torch", "transformers", "faiss", "onnxruntime", "gradio", "sentence_transformers"}
CITATION_KEYS = [
    "document", "title", "source", "sha256", "start", "end", "page", "line", "quote",
    "sentence", "sentence_start", "passage",
]  # fmt: skip


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("defectors-icsr-report.txt", "orsell-flood-dam-release.txt"):
        shutil.copy(SAMPLE / name, folder)
    return folder


def ok(*arguments: str | Path, code: int = 0, **options: Any) -> str:
    done = citespan(*arguments, **options)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    return done.stdout


def error(*arguments: str | Path, **options: Any) -> str:
    """The one line that says what is wrong."""
    done = citespan(*arguments, **options)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_index_and_ask(tmp_path: Path, docs: Path) -> None:
    report = json.loads(ok("index", docs, "--json", cwd=tmp_path))
    assert list(report) == [
        "added", "changed", "removed", "unchanged", "failed", "skipped", "documents",
        "passages", "embedded", "seconds", "generation",
    ]  # fmt: skip
    assert report["added"] == sorted(str(path) for path in docs.iterdir())
    assert report["documents"] == 2
    assert report["embedded"] == report["passages"] > 5
    assert (tmp_path / ".citespan").is_dir()

    result = json.loads(ok("ask", QUESTION, "--json", cwd=tmp_path))
    assert list(result) == [
        "question", "answered", "threshold", "disagreement", "answers", "passages", "seconds",
        "index",
    ]  # fmt: skip
    assert (result["answered"], result["disagreement"]) == (True, False)
    answer = result["answers"][0]
    assert list(answer) == ["text", "confidence", "disagrees_with", "citations"]
    assert list(answer["citations"][0]) == CITATION_KEYS
    assert list(result["passages"][0]) == [
        "id", "document", "start", "end", "text", "score", "rank",
    ]  # fmt: skip
    assert list(result["seconds"]) == ["search", "read", "total"]
    assert list(result["index"]) == ["generation", "encoder", "reader"]
    assert answer["text"] == answer["citations"][0]["quote"] == "58"

    text = ok("ask", QUESTION, cwd=tmp_path)
    assert text.startswith("58  (confidence")
    assert "[58] defectors" in text
    assert "defectors-icsr-report.txt, line 3, characters" in text

    saved = tmp_path / "answer.json"
    saved.write_text(json.dumps(result))
    assert "unchanged" in ok("verify", saved)
    path = docs / "defectors-icsr-report.txt"
    path.write_text(path.read_text().replace("58", "61"))
    done = citespan("verify", saved, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["citations"][0]["status"] == "changed"


def test_no_answer_is_exit_code_3(sample_index: Path) -> None:
    arguments = ("ask", QUESTION, "--index", sample_index, "--min-confidence", "1")
    text = ok(*arguments, code=3)
    assert text.startswith("The documents do not say.\n\nNearest, below the threshold of 1.00:")
    result = json.loads(ok(*arguments, "--json", code=3))
    assert result["answered"] is False
    assert result["answers"][0]["text"] == "58"


def test_questions_from_stdin(sample_index: Path) -> None:
    lines = f"\ufeff{QUESTION}\n\n   \nWho directs the ICSR?".encode() + b" \xff\n"
    command = [Path(sys.executable).parent / "citespan", "ask", "-", "--index", sample_index]
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, input=lines, capture_output=True, env=env, check=True)
    out = done.stdout.decode().splitlines()
    answers = [json.loads(line) for line in out]
    assert [next(iter(answer)) for answer in answers] == ["question", "error", "error", "question"]
    assert answers[0]["answers"][0]["text"] == "58"
    assert "blank" in answers[1]["error"]


def test_docs_and_sample_have_an_index_of_their_own(tmp_path: Path, docs: Path) -> None:
    result = json.loads(ok("ask", QUESTION, "--docs", docs, "--json", cwd=tmp_path))
    assert result["answers"][0]["text"] == "58"
    (docs / "orsell-flood-dam-release.txt").unlink()
    (docs / "new.txt").write_text("The Harbour Prize went to Ida Lund in 1987.")
    question = "Who won the Harbour Prize?"
    result = json.loads(ok("ask", question, "--docs", docs, "--json", cwd=tmp_path))
    assert result["answers"][0]["text"] == "Ida Lund"
    assert not (tmp_path / ".citespan").exists()


def test_documents_that_cannot_be_read_are_no_silence(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    message = error("ask", QUESTION, "--docs", tmp_path / "scan.pdf", cwd=tmp_path)
    assert "scan.pdf: is a damaged PDF file" in message
    done = citespan("index", "scan.pdf", cwd=tmp_path)
    assert done.returncode == 1
    assert "Error: 1 of the files could not be read, such as" in done.stderr


def test_a_relative_model_folder_is_found_from_anywhere(
    tmp_path: Path, docs: Path, own_models: Path
) -> None:
    index = tmp_path / "index"
    ok("index", docs, "--index", index, "--models", own_models.name, cwd=own_models.parent)
    assert "58" in ok("ask", QUESTION, "--index", index, cwd=docs)


def test_index_folder_from_the_environment(tmp_path: Path, docs: Path) -> None:
    env = {**os.environ, "CITESPAN_INDEX": str(tmp_path / "elsewhere")}
    ok("index", docs, cwd=tmp_path, env=env)
    assert (tmp_path / "elsewhere" / "index.sqlite").exists()
    assert len(json.loads(ok("list", "--json", cwd=tmp_path, env=env))) == 2


def test_what_is_named_beside_the_sample_needs_an_index(docs: Path) -> None:
    assert "say with --index where all go" in error("index", docs, "--sample")


def test_list_and_show(sample_index: Path) -> None:
    listed = json.loads(ok("list", "--json", "--index", sample_index))
    assert len(listed) == 24
    assert list(listed[0]) == [
        "id",
        "title",
        "source",
        "row",
        "type",
        "date",
        "pages",
        "passages",
        "indexed_at",
    ]
    assert ok("list", "--index", sample_index).count("\n") == 1 + 24
    path = SAMPLE / "comet-ardvik-observatory.txt"
    for name in ("comet-ardvik-observatory.txt", "sample/comet-ardvik-observatory.txt", path):
        shown = subprocess.run(
            [Path(sys.executable).parent / "citespan", "show", name, "--index", sample_index],
            capture_output=True,
        )
        assert shown.stdout == path.read_bytes()
    assert "no document 'nothing'" in error("show", "nothing", "--index", sample_index)


# Three errors that people meet.


def test_no_index_yet(tmp_path: Path) -> None:
    message = error("ask", QUESTION, cwd=tmp_path)
    assert message == (
        "Error: no index at .citespan; make one with `citespan index PATH`"
        " (or name another with --index DIR)\n"
    )


def test_an_unreadable_file_among_good_ones(tmp_path: Path, docs: Path) -> None:
    (docs / "scan.pdf").write_bytes(b"%PDF-1.7 ...")
    (docs / "broken.txt").write_bytes(b"\xff\xfe\x00\xd8")
    done = citespan("index", docs, cwd=tmp_path)
    assert done.returncode == 0
    assert "scan.pdf: is a damaged PDF file" in done.stderr
    assert "broken.txt: starts like utf-16-le but is not" in done.stderr
    assert "2 added" in done.stdout
    assert "58" in ok("ask", QUESTION, cwd=tmp_path)
    strict = citespan("index", docs, "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert "Error: 2 of the files could not be read, such as" in strict.stderr


def test_an_index_made_with_another_model(docs: Path, sample_index: Path, own_models: Path) -> None:
    for command in (
        ("ask", QUESTION, "--index", sample_index, "--models", own_models),
        ("index", docs, "--index", sample_index, "--models", own_models),
    ):
        message = error(*command)
        assert "was made with the reader citespan reader (weights" in message
        assert "--index DIR" in message
    assert len(json.loads(ok("list", "--json", "--index", sample_index))) == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index",), "has no roots yet"),
        (("index", "nowhere"), "nowhere does not exist"),
        (("ask", " ", "--sample"), "the question is blank"),
        (("ask", "Who?", "--sample", "--models", "tiny"), "expected bundled, balanced"),
        (("verify", "nowhere.json"), "cannot be read"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: Any, message: str) -> None:
    assert message in error(*arguments, cwd=tmp_path)


def test_a_lost_root_is_an_error(tmp_path: Path, docs: Path) -> None:
    ok("index", docs, cwd=tmp_path)
    shutil.rmtree(docs)
    done = citespan("index", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "--allow-empty" in done.stderr
    report = json.loads(done.stdout)
    assert (report["documents"], report["removed"]) == (2, [])
    assert report["failed"][0]["path"] == str(docs)
    assert json.loads(ok("index", "--allow-empty", "--json", cwd=tmp_path))["documents"] == 0


def test_errors_carry_no_control_characters(tmp_path: Path) -> None:
    message = error("index", "nope\x1b[31m\x9b", cwd=tmp_path)
    assert not set("\x1b\x9b") & set(message)


def test_a_typo_leaves_nothing_behind(tmp_path: Path) -> None:
    error("index", "nowhere", cwd=tmp_path)
    error("index", ".", "--models", "tiny", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_usage_is_exit_code_2(tmp_path: Path) -> None:
    for arguments in (("ask",), ("nonsense",), ("ask", "Who?", "--answers", "0")):
        done = citespan(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")


def test_hostile_text_reaches_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "evil.txt").write_text(
        "The code word is \x1b[31mTULIP\x1b]0;owned\x07\x9b2J\u202egnp.exe, said the \x08 guard."
    )
    ok("index", tmp_path / "evil.txt", cwd=tmp_path)
    done = citespan("ask", "What is the code word?", cwd=tmp_path)
    assert "TULIP" in done.stdout
    for character in "\x1b\x07\x08\x9b\u202e":
        assert character not in done.stdout
    result = json.loads(citespan("ask", "What is it?", "--json", cwd=tmp_path).stdout)
    assert "\x1b" in result["passages"][0]["text"]


def test_a_closed_pipe_is_no_traceback(sample_index: Path) -> None:
    command = Path(sys.executable).parent / "citespan"
    script = f"{command} show foreign-fighters-numbers.txt --index {sample_index} | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""


# What is loaded, and how long it takes.

LOADED = """
import sys
sys.argv = ["citespan", *sys.argv[1:]]
from qa.cli import main
try:
    main()
except SystemExit:
    pass
print(sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded(*arguments: str | Path) -> set[str]:
    done = python(LOADED, *map(str, arguments))
    return set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))


def test_help_and_import_qa_load_nothing_heavy() -> None:
    assert not loaded("--help") & (HEAVY | {"numpy"})
    done = python("import sys, qa; print(*sys.modules)")
    assert not {name.split(".")[0] for name in done.stdout.split()} & (HEAVY | {"numpy"})


def test_a_cold_ask_loads_no_torch(sample_index: Path) -> None:
    modules = loaded("ask", QUESTION, "--index", sample_index)
    assert {"onnxruntime", "faiss", "tantivy", "tokenizers"} <= modules
    assert not modules & {"torch", "transformers", "gradio", "sentence_transformers", "onnx"}


def test_a_cold_ask_is_quick(sample_index: Path) -> None:
    """At most five times what importing numpy, onnxruntime and faiss costs; torch costs more alone.

    Measured 3.6 to 4.2; the less is on a quiet machine.
    """
    import time

    def seconds(function: Any) -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    asks, imports = [], []
    for _ in range(7):
        asks.append(seconds(lambda: ok("ask", QUESTION, "--index", sample_index)))
        imports.append(seconds(lambda: python("import numpy, onnxruntime, faiss")))
    assert min(asks) <= 5 * min(imports)


def test_offline_no_connection_is_tried(sample_index: Path) -> None:
    blocked = (
        "import socket\n"
        "def refuse(*_): raise AssertionError('a connection was attempted')\n"
        "socket.socket.connect = refuse\n" + LOADED
    )
    done = python(blocked, "ask", QUESTION, "--index", str(sample_index))
    assert "58" in done.stdout
    assert "attempted" not in done.stderr

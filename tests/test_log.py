"""The log: off unless asked for, one JSON object a line, with the time of every stage."""

import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import citespan, python
from serving import copied, serving

from corpus.errors import InputError
from corpus.log import Stages, event, failure, log_to
from qa.library import Library

QUESTION = "How many defectors went public?"


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Any]:
    """A log in this process, and how to read it."""
    logger = logging.getLogger("citespan")
    before = logger.handlers[:], logger.level, logger.propagate
    log_to(str(tmp_path / "log"))
    yield lambda: list(map(json.loads, (tmp_path / "log").read_text("ascii").splitlines()))
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers, logger.level, logger.propagate = before


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def named(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (each for each in events if each["event"] == name)
    return found


def test_an_event_is_a_line_of_json(lines: Any) -> None:
    event("happened", path=Path("/a/\ud800\x1b[31m"), n=3)
    (line,) = lines()
    assert line["event"] == "happened"
    assert (line["level"], line["process"], line["n"]) == ("info", os.getpid(), 3)
    assert line["path"] == "/a/\ud800\x1b[31m"
    assert abs(line["time"] - time.time()) < 60


def test_a_bug_has_an_id_and_its_traceback(lines: Any) -> None:
    try:
        raise RuntimeError("unforeseen")
    except RuntimeError as error:
        ids = [failure(error), failure(error, "of-the-request")]
    assert ids == [line["id"] for line in lines()]
    assert ids[1] == "of-the-request"
    assert all("RuntimeError: unforeseen" in line["traceback"] for line in lines())


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "log", "a\0b"):
        with pytest.raises(InputError, match="CITESPAN_LOG"):
            log_to(str(place))


def test_stages_add_up_and_an_inner_one_counts_for_itself() -> None:
    stages = Stages()
    started = time.perf_counter()
    for _ in range(2):
        with stages("outer"):
            time.sleep(0.02)
            with stages("inner"):
                time.sleep(0.05)
            time.sleep(0.02)
    waited = list(stages.waiting("waiting", (time.sleep(0.03) for _ in range(2))))
    total = time.perf_counter() - started
    assert len(waited) == 2
    assert stages.seconds["outer"] >= 0.08
    assert stages.seconds["inner"] >= 0.1
    assert stages.seconds["waiting"] >= 0.06
    assert sum(stages.seconds.values()) <= total


def test_indexing_and_asking_are_logged_with_their_stages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The keeper of the harbour was Ada Moreau.", encoding="utf-8")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 broken")
    log = tmp_path / "log"
    options: dict[str, Any] = {"cwd": tmp_path, "env": {**os.environ, "CITESPAN_LOG": str(log)}}
    done = citespan("index", "a.txt", "b.pdf", "--json", **options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 1
    asked = citespan("ask", "Who kept the harbour?", "--json", "--min-confidence", "0", **options)
    assert json.loads(asked.stdout)["question"] == "Who kept the harbour?"
    assert done.stderr == asked.stderr == ""
    assert stat.S_IMODE(log.stat().st_mode) == 0o600

    events = read(log)
    assert named(events, "not read")["path"] == str(tmp_path / "b.pdf")
    indexed = named(events, "indexed")
    assert (indexed["added"], indexed["failed"], indexed["generation"]) == (1, 1, 1)
    assert list(indexed["seconds"]) == [
        "scan", "load", "split", "store", "embed", "lexical index", "dense index", "total"
    ]  # fmt: skip
    parts = sum(s for stage, s in indexed["seconds"].items() if stage != "total")
    assert 0 < parts <= indexed["seconds"]["total"]
    answered = named(events, "asked")
    assert (answered["question"], answered["answered"]) == ("Who kept the harbour?", True)
    assert list(answered["seconds"]) == ["search", "read", "pool", "total"]
    assert list(named(events, "opened")["seconds"]) == ["snapshot", "models", "indexes"]
    assert [each["code"] for each in events if each["event"] == "ended"] == [0, 0]
    assert "Ada Moreau" not in log.read_text(encoding="ascii")


def test_verbose_may_stand_anywhere_and_spoils_no_result(sample_index: Path) -> None:
    ask = ("ask", QUESTION, "--index", str(sample_index), "--json")
    quiet = json.loads(citespan(*ask).stdout)
    for arguments in ((*ask, "--verbose"), ("--verbose", *ask)):
        done = citespan(*arguments)
        assert json.loads(done.stdout)["answers"] == quiet["answers"]
        events = [json.loads(line) for line in done.stderr.splitlines()]
        assert [each["event"] for each in events] == ["opened", "asked", "ended"]
    # After `--` it is what it is: here a question.
    done = citespan("ask", "--json", "--index", sample_index, "--", "--verbose")
    assert json.loads(done.stdout)["question"] == "--verbose"
    assert done.stderr == ""


def test_a_mistake_is_logged_and_a_bug_has_an_id(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, "CITESPAN_LOG": str(log)}
    done = citespan("list", "--index", tmp_path / "none", env=environment)
    assert done.returncode == 1
    refused = named(read(log), "refused")
    assert f"Error: {refused['error']}\n" == done.stderr
    log.unlink()

    broken = (
        "import sys\n"
        "import qa.cli, corpus.store\n"
        "def fail(*_): raise RuntimeError('unforeseen')\n"
        "corpus.store.Snapshot.open = fail\n"
        "sys.argv = ['citespan', 'list']\n"
        "qa.cli.main()\n"
    )
    done = python(broken, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    bug = named(read(log), "bug")
    assert bug["id"] in done.stderr
    assert "RuntimeError: unforeseen" in bug["traceback"]
    # Without a log the traceback is not lost.
    done = python(broken, cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "RuntimeError: unforeseen" in done.stderr


SABOTAGE = """
import qa.library
async def fail(*_, **__): raise RuntimeError("unforeseen")
qa.library.Library.ask = qa.library.Library.examples = fail
"""


def test_a_servers_errors_are_found_by_their_ids(sample_index: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    log = tmp_path / "log"
    folder = copied(sample_index, tmp_path / "index")
    with serving(folder, CITESPAN_LOG=str(log), PYTHONPATH=path) as server:
        status, headers, reply = server.request("/api/documents/0123456789abcdef")
        refused = named(read(log), "refused")
        assert (status, refused["code"]) == (404, "no_such_document")
        assert refused["id"] == reply["request_id"] == headers["x-request-id"]

        body = {"question": QUESTION}
        status, headers, reply = server.request("/api/ask", method="POST", body=body)
        bug = named(read(log), "bug")
        assert (status, reply["code"]) == (500, "bug")
        assert bug["id"] == reply["request_id"] == headers["x-request-id"]
        assert "RuntimeError: unforeseen" in bug["traceback"]
        assert "unforeseen" not in json.dumps(reply)

        health = server.request("/api/health")[2]
        assert list(health) == ["status", "version", "generation", "documents", "damage"]
        assert (health["status"], health["generation"], health["damage"]) == ("ok", 1, [])
        assert health["documents"] == len(server.request("/api/documents")[2])
        (victim,) = (folder / "generations").rglob("*.faiss")
        os.truncate(victim, victim.stat().st_size - 1)
        health = server.request("/api/health")[2]
        assert health["status"] == "damaged"
        assert str(victim) in health["damage"][0]
    asked = next(e for e in read(log) if e["event"] == "request" and e["id"] == bug["id"])
    assert (asked["method"], asked["path"], asked["status"]) == ("POST", "/api/ask", 500)
    assert sum(each["event"] == "bug" for each in read(log)) == 1


def test_a_bug_behind_the_page_has_an_id_that_the_visitor_sees(
    sample_index: Path, tmp_path: Path
) -> None:
    shown = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from corpus.log import log_to\n"
        "from qa.ui import Page\n"
        "log_to(sys.argv[2])\n"
        "page = Page(qa.library.Library(Path(sys.argv[1])))\n"
        "async def show(events):\n"
        "    async for changed in events: print(list(changed.values()))\n"
        "asyncio.run(show(page._asked('Who?', [])))\n"
        "print('loaded')\n"
        "asyncio.run(show(page._loaded([])))\n"
    )
    log = tmp_path / "log"
    done = python(SABOTAGE + shown, str(sample_index), str(log))
    assert done.returncode == 0, done.stderr
    asked, _, loaded = done.stdout.partition("\nloaded\n")
    first, second = (each["id"] for each in read(log) if each["event"] == "bug")
    assert first in asked
    assert second in loaded
    assert "unforeseen" not in done.stdout


def test_damage_that_sizes_do_not_tell_is_found_once_a_generation(
    sample_index: Path, tmp_path: Path
) -> None:
    folder = copied(sample_index, tmp_path / "index")
    (victim,) = (folder / "generations").rglob("*.faiss")
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    library = Library(folder)
    assert "checksum" in library.damage()[0]
    victim.write_bytes(whole)
    assert library.damage() == []
    library.close()


def test_many_threads_write_whole_lines(lines: Any) -> None:
    threads = [
        threading.Thread(target=lambda: [event("e", text="x" * 500) for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines()) == 400

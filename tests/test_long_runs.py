"""Many documents and many updates: memory stays, progress is told, and nothing piles up."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import Indexer, ToyEncoder

from corpus.sandbox import ReadFile, Sandbox
from corpus.store import Snapshot
from embeddings import follow, progress
from embeddings.follow import Changes
from embeddings.search import Search

OLD = 1_600_000_000
MB = 2**20


def write_many(folder: Path, n: int) -> None:
    """So many documents in folders of a thousand, each of some words of its own."""
    for number in range(n):
        path = folder / f"{number // 1000:03}" / f"{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = " ".join(f"word{(number * 31 + k * k) % 5003}" for k in range(24))
        path.write_text(f"Document {number} tells of item{number}.\n\n{words}.\n")
        os.utime(path, (OLD, OLD))


def memory_mb() -> float:
    """What this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


@pytest.fixture
def lasting_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One worker process for all the runs of a test."""
    with Sandbox(workers=1) as sandbox:
        monkeypatch.setattr(follow, "Sandbox", lambda **_: nullcontext(sandbox))
        yield


# Progress, and the end by Ctrl-C.


def test_progress_tells_files_passages_and_the_time_left(
    toy_index: Indexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def time(self) -> float:
            return time.time()

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(follow, "_EMBED_BATCH", 4)
    take = follow._Run._take

    def slow(self: Any, file: ReadFile) -> None:
        clock.now += 10
        take(self, file)

    monkeypatch.setattr(follow._Run, "_take", slow)
    write_many(tmp_path / "docs", 40)
    said: list[str] = []
    toy_index(tmp_path / "docs", progress=said.append)
    # The files are equally large: at ten seconds each, three quarters take 100 s more.
    lines = [line for line in said if line.startswith("read 30 of 40 files")]
    expected = r"read 30 of 40 files, embedded \d+ passages; about 2 min left"
    assert lines
    assert all(re.fullmatch(expected, line) for line in lines)
    assert said[-1] == "building the indexes"
    assert not any("about" in line for line in said if line.startswith("read 0 "))


def test_a_stopped_run_keeps_what_it_read_and_goes_on(
    toy_index: Indexer, tmp_path: Path, encoder: ToyEncoder
) -> None:
    docs = tmp_path / "docs"
    write_many(docs, 30)
    asked = iter(range(99))
    first = toy_index(docs, stop=lambda: next(asked) == 9)
    assert (first.documents, first.unread, len(first.added)) == (10, 20, 10)
    with Snapshot.open(tmp_path / "index") as snapshot:
        hits = Search.open(snapshot, encoder).search("item7", 3)
    assert hits[0].passage.text.startswith("Document 7 ")
    second = toy_index()
    assert (second.documents, second.unread, len(second.added), second.unchanged) == (30, 0, 20, 10)
    assert len(encoder.embedded) == len(set(encoder.embedded)), "nothing is embedded twice"


INDEX = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from conftest import TOY, ToyEncoder
from qa import indexing
from qa.settings import model_pair
from tokenizers import Tokenizer

seconds, batch = float(sys.argv[2]), int(sys.argv[3])

class Slow(ToyEncoder):
    def encode_passages(self, texts):
        time.sleep(seconds)
        return super().encode_passages(texts)

tokenizer = Tokenizer.from_file(str(model_pair("bundled").encoder.folder / "tokenizer.json"))
tokenizer.no_truncation(); tokenizer.no_padding()
indexing._load = lambda *_: (Slow(tokenizer), TOY)
from embeddings import follow
follow._EMBED_BATCH = batch
from qa.cli import main
sys.argv = ["citespan", *sys.argv[4:]]
main()
"""


class Terminal:
    """The command line at a terminal of its own, as a user has it."""

    def __init__(self, seconds: float, batch: int, *arguments: str | Path) -> None:
        self._own, theirs = pty.openpty()
        # A session of its own, whose foreground the command is: Ctrl-C goes to all of it.
        self._process = subprocess.Popen(
            [sys.executable, "-c", INDEX, Path(__file__).parent, str(seconds), str(batch),
             *map(str, arguments)],
            stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True,
            start_new_session=True, preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def press_ctrl_c(self) -> None:
        os.write(self._own, b"\x03")

    def read_until(self, holds: Callable[[str], Any], seconds: float = 120.0) -> bool:
        """Read what is shown until this holds of it, or there is no more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if holds(self.shown):
                return True
            if select.select([self._own], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._own, 65_536).decode()
                except OSError:  # The other end is closed.
                    return bool(holds(self.shown))
        return False

    def end(self) -> int:
        self.read_until(lambda _: False)  # Until the terminal is closed.
        self.said, _ = self._process.communicate(timeout=60)
        os.close(self._own)
        return self._process.returncode


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_ctrl_c_keeps_what_was_done(tmp_path: Path) -> None:
    docs, index = tmp_path / "docs", tmp_path / "index"
    write_many(docs, 300)
    terminal = Terminal(0.2, 4, "index", docs, "--index", index)
    assert terminal.read_until(lambda shown: re.search(r"read [1-9]\d* of 300 files, emb", shown))
    assert terminal.read_until(lambda shown: re.search("about .* left", shown)), terminal.shown
    terminal.press_ctrl_c()
    assert terminal.end() == 1
    assert "stopping; what was read is kept" in terminal.shown
    (unread,) = re.findall(r"Error: stopped before ([\d,]+) of the files were read", terminal.shown)
    assert "Traceback" not in terminal.shown
    assert "failed" not in terminal.shown, "the workers were not stopped by the same key"
    with Snapshot.open(index) as snapshot:
        kept = len(snapshot.summaries())
        assert all(file.failure is None for file in snapshot.files().values())
    assert 0 < kept == 300 - int(unread)
    terminal = Terminal(0, 256, "index", "--index", index, "--json")
    assert terminal.end() == 0, terminal.shown
    done = json.loads(terminal.said)
    assert (done["documents"], done["unchanged"], len(done["added"])) == (300, kept, 300 - kept)


def test_ctrl_c_twice_ends_at_once(tmp_path: Path) -> None:
    docs, index = tmp_path / "docs", tmp_path / "index"
    write_many(docs, 30)
    terminal = Terminal(60, 4, "index", docs, "--index", index)
    assert terminal.read_until(lambda shown: (index / "index.sqlite").exists())
    time.sleep(1)
    terminal.press_ctrl_c()
    assert terminal.read_until(lambda shown: "stopping" in shown)
    started = time.monotonic()
    terminal.press_ctrl_c()
    assert terminal.end() == 128 + signal.SIGINT
    assert time.monotonic() - started < 20
    assert "Traceback" not in terminal.shown


# Many documents.


def index_many(toy_index: Indexer, folder: Path, n: int) -> tuple[Changes, float, int]:
    """Index so many documents; by how many MB this process grew meanwhile at most, and how often
    it told of its progress."""
    write_many(folder, n)
    toy_index(folder.parent / "first")
    before, most, told = memory_mb(), 0.0, 0

    def look(line: str) -> None:
        nonlocal most, told
        most, told = max(most, memory_mb()), told + 1

    changes = toy_index(folder, progress=look)
    return changes, max(most, memory_mb()) - before, told


@pytest.mark.long
def test_twenty_thousand_documents(toy_index: Indexer, tmp_path: Path) -> None:
    write_many(tmp_path / "first", 300)
    changes, grown, told = index_many(toy_index, tmp_path / "docs", 20_000)
    assert (changes.documents, changes.failed, changes.skipped) == (20_300, {}, {})
    started = time.monotonic()
    again = toy_index()
    seconds = time.monotonic() - started
    size = sum(p.stat().st_size for p in (tmp_path / "index").rglob("*") if p.is_file()) / MB
    print(
        f"\n20,000 documents, {changes.passages:,} passages in {changes.seconds:.0f} s; memory grew"
        f" by {grown:.0f} MB at most; {told} lines of progress; {size:.0f} MB on the disk;"
        f" a run with nothing to do takes {seconds:.1f} s"
    )
    assert again.unchanged == 20_300
    assert grown < 500
    assert told > 20


# Many updates.


def update_often(toy_index: Indexer, folder: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Change one of fifty documents so often; what there was before and is after, by kind."""
    write_many(folder / "docs", 50)
    toy_index(folder / "docs")

    def change(number: int) -> None:
        path = folder / "docs" / "000" / f"{number * 7 % 50:06}.txt"
        path.write_text(path.read_text().partition("\n\nNow")[0] + f"\n\nNow it says {number}.")
        assert len(toy_index().changed) == 1

    def sizes() -> dict[str, float]:
        files = [p for p in (folder / "index").rglob("*") if p.is_file() and "-shm" not in p.name]
        return {
            "files": len(files),
            "KB on the disk": sum(p.stat().st_size for p in files) / 1024,
            "MB of memory": memory_mb(),
            "open files": len([*Path("/proc/self/fd").iterdir()]),
        }

    for number in range(60):
        change(number)
    before = sizes()
    for number in range(60, rounds):
        change(number)
    after = sizes()
    print(
        f"\n{rounds} updates: " + ", ".join(f"{k} {before[k]:.0f} -> {after[k]:.0f}" for k in after)
    )
    return {kind: (before[kind], after[kind]) for kind in after}


def check_growth(growth: dict[str, tuple[float, float]], megabytes: float) -> None:
    before, after = growth["KB on the disk"]
    assert after < 1.3 * before + 64
    before, after = growth["files"]
    assert after <= before + 60, "segments are merged, and not many at any time"
    before, after = growth["MB of memory"]
    assert after < before + megabytes
    before, after = growth["open files"]
    assert after <= before


def test_small_updates_leave_nothing_behind(
    toy_index: Indexer, tmp_path: Path, lasting_worker: None
) -> None:
    check_growth(update_often(toy_index, tmp_path, 80), 30)


@pytest.mark.long
def test_a_thousand_small_updates_leave_nothing_behind(
    toy_index: Indexer, tmp_path: Path, lasting_worker: None
) -> None:
    check_growth(update_often(toy_index, tmp_path, 1_000), 60)

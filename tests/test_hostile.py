"""Whatever lies in a folder is indexed, or listed with a reason; the rest is, and memory stays."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest

INDEX = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import TOY_RECIPE, ToyEncoder
from corpus.sandbox import Limits, Sandbox
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import follow
from qa.settings import model_pair
from tokenizers import Tokenizer

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))

tokenizer = Tokenizer.from_file(str(model_pair("bundled").encoder.folder / "tokenizer.json"))
tokenizer.no_truncation(); tokenizer.no_padding()
seconds, max_bytes = float(sys.argv[4]), int(sys.argv[5])
follow.Sandbox = lambda limits, columns: Sandbox(
    limits=Limits(seconds=seconds, file_bytes=limits.file_bytes), columns=columns
)
def run(folder, index):
    with Writer.open(Path(index), lambda: TOY_RECIPE) as writer:
        return follow.update(writer, [Path(folder)], ToyEncoder(tokenizer), max_bytes=max_bytes)

run(Path(sys.argv[2]) / "good", sys.argv[3] + "-first")
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
changes = run(sys.argv[2], sys.argv[3])
peak = memory("VmHWM")
with Snapshot.open(Path(sys.argv[3])) as snapshot:
    texts = {str(s.source): snapshot.document(s.id).text[:9999] for s in snapshot.summaries()}
print(json.dumps({
    "texts": texts, "grown_mb": peak - before,
    "reasons": {str(p): r for p, r in (changes.failed | changes.skipped).items()},
}))
"""

GOOD = 12
INDEXED = ""
NOT_READ = "^is a damaged |^has no text"
Case = tuple[str, str, Callable[[Path], object]]


def data(content: bytes | str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


CASES: list[Case] = [
    ("bomb.docx", "^unpacks to 300 MB, more than 256", hostile.docx_bomb),
    ("overlapping.docx", "^unpacks to 301 MB, more than", hostile.docx_of_overlapping_parts),
    ("lying.docx", "is larger than it says|damaged DOCX", hostile.zip_that_lies),
    ("laughs.docx", "declares ent|amplification", lambda p: hostile.docx(p, hostile.LAUGHING_DOCX)),
    ("attribute.docx", "damaged DOCX", lambda p: hostile.docx(p, hostile.LAUGHING_ATTRIBUTE)),
    ("leaking.docx", "declares entities", lambda p: hostile.docx(p, hostile.LEAKING_DOCX)),
    ("laughs.html", INDEXED, data(hostile.LAUGHING_HTML)),
    ("laughs.xml", INDEXED, data(hostile.LAUGHING_XML)),
    ("nested.html", "^is nested too deeply", data(hostile.html_nested(100_000))),
    ("nested.jsonl", "^has no JSON objects", data("[" * 100_000)),
    ("parents.pdf", NOT_READ, data(hostile.pdf_whose_pages_are_their_own_parents())),
    ("draws itself.pdf", INDEXED, data(hostile.pdf_that_draws_itself())),
    ("own length.pdf", NOT_READ, data(hostile.pdf_whose_length_is_itself())),
    ("tables.pdf", NOT_READ, data(hostile.pdf_whose_tables_follow_each_other())),
    ("user.pdf", "^is protected by a password", lambda p: hostile.pdf_with_a_password(p, "user")),
    ("no password.pdf", INDEXED, lambda p: hostile.pdf_with_a_password(p, "")),
    ("pages.pdf", INDEXED, data(hostile.pdf_of_pages(1_000))),
    ("line.txt", INDEXED, data("word " * 20_000)),
    ("quotes.txt", INDEXED, data("«" * 50_000)),
    ("zeros.txt", INDEXED, data(bytes(100_000))),
    ("endless.txt", "^has 1.05e\\+06 MB, more than", lambda p: hostile.sparse(p, 2**40)),
    ("pipe.txt", "^is not a regular file", os.mkfifo),
    ("socket.txt", "^is not a regular file", hostile.unix_socket),
    ("zero.txt", "^is not a regular file", lambda p: p.symlink_to("/dev/zero")),
    ("memory.txt", "^cannot be read|has no text", lambda p: p.symlink_to("/proc/self/mem")),
    ("itself.txt", "^cannot be read: Too many levels", lambda p: p.symlink_to(p)),
    ("nowhere.txt", "^cannot be read: No such file", lambda p: p.symlink_to("/nowhere/at all")),
    ("image.txt", "^is a PNG image", data(b"\x89PNG\r\n\x1a\n" + bytes(99))),
    ("program.md", "^is a program", data(b"\x7fELF" + bytes(99))),
    ("packed.csv", "^is a gzip archive", data(b"\x1f\x8b\x08" + bytes(99))),
    ("zip.docx", "^is a damaged DOCX file|^is a zip", data(b"PK\x03\x04" + bytes(99))),
    ("really.pdf", "^is a damaged PDF file", data("This is no PDF file at all.")),
    ("really.docx", INDEXED, data(hostile.pdf_of_pages(1, b"This is a PDF file."))),
    ("empty.txt", "^has no text", data(b"")),
    ("two\nlines \x1b[31m.txt", INDEXED, data("A name that steers terminals.")),
]  # fmt: skip


def index(folder: Path, seconds: float, max_bytes: int) -> dict[str, Any]:
    """Index the folder in a process of its own; what came of it."""
    done = subprocess.run(
        [sys.executable, "-c", INDEX, Path(__file__).parent, folder, folder.parent / "index",
         str(seconds), str(max_bytes)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check(folder: Path, cases: list[Case], told: dict[str, Any]) -> None:
    """Each case came to what is expected, in words that a terminal can bear; no other file did."""
    unexpected = []
    for name, reason, _ in cases:
        path = str(folder / name)
        said = told["reasons"].get(path, INDEXED if path in told["texts"] else "lost")
        if said != reason and (reason == INDEXED or not re.search(reason, said)):
            unexpected.append((name, said))
    assert unexpected == []
    for name, said in told["reasons"].items():
        assert 3 < len(said) < 400, name
    good = [path for path in told["texts"] if "/good/" in path]
    assert len(good) == GOOD
    assert "root:" not in "".join(told["texts"].values())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Some good documents."""
    folder = tmp_path / "docs"
    (folder / "good").mkdir(parents=True)
    for n in range(GOOD):
        (folder / "good" / f"{n}.txt").write_text(f"A good document, number {n}.")
    yield folder
    # Python's own means end in folders so deep, and pytest's with them.
    subprocess.run(["rm", "-rf", folder], check=True)


def test_no_document_harms_another_or_the_parent(folder: Path) -> None:
    for name, _, write in CASES:
        write(folder / name)
    (folder / "up").symlink_to(folder)
    odd = hostile.not_utf8(folder / "file.txt")
    odd.write_text("Its name is no text.")
    odd_folder = hostile.not_utf8(folder / "folder")
    odd_folder.mkdir()
    (odd_folder / "in it.txt").write_text("Neither is its path.")
    hostile.folders_nested(folder / "deep", 2_500)

    told = index(folder, 60, 2**26)
    check(folder, CASES, told)
    renamed = {path: said for path, said in told["reasons"].items() if "rename it" in said}
    assert {Path(path).name for path in renamed} == {"na\\xefve file.txt", "in it.txt"}
    (deep,) = (said for path, said in told["reasons"].items() if "/deep/" in path)
    assert deep == "cannot be listed: File name too long"
    assert len(told["reasons"]) == sum(reason != INDEXED for _, reason, _ in CASES) + 3
    assert told["grown_mb"] < 150, "the parent's memory grew"


@pytest.mark.long
def test_huge_documents_cost_themselves_alone(folder: Path) -> None:
    megabyte = 2**20

    def long_line(path: Path) -> None:
        with path.open("wb") as stream:
            for _ in range(500):
                stream.write(b"word and " * (megabyte // 9))

    cases: list[Case] = [
        ("line.txt", "needs more memory|turns into more than 256 MB|took more than", long_line),
        ("bomb.docx", "^unpacks to 5,000 MB", lambda p: hostile.docx_bomb(p, 5_000)),
        ("swollen.docx", INDEXED, lambda p: hostile.docx_swollen(p, 20)),
        ("ten thousand.pdf", INDEXED, data(hostile.pdf_of_pages(10_000))),
        # PDFium ends its process where it gets no more memory.
        ("draws itself.pdf", "took more than 60 s|ended the process",
         data(hostile.pdf_that_draws_itself(2))),
        ("pages.pdf", "took more than|turns into more than|needs more memory",
         data(hostile.pdf_of_pages(10_000, b"swollen " * 20_000))),
    ]  # fmt: skip
    for name, _, write in cases:
        write(folder / name)
    told = index(folder, 60, 600 * megabyte)
    print(f"\nthe parent grew by {told['grown_mb']:.0f} MB; {told['reasons']}")
    check(folder, cases, told)
    assert told["grown_mb"] < 1_500

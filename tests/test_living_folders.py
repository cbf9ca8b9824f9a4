"""Folders that live: what is ignored, what is taken out, and what a run would do."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY, TOY_RECIPE, Indexer, ToyEncoder, citespan, on_disk, python
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from corpus.errors import CitespanError, InputError
from corpus.extract import Columns
from corpus.sandbox import ReadFile, Sandbox, _Worker
from corpus.scan import IGNORE_FILE, Listing, scan
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import follow
from embeddings.follow import Changes, remove, update
from embeddings.search import Search
from qa import indexing
from qa.cli import app

OLD = 1_600_000_000


@pytest.fixture(scope="module", autouse=True)
def lasting_workers() -> Iterator[None]:
    """Workers that outlive a run, since starting them would take most of its time."""
    pools: dict[str, Sandbox] = {}

    def pool(**options: Any) -> Any:
        key = repr(options)
        if key not in pools:
            pools[key] = Sandbox(workers=1, **options)
        return nullcontext(pools[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "Sandbox", pool)
        yield
    for sandbox in pools.values():
        sandbox.close()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Seven files: five of one document each, and a table and JSON lines of two rows each."""
    folder = tmp_path / "my docs"
    write(folder / "plan.txt", "The plan says alpha.")
    write(folder / "notes.md", "# The notes\n\nThey say beta.")
    write(folder / "sub" / "draft.txt", "The draft says gamma.")
    write(folder / "sub" / "deep" / "memo.txt", "The memo says delta.")
    write(folder / "sub" / "deep" / "plan.txt", "Another plan says epsilon.")
    write(folder / "table.csv", "title,body\nFirst row,It says zeta.\nSecond row,It says eta.\n")
    write(folder / "rows.jsonl", '{"title": "R1", "body": "theta"}\n{"title": "R2", "body": "i"}\n')
    age(folder)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def age(folder: Path) -> None:
    """Make the files old enough for their time stamps to be trusted."""
    for path in folder.rglob("*"):
        os.utime(path, (OLD, OLD))


def sources(tmp_path: Path) -> list[str]:
    """What is in the index: the files' names below the documents' folder."""
    with Snapshot.open(tmp_path / "index") as snapshot:
        found = {str(summary.source) for summary in snapshot.summaries()}
    return sorted(name.partition("/my docs/")[2] for name in found)


ALL = [
    "notes.md", "plan.txt", "rows.jsonl", "sub/deep/memo.txt", "sub/deep/plan.txt",
    "sub/draft.txt", "table.csv",
]  # fmt: skip


def without(*names: str) -> list[str]:
    return [name for name in ALL if name not in names]


# What is ignored, as git would.


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that git looks at, with its repository elsewhere."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", folder / "repository"], check=True)
    return folder / "tree"


def kept_by_git(tree: Path) -> set[str]:
    done = subprocess.run(
        ["git", "ls-files", "--others", "-z", f"--exclude-per-directory={IGNORE_FILE}"],
        cwd=tree,
        env={
            **os.environ,
            "GIT_DIR": str(tree.parent / "repository" / ".git"),
            "GIT_WORK_TREE": str(tree),
        },
        capture_output=True,
        check=True,
    )
    names = done.stdout.decode().split("\0")
    return {name for name in names if name and not Path(name).name.startswith(".")}


def listed(folder: Path) -> Listing:
    listing = Listing()
    scan(folder, listing, max_bytes=2**20)
    return listing


def kept(folder: Path) -> set[str]:
    listing = listed(folder)
    assert not listing.skipped
    return {path.relative_to(folder).as_posix() for path in listing.files}


FOLDERS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=2).map("/".join)
FILES = st.builds(
    lambda folder, name: f"{folder}/{name}".removeprefix("/"),
    FOLDERS,
    st.sampled_from(["a", "b", "ab", "a.txt", "b.md", "c d", "x#", "!z", "é.txt"]),
)
PIECES = st.sampled_from(
    ["a", "b", "ab", "*", "?", "**", "[ab]", "[!a]", "[^a]", "[a-b]*", "*.txt", "a*", "*b*",
     "c d", r"\a", r"\#", "x#", r"\!z", "é*", "a.txt"],
)  # fmt: skip
PATTERNS = st.builds(
    lambda negated, rooted, pieces, tail: negated + rooted + "/".join(pieces) + tail,
    st.sampled_from(["", "", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PIECES, min_size=1, max_size=3),
    st.sampled_from(["", "", "", "/", "/*", "/**", " ", "  ", "\r"]),
)
LINES = st.lists(PATTERNS | st.sampled_from(["", "# a", "#a", "*", "!*/", "!"]), max_size=4)
REPORTS = ["a.txt", "b.md", "a/a.txt", "a/b.md", "a/b/a.txt"]


@settings(max_examples=250)
@given(st.lists(FILES, min_size=1, max_size=8), st.dictionaries(FOLDERS, LINES, max_size=2))
@example(REPORTS, {"": ["*", "!*/", "!*.txt"]})
@example(REPORTS, {"": ["/*", "!/a", "/a/*", "!/a/b"]})
@example(REPORTS, {"": ["a/b/", "!/a"]})
@example(REPORTS, {"": ["b/", "!a/"]})
@example(REPORTS, {"": ["a", "!a/**"]})
@example(REPORTS, {"": ["*.txt"], "a": ["!*.txt", "# none"]})
@example(REPORTS, {"": ["b.md", "!", "a.txt"]})
def test_patterns_mean_what_they_mean_to_git(
    tree: Path, files: Sequence[str], ignored: dict[str, Sequence[str]]
) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name in files:
        path = tree / name
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            write(path, "A file.")
    for folder, lines in ignored.items():
        if (tree / folder).is_dir():
            (tree / folder / IGNORE_FILE).write_text("\n".join(lines) + "\n", newline="")
    assert kept(tree) == kept_by_git(tree)


def test_what_is_ignored_leaves_and_comes_back(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    toy_index(docs)
    rules = write(docs / IGNORE_FILE, "# plans\nplan.txt\n\n/table.csv\ndeep/\n")
    assert [path.name for path in toy_index().removed] == [
        "plan.txt", "memo.txt", "plan.txt", "table.csv",
    ]  # fmt: skip
    assert sources(tmp_path) == ["notes.md", "rows.jsonl", "sub/draft.txt"]
    write(docs / "sub" / IGNORE_FILE, "!deep\n!plan.txt\n*draft*\n")
    changes = toy_index(docs)
    assert [path.name for path in changes.added + changes.removed] == [
        "memo.txt", "plan.txt", "draft.txt",
    ]  # fmt: skip
    assert changes.skipped == {}, "what somebody chose to ignore is not a problem to report"
    rules.unlink()
    (docs / "sub" / IGNORE_FILE).unlink()
    toy_index()
    assert sources(tmp_path) == ALL


def test_what_is_named_is_indexed_though_ignored(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    write(docs / IGNORE_FILE, "*\n")
    toy_index(docs, docs / "plan.txt", docs / "sub" / "deep")
    expected = ["plan.txt", "sub/deep/memo.txt", "sub/deep/plan.txt"]
    for paths in ((), (docs,), (docs / "plan.txt",)):
        assert toy_index(*paths).removed == []
        assert sources(tmp_path) == expected


def test_patterns_above_the_root_say_nothing(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    write(docs / IGNORE_FILE, "*\n")
    toy_index(docs / "sub")
    assert len(sources(tmp_path)) == 3


@pytest.mark.parametrize("how", ["not UTF-8", "a link to nowhere"])
def test_patterns_that_cannot_be_read_are_said(
    toy_index: Indexer, docs: Path, tmp_path: Path, how: str
) -> None:
    rules = docs / IGNORE_FILE
    if how == "not UTF-8":
        rules.write_bytes(b"plan.txt\n\xff\n")
    else:
        rules.symlink_to(docs / "nowhere")
    for _ in range(2):
        (reason,) = toy_index(docs).skipped.items()
        assert reason[0] == rules
        assert reason[1].startswith("cannot be read as a list of patterns, nothing is ignored")
    assert sources(tmp_path) == ALL


def test_a_pipe_of_patterns_is_not_waited_for(docs: Path) -> None:
    os.mkfifo(docs / IGNORE_FILE)
    code = (
        "import sys; from pathlib import Path; from corpus.scan import Listing, scan\n"
        "listing = Listing(); scan(Path(sys.argv[1]), listing, max_bytes=99999)\n"
        "print(len(listing.files), len(listing.skipped))"
    )
    try:
        assert python(code, str(docs), timeout=5).stdout == "7 1\n"
    except subprocess.TimeoutExpired:
        pytest.fail("it waits for somebody to write into the pipe")


# Roots, links, times.


def test_links_never_lead_round_in_a_circle(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    (docs / "up").symlink_to(docs)
    (docs / "sub" / "up").symlink_to("..")
    (docs / "self").symlink_to(docs / "self")
    (docs / "copy.txt").symlink_to(docs / "plan.txt")
    (tmp_path / "elsewhere").symlink_to(docs)
    changes = toy_index(docs)
    assert sources(tmp_path) == sorted([*ALL, "copy.txt"])
    assert list(changes.skipped) == [docs / "self"]
    assert len(toy_index(tmp_path / "elsewhere").added) == 8, "a root may be a link"
    with pytest.raises(InputError, match="does not exist"):
        toy_index(docs / "self" / "x")


def test_a_root_that_is_a_file_lives_as_one(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    plan, table = docs / "plan.txt", docs / "table.csv"
    toy_index(plan, table)
    assert sources(tmp_path) == ["plan.txt", "table.csv"]
    write(plan, "The plan says iota.")
    changes = toy_index()
    assert (changes.changed, changes.unchanged) == ([plan], 1)
    assert toy_index(docs / "notes.md").removed == []
    table.unlink()
    assert toy_index().removed == [table]
    write(table, "title\nBack\n")
    assert toy_index().added == [table], "it is still followed"
    away = docs.rename(tmp_path / "away")
    changes = toy_index()
    assert set(changes.kept_roots) == {plan, table, docs / "notes.md"}
    assert changes.removed == []
    away.rename(docs)
    assert toy_index().unchanged == 3


def test_renames_embed_nothing(
    toy_index: Indexer, docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    total = toy_index(docs).passages
    encoder.embedded.clear()
    (docs / "plan.txt").rename(docs / "sub" / "moved.txt")
    (docs / "sub").rename(docs / "renamed")
    (docs / "table.csv").rename(docs / "renamed" / "table2.csv")
    changes = toy_index()
    assert (changes.passages, changes.embedded, encoder.embedded) == (total, 0, [])
    assert len(changes.added) == len(changes.removed) == 5
    docs.rename(tmp_path / "other docs")
    assert toy_index(tmp_path / "other docs").embedded == 0
    assert encoder.embedded == []


@pytest.mark.parametrize("year", [1901, 1970, 2106, 2290, 2445])
def test_a_file_of_any_date_is_indexed(
    toy_index: Indexer, docs: Path, tmp_path: Path, year: int
) -> None:
    stamp = int((year - 1970) * 365.2425 * 86400)
    os.utime(docs / "plan.txt", (stamp, stamp))
    if int((docs / "plan.txt").stat().st_mtime) != stamp:
        pytest.skip("this file system knows no such date")
    for _ in range(2):
        toy_index(docs)
    assert sources(tmp_path) == ALL


@pytest.mark.parametrize("blank", ["\u00a0", "\u2003\n", "\x1f", "\ufeff \u3000"])
def test_white_space_of_any_kind_is_no_text(toy_index: Indexer, docs: Path, blank: str) -> None:
    """There would be a document without passages, which no question finds."""
    write(docs / "blank.txt", blank)
    changes = toy_index(docs)
    assert list(changes.failed) == [docs / "blank.txt"]
    assert "has no text" in changes.failed[docs / "blank.txt"]


# Files that change under the run.


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Has something happen between the listing of a folder and the reading of its files."""

    def arrange(happen: Callable[[], Any]) -> None:
        def listing(*arguments: Any, **options: Any) -> None:
            scan(*arguments, **options)
            monkeypatch.undo()
            happen()

        monkeypatch.setattr(follow, "scan", listing)

    return arrange


def test_a_file_that_vanishes_under_the_run_costs_itself(
    toy_index: Indexer, docs: Path, tmp_path: Path, meanwhile: Callable[[Any], None]
) -> None:
    meanwhile((docs / "plan.txt").unlink)
    changes = toy_index(docs)
    assert changes.failed == {docs / "plan.txt": "cannot be read: No such file or directory"}
    assert sources(tmp_path) == without("plan.txt")
    changes = toy_index()
    assert (changes.failed, changes.removed) == ({}, [docs / "plan.txt"])


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_file_that_becomes_something_else_under_the_run_costs_itself(
    toy_index: Indexer, docs: Path, tmp_path: Path, meanwhile: Callable[[Any], None], kind: str
) -> None:
    def replace() -> None:
        (docs / "plan.txt").unlink()
        os.mkfifo(docs / "plan.txt") if kind == "pipe" else (docs / "plan.txt").mkdir()

    meanwhile(replace)
    assert list(toy_index(docs).failed) == [docs / "plan.txt"]
    assert sources(tmp_path) == without("plan.txt")


def test_a_file_that_grows_under_the_run_is_tried_again(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    log = write(docs / "log.txt", "x" * 2**24)
    stop = threading.Event()

    def grow() -> None:
        with log.open("ab", buffering=0) as stream:
            while not stop.wait(0.0005):
                stream.write(b"More. ")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        changes = toy_index(docs, max_bytes=2**30)
    finally:
        stop.set()
        thread.join()
    assert list(changes.failed) == [log]
    assert "keeps changing while it is read" in changes.failed[log]
    assert sources(tmp_path) == ALL
    write(log, "The log says kappa.")
    changes = toy_index()
    assert (changes.added, changes.failed) == ([log], {})


def test_a_file_that_took_too_long_is_tried_again_when_named(
    toy_index: Indexer, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine may have been busy, and then nothing about the file will ever change."""
    plan, read = docs / "plan.txt", _Worker.read
    reason = "took more than 120 s to read, and was given up"

    def slow(self: _Worker, path: Path, *arguments: Any) -> ReadFile:
        file = read(self, path, *arguments)
        return replace(file, outcome="failed", documents=(), reason=reason)

    with monkeypatch.context() as patch:
        patch.setattr(_Worker, "read", slow)
        assert toy_index(plan).failed == {plan: reason}
    assert toy_index().failed == {plan: reason}, "not every run waits for it"
    assert toy_index(plan).added == [plan]


def test_what_was_left_unread_is_said_every_time(toy_index: Indexer, docs: Path) -> None:
    rows = write(docs / "rows.jsonl", '{"body": "theta"}\nno object\n')
    note = "1 of its lines are no JSON objects, such as line 2; left out"
    for step in ("read", "opened", "dry", "not opened", "touched"):
        if step == "not opened":
            age(docs)
            toy_index(docs)
        elif step == "touched":
            rows.touch()
        changes = toy_index(docs, dry_run=step == "dry")
        assert changes.skipped == {rows: note}, step
        assert (changes.failed, changes.changed) == ({}, [])
    write(rows, '{"body": "theta"}\n')
    assert toy_index().skipped == {}


def test_columns_are_remembered_and_concern_tables_alone(
    toy_index: Indexer, docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    def texts() -> set[str]:
        with Snapshot.open(tmp_path / "index") as snapshot:
            ids = [s.id for s in snapshot.summaries() if s.kind in ("csv", "jsonl")]
            return {snapshot.document(id_).text for id_ in ids}

    tables = [docs / "rows.jsonl", docs / "table.csv"]
    toy_index(docs)
    encoder.embedded.clear()
    assert toy_index(columns=Columns(("body",)), dry_run=True).changed == tables
    assert toy_index().changed == [], "a dry run chooses nothing"
    changes = toy_index(columns=Columns(("body",)))
    assert (changes.changed, changes.unchanged) == (tables, 5)
    assert texts() == {"It says zeta.", "It says eta.", "theta", "i"}
    assert set(encoder.embedded) <= texts()
    for again in (toy_index(), toy_index(docs), toy_index(columns=Columns(("body",)))):
        assert (again.changed, again.unchanged) == ([], 7)
    write(docs / "new.csv", "title,body\nNew,It says lambda.\n")
    toy_index()
    assert "It says lambda." in texts()
    changes = toy_index(columns=Columns(("nothing",)))
    assert set(changes.failed) == {*tables, docs / "new.csv"}
    assert "has no column 'nothing'" in changes.failed[docs / "table.csv"]
    assert toy_index().failed == changes.failed, "it is still said"
    assert len(toy_index(columns=Columns()).added) == 3
    assert "title: First row\n\nIt says zeta." in texts()


# What is taken out.

TakeOut = Callable[..., Changes]


@pytest.fixture
def take_out(tmp_path: Path) -> TakeOut:
    def run(*names: str | Path) -> Changes:
        with Writer.open_existing(tmp_path / "index") as writer:
            return remove(writer, [str(name) for name in names])

    return run


def document_id(tmp_path: Path, source: Path) -> str:
    with Snapshot.open(tmp_path / "index") as snapshot:
        return next(s.id for s in snapshot.summaries() if s.source == source)


def found(tmp_path: Path, encoder: ToyEncoder, question: str) -> set[str]:
    with Snapshot.open(tmp_path / "index") as snapshot:
        return {hit.passage.text for hit in Search.open(snapshot, encoder).search(question, 99)}


@pytest.mark.parametrize("by", ["path", "relative path", "name", "end of the path", "id", "title"])
def test_a_file_is_taken_out_by_whatever_names_it(
    toy_index: Indexer,
    docs: Path,
    tmp_path: Path,
    take_out: TakeOut,
    encoder: ToyEncoder,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    toy_index(docs)
    path = docs / "sub" / "deep" / "memo.txt"
    monkeypatch.chdir(docs / "sub")
    name = {
        "path": str(path),
        "relative path": "../sub/deep/../deep/memo.txt",
        "name": "memo.txt",
        "end of the path": "sub/deep/memo.txt",
        "id": document_id(tmp_path, path),
        "title": "memo",
    }[by]
    assert "The memo says delta." in found(tmp_path, encoder, "memo delta")
    changes = take_out(name)
    assert (changes.removed, changes.generation, changes.documents) == ([path], 2, 8)
    assert "The memo says delta." not in found(tmp_path, encoder, "memo delta")
    for paths in ((), (docs,), (docs / "sub",)):
        changes = toy_index(*paths)
        assert (changes.added, changes.removed) == ([], [])
        assert list(changes.skipped) == [path]
        assert "was taken out with `citespan rm`" in changes.skipped[path]
        assert sources(tmp_path) == without("sub/deep/memo.txt")
    assert toy_index(path).added == [path]
    for paths in ((), (docs,)):
        changes = toy_index(*paths)
        assert (changes.skipped, changes.removed) == ({}, [])
    assert sources(tmp_path) == ALL


@pytest.mark.parametrize("spelt", ["{0}/sub", "{0}/sub/", "sub", "./sub/."])
def test_a_folder_is_taken_out(
    toy_index: Indexer,
    docs: Path,
    tmp_path: Path,
    take_out: TakeOut,
    monkeypatch: pytest.MonkeyPatch,
    spelt: str,
) -> None:
    toy_index(docs)
    monkeypatch.chdir(docs)
    assert len(take_out(spelt.format(docs)).removed) == 3
    write(docs / "sub" / "new.txt", "A new file.")
    for paths in ((), (docs,)):
        changes = toy_index(*paths)
        assert list(changes.skipped) == [docs / "sub"], "a folder is said once"
        assert changes.added == []
    assert sources(tmp_path) == ["notes.md", "plan.txt", "rows.jsonl", "table.csv"]
    assert len(toy_index(docs / "sub").added) == 4
    assert toy_index().skipped == {}


def test_a_file_named_within_a_folder_taken_out_comes_in_alone(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut
) -> None:
    toy_index(docs)
    take_out(docs / "sub")
    memo = docs / "sub" / "deep" / "memo.txt"
    assert toy_index(memo).added == [memo]
    for paths in ((), (docs,)):
        changes = toy_index(*paths)
        assert (changes.added, changes.removed) == ([], [])
        assert list(changes.skipped) == [docs / "sub"]
    assert sources(tmp_path) == without("sub/draft.txt", "sub/deep/plan.txt")


def test_a_root_is_taken_out(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut
) -> None:
    other = write(tmp_path / "other" / "b.txt", "Text b.").parent
    toy_index(docs, docs / "sub", other)
    assert len(take_out(docs).removed) == 7
    for _ in range(2):
        changes = toy_index()
        assert (changes.documents, changes.skipped, changes.kept_roots) == (1, {}, {})
    take_out(other)
    with pytest.raises(InputError, match="no roots yet"):
        toy_index()
    assert toy_index(docs).documents == 9


def test_a_root_within_a_root_is_taken_out(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut
) -> None:
    toy_index(docs, docs / "sub", docs / "plan.txt")
    take_out(docs / "sub", docs / "plan.txt")
    for paths in ((), (docs,)):
        changes = toy_index(*paths)
        assert list(changes.skipped) == [docs / "plan.txt", docs / "sub"]
    assert sources(tmp_path) == ["notes.md", "rows.jsonl", "table.csv"]


def test_what_is_gone_can_be_taken_out(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut
) -> None:
    toy_index(docs)
    (docs / "plan.txt").unlink()
    shutil.rmtree(docs / "sub")
    assert take_out(docs / "plan.txt").removed == [docs / "plan.txt"]
    assert len(take_out(docs / "sub").removed) == 3
    shutil.rmtree(docs)
    assert len(take_out(docs).removed) == 3
    with Snapshot.open(tmp_path / "index") as snapshot:
        assert (snapshot.summaries(), snapshot.roots()) == ([], [])


def test_a_file_that_could_not_be_read_can_be_taken_out(
    toy_index: Indexer, docs: Path, take_out: TakeOut
) -> None:
    (docs / "image.txt").write_bytes(b"\x89PNG")
    assert list(toy_index(docs).failed) == [docs / "image.txt"]
    assert take_out("image.txt").removed == [docs / "image.txt"]
    changes = toy_index()
    assert (changes.failed, list(changes.skipped)) == ({}, [docs / "image.txt"])


@pytest.mark.parametrize("by", ["id", "title"])
def test_a_row_is_refused_with_what_to_type(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut, by: str
) -> None:
    toy_index(docs)
    table = docs / "table.csv"
    with pytest.raises(InputError, match=r"is row 1 of .*a table is taken out whole") as caught:
        take_out(document_id(tmp_path, table) if by == "id" else "First row")
    assert sources(tmp_path) == ALL
    (command,) = re.findall("`(.*)`", str(caught.value))
    assert shlex.split(command)[:2] == ["citespan", "rm"]
    assert take_out(*shlex.split(command)[2:]).removed == [table]


@pytest.mark.parametrize(
    "name", ["nowhere", "", " ", "plan.tx", "ub/draft.txt", "nowhere/plan.txt"]
)
def test_what_names_nothing_takes_out_nothing(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut, name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Least of all an empty name, as of a variable that is not set."""
    toy_index(docs)
    monkeypatch.chdir(docs)
    with pytest.raises(InputError, match="no document"):
        take_out(docs / "notes.md", name)
    assert sources(tmp_path) == ALL


def test_a_name_that_fits_several_is_refused_with_their_ids(
    toy_index: Indexer, docs: Path, tmp_path: Path, take_out: TakeOut
) -> None:
    toy_index(docs)
    for name in ("plan.txt", "plan"):
        with pytest.raises(InputError, match=r"names 2 documents, .*; give an id") as caught:
            take_out(name)
        for path in (docs / "plan.txt", docs / "sub" / "deep" / "plan.txt"):
            assert f"{document_id(tmp_path, path)} ({path})" in str(caught.value)
    assert sources(tmp_path) == ALL


def test_rm_on_the_command_line(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    index = ("--index", tmp_path / "index")
    done = citespan("rm", "sub", "notes.md", *index, cwd=docs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:5] == [
        *(f"removed: {docs / name}" for name in ALL if name == "notes.md" or "sub/" in name),
        "0 added, 0 changed, 4 removed, 0 unchanged, 0 failed, 0 skipped",
    ]
    done = citespan("rm", "plan.txt", *index, "--json", cwd=docs)
    report = json.loads(done.stdout)
    assert (report["removed"], report["documents"]) == ([str(docs / "plan.txt")], 4)
    done = citespan("rm", "plan.txt", *index, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: no document 'plan.txt' in the index; `citespan list` names them\n"
    )


# What a run would do.


CONTENTS = {
    "text": b"A text that says alpha. " * 30,
    "other text": b"Another text says beta. " * 60,
    "long text": b"".join(b"Sentence %d is long. " % n for n in range(900)),
    "table": b"a,b\n1,alpha\n2,beta\n",
    "lines": b'{"a": "alpha"}\nno object\n{"b": "beta"}\n',
    "image": b"\x89PNG alpha",
    "nothing": b" \n",
    "large": b"x " * 40_000,
    "rules": b"*.md\nsub/\n!one.txt\n",
}
NAMES = st.sampled_from(
    ["one.txt", "two.md", "three.csv", "sub/four.txt", "sub/five.jsonl", "sub/in/six.txt",
     "new.txt", "new/seven.csv", IGNORE_FILE, f"sub/{IGNORE_FILE}"],
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.just("write"), NAMES, st.sampled_from(sorted(CONTENTS)))
    | st.tuples(st.sampled_from(["delete", "touch"]), NAMES, st.just(""))
    | st.tuples(st.just("rename"), NAMES, NAMES)
    | st.tuples(st.just("delete folder"), st.sampled_from(["", "sub", "sub/in"]), st.just("")),
    max_size=6,
)


def edit(docs: Path, how: str, name: str, more: str) -> None:
    path = docs / name
    if how == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENTS[more])
    elif not path.exists():
        pass
    elif how == "delete":
        path.unlink()
    elif how == "touch":
        path.touch()
    elif how == "rename":
        (docs / more).parent.mkdir(parents=True, exist_ok=True)
        path.rename(docs / more)
    else:
        shutil.rmtree(path)


class Folder:
    """Documents that can be edited and then put back, with the index of how they were."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.docs, self.index = folder / "docs", folder / "index"
        self._then = folder / "then"
        self._tokenizer = tokenizer
        for name, content in (
            ("one.txt", "text"), ("two.md", "long text"), ("three.csv", "table"),
            ("sub/four.txt", "text"), ("sub/five.jsonl", "lines"), ("sub/in/six.txt", "image"),
        ):  # fmt: skip
            edit(self.docs, "write", name, content)
        age(self.docs)
        self.run([self.docs, self.docs / "one.txt"])
        for part in (self.docs, self.index):
            shutil.copytree(part, self._then / part.name)

    def restore(self) -> None:
        for part in (self.docs, self.index):
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(self._then / part.name, part)

    def outcome(self, paths: Sequence[Path], **options: Any) -> Any:
        """What `run` says of files and passages, or its error."""
        try:
            told = asdict(self.run(paths, **options))
        except InputError as error:
            return str(error)
        return {key: told[key] for key in told.keys() - {"seconds", "generation", "recall"}}

    def run(self, paths: Sequence[Path], **options: Any) -> Changes:
        with Writer.open(self.index, lambda: TOY_RECIPE) as writer:
            return update(writer, paths, ToyEncoder(self._tokenizer), max_bytes=65_536, **options)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, lasting_workers: None
) -> Folder:
    return Folder(tmp_path_factory.mktemp("dry"), tokenizer)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=EDITS,
    named=st.sampled_from([(), ("",), ("sub",), ("one.txt", "sub")]),
    allow_empty=st.booleans(),
    columns=st.sampled_from([None, None, Columns(("a",)), Columns(("b",), "a"), Columns(("c",))]),
)
def test_a_dry_run_says_what_a_run_does_and_does_nothing(
    folder: Folder,
    edits: Any,
    named: Sequence[str],
    allow_empty: bool,
    columns: Columns | None,
) -> None:
    folder.restore()
    for one in edits:
        edit(folder.docs, *one)
    paths = [folder.docs / name for name in named]
    options = {"allow_empty": allow_empty, "columns": columns}
    before = on_disk(folder.index)
    foreseen = folder.outcome(paths, **options, dry_run=True)
    assert on_disk(folder.index) == before
    assert foreseen == folder.outcome(paths, **options)
    again = folder.outcome(paths, allow_empty=allow_empty)
    if isinstance(again, dict):
        assert [again[key] for key in ("added", "changed", "removed", "embedded")] == [
            [],
            [],
            [],
            0,
        ]


@pytest.fixture
def toy_models(
    monkeypatch: pytest.MonkeyPatch, encoder: ToyEncoder, tmp_path: Path
) -> Callable[..., Any]:
    """The command line with the toy encoder, in this process, with its temporary files aside."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(indexing, "_load", lambda *_: (encoder, TOY))
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_a_dry_run_makes_no_index(
    toy_models: Callable[..., Any], docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    (docs / "image.txt").write_bytes(b"\x89PNG")
    index = ("--index", tmp_path / "index")
    done = toy_models("index", docs, *index, "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:9] == [
        *(f"added: {docs / name}" for name in ALL),
        "nothing was changed; without --dry-run it would be:",
        "7 added, 0 changed, 0 removed, 0 unchanged, 1 failed, 0 skipped",
    ]
    assert f"failed: {docs / 'image.txt'}: is a PNG image" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my docs", "temporary"]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert encoder.embedded == []

    foreseen = json.loads(toy_models("index", docs, *index, "--dry-run", "--json").stdout)
    really = json.loads(toy_models("index", docs, *index, "--json").stdout)
    for report in (foreseen, really):
        del report["seconds"], report["generation"]
    assert foreseen == really


def test_a_dry_run_leaves_the_leftovers_of_a_killed_run(
    toy_models: Callable[..., Any], docs: Path, tmp_path: Path
) -> None:
    """They are garbage, and still it said that it changes nothing."""
    index = ("--index", tmp_path / "index")
    toy_models("index", docs, *index)
    write(tmp_path / "index" / "generations" / "00000009.partial" / "vectors.faiss", "half")
    before = on_disk(tmp_path / "index")
    assert toy_models("index", *index, "--dry-run").exit_code == 0
    assert on_disk(tmp_path / "index") == before


def test_a_dry_run_without_an_index_names_the_one_that_is_not_there(
    toy_models: Callable[..., Any], tmp_path: Path
) -> None:
    done = toy_models("index", "--index", tmp_path / "none", "--dry-run")
    assert isinstance(done.exception, CitespanError)
    assert str(tmp_path / "none") in str(done.exception)
    assert str(tmp_path / "temporary") not in str(done.exception)


def test_a_dry_run_on_the_command_line_lists_what_would_change(
    toy_models: Callable[..., Any], docs: Path, tmp_path: Path
) -> None:
    index = ("--index", tmp_path / "index")
    toy_models("index", docs, *index)
    write(docs / "notes.md", "The notes say mu.")
    (docs / "table.csv").rename(docs / "table2.csv")
    before = on_disk(tmp_path / "index")
    for _ in range(2):
        done = toy_models("index", *index, "--dry-run")
        assert done.stdout.splitlines()[:3] == [
            f"added: {docs / 'table2.csv'}",
            f"changed: {docs / 'notes.md'}",
            f"removed: {docs / 'table.csv'}",
        ]
        assert "1 added, 1 changed, 1 removed, 5 unchanged, 0 failed, 0 skipped" in done.stdout
        assert "9 documents, 9 passages, 1 embedded" in done.stdout
    assert on_disk(tmp_path / "index") == before
    shutil.rmtree(docs)
    done = toy_models("index", *index, "--dry-run")
    assert done.exit_code == 1, "as the run itself"

"""Killed, full, read-only, damaged or shared: an index is as it was, or as it was meant to be."""

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traced
from conftest import TOY, TOY_RECIPE, ToyEncoder, on_disk
from faults import Indexer, Job, points

from corpus import generations
from corpus.checkup import salvage
from corpus.errors import CitespanError, NoIndexError
from corpus.sandbox import Sandbox
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import follow
from embeddings.exports import ModelSource
from embeddings.follow import remove, update
from embeddings.search import Search
from embeddings.vectors import VectorIndex
from qa import doctor
from qa.settings import ModelPair
from qa.verify import verify

OLD = 1_600_000_000
SEED = 20
TAKEN_OUT = "taken.txt"
CREATION = 4
"""Of so many kills one is of a run that makes its index."""


def text(name: str, edition: str) -> str:
    return "\n\n".join(f"The {name} of part{part} in its {edition}. " * 4 for part in range(3))


def write(path: Path, content: str) -> None:
    path.write_text(content)
    os.utime(path, (OLD, OLD))


class World:
    """Documents that have changed since they were indexed, and all the states on the way."""

    def __init__(self, folder: Path, tokenizer: Any, indexer: Indexer) -> None:
        self.docs = folder / "docs"
        self.docs.mkdir()
        self.tokenizer = tokenizer
        self.indexer = indexer
        self.texts: dict[str, str] = {}
        for name in ("keep", "edit", "touch", "go", "taken", "fail"):
            for n in range(3):
                self.write(f"{name}{n}.txt" if name != "taken" or n else TAKEN_OUT, "first edition")
        self.start = folder / "start"
        assert indexer.run(Job(str(self.start), str(self.docs))).error == ""
        for n in range(3):
            self.write(f"edit{n}.txt", "second edition")
            self.write(f"new{n}.txt", "first edition")
            (self.docs / f"go{n}.txt").unlink()
            (self.docs / f"fail{n}.txt").write_bytes(b"\x89PNG")
            os.utime(self.docs / f"touch{n}.txt", (OLD + 9, OLD + 9))

        self.job = Job("", str(self.docs), [TAKEN_OUT])
        self.states = [self.state(self.start)]
        self.events: list[list[str]] = []
        for index, takes_out in (("one", []), ("two", [TAKEN_OUT])):
            shutil.copytree(self.start, folder / index)
            job = replace(self.job, index=str(folder / index), takes_out=takes_out)
            self.events.append(list(indexer.run(job).events))
            self.states.append(self.state(folder / index))
        made = indexer.run(replace(self.job, index=str(folder / "made")))
        self.creating = list(made.events)
        self.created = [self.state(folder / "made")]
        indexer.run(replace(self.job, index=str(folder / "made2"), takes_out=[]))
        self.created.insert(0, self.state(folder / "made2"))

    def write(self, name: str, edition: str) -> None:
        content = text(Path(name).stem, edition)
        write(self.docs / name, content)
        self.texts[hashlib.sha256(content.encode()).hexdigest()] = content

    def state(self, folder: Path) -> Any:
        """All that the index knows and finds, in full; each part of it is looked at."""
        assert generations.verify_files(*self._named(folder)) == []
        with Snapshot.open(folder) as snapshot:
            known = {
                table: sorted(snapshot.rows(f"SELECT {columns} FROM {table}"))
                for table, columns in (
                    ("documents", "id, source, title, text, sha256, loader"),
                    ("passages", 'id, document, start, "end", vector'),
                    ("files", "path, size, mtime_ns, sha256, loader, coalesce(failure, '')"),
                    ("roots", "path"),
                    ("exclusions", "path"),
                )
            }
            for _, _, _, content, sha256, _ in known["documents"]:
                assert content == self.texts[sha256], "the text is not the file's"
            named = {vector for *_, vector in known["passages"]}
            assert named == set(snapshot.vectors(named)), "a passage has no vector"
            search = Search.open(snapshot, ToyEncoder(self.tokenizer))
            hits = search.search("the new edition of part2", 999)
            assert sorted(hit.passage.id for hit in hits) == [id_ for id_, *_ in known["passages"]]
            found = [(hit.passage.id, hit.passage.text, hit.score) for hit in hits]
            return snapshot.generation, snapshot.meta("next_passage"), known, found

    def _named(self, folder: Path) -> tuple[Path, str]:
        with Snapshot.open(folder) as snapshot:
            return snapshot.artefacts, snapshot.meta("manifest")

    def finish(self, index: Path) -> None:
        """What the user does next: the same again, as far as it was not done."""
        with Writer.open(index, lambda: TOY_RECIPE) as writer:
            update(writer, [self.docs], ToyEncoder(self.tokenizer), max_bytes=2**20)
            if not writer.exclusions():
                remove(writer, [TAKEN_OUT])
        assert self.state(index) in (self.states[-1], self.created[-1])
        left = {path.name for path in index.iterdir()}
        assert left - {"index.sqlite-wal", "index.sqlite-shm"} == {
            "index.sqlite", "generations", "lock",
        }  # fmt: skip
        assert len([*(index / "generations").iterdir()]) == 1
        with closing(sqlite3.connect(index / "index.sqlite")) as connection:
            (unnamed,) = connection.execute(
                "SELECT count(*) FROM vectors WHERE hash NOT IN (SELECT vector FROM passages)"
            ).fetchone()
        assert unnamed == 0

    def citations(self, index: Path) -> list[dict[str, Any]]:
        """A saved answer's citation for each passage."""
        with Snapshot.open(index) as snapshot:
            documents = {s.id: snapshot.document(s.id) for s in snapshot.summaries()}
            rows = snapshot.rows('SELECT document, start, "end" FROM passages')
        return [
            {
                "document": id_, "source": str(documents[id_].source), "start": start, "end": end,
                "sha256": documents[id_].sha256, "quote": documents[id_].text[start:end],
                "sentence": documents[id_].text[start:end], "sentence_start": start,
            }
            for id_, start, end in rows
        ]  # fmt: skip


@pytest.fixture(scope="module")
def indexer() -> Iterator[Indexer]:
    with Indexer() as indexer:
        yield indexer


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, indexer: Indexer
) -> Iterator[World]:
    with Sandbox(workers=1) as sandbox, pytest.MonkeyPatch.context() as patch:
        # One worker process for all the runs in this process.
        lasting = type("Lasting", (), {"__enter__": lambda _: sandbox, "__exit__": lambda *_: None})
        patch.setattr(follow, "Sandbox", lambda **_: lasting())
        yield World(tmp_path_factory.mktemp("world"), tokenizer, indexer)


def kill(world: World, folder: Path, n: int) -> list[str]:
    """Kill so many runs, each at another point; what each had come to."""
    outcomes = []
    plan = points(world.events[-1], n - n // CREATION, SEED)
    jobs = [(True, at, delay) for at, delay in plan]
    jobs += [(False, *point) for point in points(world.creating, n // CREATION, SEED + 1)]
    for number, (existing, at, delay) in enumerate(jobs):
        index = folder / str(number)
        if existing:
            shutil.copytree(world.start, index)
        job = replace(world.job, index=str(index), die_at=at, delay_seconds=delay)
        end = world.indexer.run(job)
        name = (world.events[-1] if existing else world.creating)[at]
        where = f"killed {delay * 1e3:.1f} ms after event {at} ({name})"
        assert end.signal in (0, signal.SIGKILL), where
        assert not end.error, where
        assert end.signal or delay, where
        try:
            state = world.state(index)
        except NoIndexError:
            assert not existing, where
            came_to = "nothing"
        else:
            states = world.states if existing else world.created
            assert state in states, where
            came_to = f"commit {states.index(state) + (not existing)}"
        outcomes.append(came_to if end.signal else "survived")
        world.finish(index)
        shutil.rmtree(index)
    return outcomes


def check_kills(world: World, folder: Path, n: int) -> None:
    outcomes = kill(world, folder, n)
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    print(f"\n{n} kills: {counts}")
    assert outcomes.count("survived") <= n / 5
    assert {"nothing", "commit 0", "commit 1"} <= set(outcomes)
    shutil.copytree(world.start, folder / "last")
    world.finish(folder / "last")
    citations = world.citations(folder / "last")
    assert verify(citations)["counts"] == {"unchanged": len(citations)}


def test_killed_anywhere_it_is_as_before_or_after_a_commit(world: World, tmp_path: Path) -> None:
    check_kills(world, tmp_path, 20)


@pytest.mark.long
def test_killed_at_two_hundred_points(world: World, tmp_path: Path) -> None:
    check_kills(world, tmp_path, 200)


# What gets a name is on the disk.


def test_names_are_given_to_what_is_on_the_disk(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every rename of a whole run, a salvage included."""
    flushed: dict[int, int] = {}
    due: list[Path] = []
    renames: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        flushed[status.st_ino] = status.st_mtime_ns
        if due and status.st_ino == due[0].stat().st_ino:
            due.pop(0)

    def noted_rename(source: Any, target: Any) -> None:
        assert not due, f"{due} was not flushed after a rename into it"
        for path in (Path(source), *Path(source).rglob("*")):
            status = path.stat()
            last = flushed.get(status.st_ino)
            assert last is not None, f"{path} was not flushed before it was renamed"
            assert stat.S_ISDIR(status.st_mode) or last == status.st_mtime_ns, f"{path} was changed"
        rename(source, target)
        renames.append(Path(target).name)
        due.append(Path(target).parent)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    docs, index = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    write(docs / "one.txt", text("one", "first edition"))
    with Writer.open(index, lambda: TOY_RECIPE) as writer:
        update(writer, [docs], ToyEncoder(tokenizer), max_bytes=2**20)
        write(docs / "two.txt", text("two", "first edition"))
        update(writer, [docs], ToyEncoder(tokenizer), max_bytes=2**20)
        assert not due
        remove(writer, ["one.txt"])
    copy, _ = salvage(index)
    assert copy.stat().st_ino in flushed, "the backup is on the disk before anything is touched"
    assert not due
    assert renames == [
        "00000000", "index.sqlite", "00000001", "00000002", "00000003", "00000000", "index.sqlite",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def traced_calls(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[traced.Call], Path]:
    """What the kernel was asked for while indexes were kept, and where they lie."""
    if reason := traced.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("traced")
    return traced.trace(folder), folder / "indexes"


def test_of_all_that_is_asked_of_the_kernel_nothing_comes_too_early(
    traced_calls: tuple[list[traced.Call], Path],
) -> None:
    """Of SQLite, FAISS and tantivy too, as strace sees it: the law is told at `traced.judge`."""
    calls, folder = traced_calls
    verdict = traced.judge(calls, folder / "sound" / "index")
    assert verdict.broken == []
    assert verdict.published == ["00000000", "00000001", "00000002", "00000003", "00000000"]
    assert verdict.committed == ["00000001", "00000002", "00000003"]


@pytest.mark.parametrize("fault", traced.FAULTS)
def test_what_comes_too_early_is_seen(
    traced_calls: tuple[list[traced.Call], Path], fault: str
) -> None:
    calls, folder = traced_calls
    broken = traced.judge(calls, folder / fault / "index").broken
    assert any(traced.FAULTS[fault][1] in said for said in broken), broken


# A full disk, and one that cannot be written to.


def check_refusal(world: World, index: Path, error: str) -> None:
    """It said so, in words for people, and nothing was lost."""
    kind, _, message = error.partition(": ")
    assert kind in ("IndexStateError", "NoIndexError", ""), error
    assert "cannot be" in message or "can be written" in message or not error
    assert len(error.splitlines()) <= 1
    assert world.state(index) in world.states


@pytest.mark.parametrize("size", [0, 500, 9_000, 30_000, 60_000, 90_000])
def test_a_file_that_may_not_grow(world: World, tmp_path: Path, size: int) -> None:
    index = tmp_path / "index"
    shutil.copytree(world.start, index)
    end = world.indexer.run(replace(world.job, index=str(index), file_bytes=size))
    assert end.error
    check_refusal(world, index, end.error)
    world.finish(index)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where one may be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "citespan-test", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@needs_root
@pytest.mark.parametrize("derived_alone", [False, True])
def test_a_full_disk_is_said_and_nothing_is_lost(
    world: World, tmp_path: Path, small_disk: Path, derived_alone: bool
) -> None:
    """Or with the derived indexes on the full disk alone, and the database on another."""
    refused: list[str] = []
    for kilobytes in (0, 12, 20, 24, 28, 32, 36, 40, 44, 72, 130):
        index = (tmp_path if derived_alone else small_disk) / "index"
        shutil.copytree(world.start, index)
        if derived_alone:
            shutil.move(index / "generations", small_disk / "generations")
            (index / "generations").symlink_to(small_disk / "generations")
        free = shutil.disk_usage(small_disk).free
        (small_disk / "ballast").write_bytes(bytes(max(0, free - 1024 * kilobytes)))
        end = world.indexer.run(replace(world.job, index=str(index)))
        (small_disk / "ballast").unlink()
        check_refusal(world, index, end.error)
        assert not [*(index / "generations").glob("*.partial")]
        refused += [end.error] if end.error else []
        world.finish(index)
        shutil.rmtree(index)
        shutil.rmtree(small_disk / "generations", ignore_errors=True)
    assert len(refused) >= 3
    if derived_alone:
        assert any("tantivy" in said for said in refused)
        assert any("tantivy" not in said for said in refused), "FAISS alone found no room, once"


@needs_root
@pytest.mark.parametrize("n", [5_000, 1_000])
def test_vectors_that_find_no_room_say_so(small_disk: Path, n: int) -> None:
    """Also where FAISS would only find out when it closes its file, and say nothing."""
    vectors = np.ones((n, 64), np.float32)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(
        bytes(free // 4096 * 4096 - (vectors.nbytes // 8192 * 4096))
    )
    with pytest.raises(OSError, match="No space left"):
        VectorIndex.build(np.arange(n), vectors).save(small_disk)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into."""
    folder = Path(tempfile.mkdtemp(prefix="citespan-shared-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_an_index_that_may_not_be_written_is_left_alone(world: World, shared: Path) -> None:
    index = shared / "index"
    shutil.copytree(world.start, index)
    before = on_disk(index)
    for path in (*index.rglob("*"), index):
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Root may write anything; nobody may not.
    nobody = 65534 if os.geteuid() == 0 else None
    end = world.indexer.run(replace(world.job, index=str(index), user=nobody))
    assert end.error.startswith(f"NoIndexError: no index can be written at {index}: Permission")
    assert on_disk(index) == before


# Two at once.


def test_two_indexers_wait_for_each_other(tmp_path: Path, tokenizer: Any, indexer: Indexer) -> None:
    """Also where there is no index yet, so that both would make it."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        for n in range(5):
            write(folder / f"{folder.name}{n}.txt", text(f"{folder.name}{n}", "first edition"))
    ends: list[str] = []
    with Indexer() as other:

        def run(who: Indexer, docs: Path) -> None:
            ends.append(who.run(Job(str(tmp_path / "index"), str(docs))).error)

        for _ in range(3):
            threads = [
                threading.Thread(target=run, args=pair)
                for pair in zip((indexer, other), folders, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for folder in folders:
                write(folder / f"more{len(ends)}.txt", text(folder.name, f"edition {len(ends)}"))
    assert ends == [""] * 6
    with Snapshot.open(tmp_path / "index") as snapshot:
        assert len(snapshot.summaries()) == 14
        assert snapshot.roots() == folders
        assert snapshot.generation == 6


def test_readers_see_one_generation_whole(tmp_path: Path, tokenizer: Any, indexer: Indexer) -> None:
    docs, index, editions = tmp_path / "docs", tmp_path / "index", 6
    docs.mkdir()

    def publish(edition: int) -> None:
        for n in range(8):
            (docs / f"doc{n}.txt").write_text(text(f"doc{n}", f"edition{edition}"))
        assert indexer.run(Job(str(index), str(docs))).error == ""

    def keep_publishing() -> None:
        for edition in range(1, editions):
            publish(edition)

    publish(0)
    seen = set()
    thread = threading.Thread(target=keep_publishing)
    thread.start()
    while thread.is_alive():
        with Snapshot.open(index) as snapshot:
            search = Search.open(snapshot, ToyEncoder(tokenizer))
            edition = f"edition{snapshot.generation - 1}"
            hits = search.search(f"the {edition} of doc3", 999)
            assert len(hits) == snapshot.count()[1] > 8
            for hit in hits:
                assert edition in hit.passage.text
            documents = {s.id: snapshot.document(s.id).text for s in snapshot.summaries()}
            assert len(documents) == 8
            assert all(content.count(edition) == 12 for content in documents.values())
            assert any(hit.lexical_rank for hit in hits)
            seen.add(snapshot.generation)
    thread.join()
    assert len(seen) > 2, "too few generations were met to show anything"


# Damage.


def flip_bit(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut_short(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


DAMAGE: Sequence[Callable[[Path, random.Random], None]] = (flip_bit, cut_short)


def contents(folder: Path) -> Any:
    """What the index says, whatever numbers it gives to passages."""
    with Snapshot.open(folder) as snapshot:
        return sorted(
            snapshot.rows(
                "SELECT d.source, d.row, d.title, d.text, d.sha256, d.loader, coalesce(d.encoding,"
                " ''), coalesce(d.date, ''), d.page_starts, d.line_anchors,"
                ' p.start, p."end", v.vector FROM documents d'
                " JOIN passages p ON p.document = d.id JOIN vectors v ON v.hash = p.vector"
            )
        )


@pytest.fixture
def healthy(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index in line with its documents, and a doctor who knows its models."""
    source = ModelSource("toy", tmp_path)
    monkeypatch.setattr(doctor, "model_pair", lambda _: ModelPair(source, source))
    monkeypatch.setattr(doctor, "identify", lambda _: TOY)
    shutil.copytree(world.start, tmp_path / "healthy")
    world.finish(tmp_path / "healthy")
    return tmp_path / "healthy"


def check_damage(world: World, healthy: Path, rounds: int) -> None:
    """Damage one file after the other at random places, and have it mended."""
    draw = random.Random(SEED)
    files = [p for p in healthy.rglob("*") if p.is_file() and p.stat().st_size and p.name != "lock"]
    derived = sorted(p.relative_to(healthy) for p in files if "generations" in p.parts)
    expected, index = contents(healthy), healthy.parent / "damaged"
    outcomes: dict[str, int] = {}
    for number in range(rounds):
        shutil.copytree(healthy, index)
        # The database as often as all others together: it is the truth.
        victim = Path("index.sqlite") if number % 2 else derived[number // 2 % len(derived)]
        DAMAGE[number // 2 // len(derived) % 2 if number % 2 == 0 else number // 2 % 2](
            index / victim, draw
        )
        outcome = mend(world, index, victim)
        kind = victim.name if victim.suffix in (".sqlite", ".faiss", ".json") else "tantivy"
        outcomes[f"{kind}: {outcome}"] = outcomes.get(f"{kind}: {outcome}", 0) + 1
        if outcome != "said to be lost":
            assert contents(index) == expected, f"{number}: {victim} {outcome}"
        shutil.rmtree(index)
    print(f"\n{rounds} damages: {dict(sorted(outcomes.items()))}")


def mend(world: World, index: Path, victim: Path) -> str:
    """Have the doctor look at it, and mend what can be; what came of it."""
    with suppress(CitespanError), Snapshot.open(index) as snapshot:
        Search.open(snapshot, ToyEncoder(world.tokenizer)).search("part2", 99)
    before = (index / "index.sqlite").read_bytes()
    found = [*doctor.examine(index)]
    assert all(len(finding.message.splitlines()) == 1 for finding in found)
    if victim.name != "index.sqlite":
        assert [f.state for f in found if f.part == "derived"] == ["mended"]
        return "built again"
    if not any(finding.state == "damaged" for finding in found):
        return "made no difference"
    assert (index / "index.sqlite").read_bytes() == before
    repaired = [*doctor.examine(index, repair=True)]
    assert [*index.glob("index.sqlite.backup-*")]
    if any(finding.state == "damaged" for finding in repaired):
        assert "beyond repair" in repaired[0].message
        return "said to be lost"
    with Writer.open(index, lambda: TOY_RECIPE) as writer:
        paths = [] if writer.roots() else [world.docs]
        if TAKEN_OUT not in {path.name for path in writer.exclusions()}:
            update(writer, [world.docs], ToyEncoder(world.tokenizer), max_bytes=2**20)
            remove(writer, [TAKEN_OUT])
        else:
            update(writer, paths, ToyEncoder(world.tokenizer), max_bytes=2**20)
    return "repaired"


def test_what_is_damaged_is_found_and_mended(world: World, healthy: Path) -> None:
    check_damage(world, healthy, 30)


@pytest.mark.long
def test_hundreds_of_damages_are_found_and_mended(world: World, healthy: Path) -> None:
    check_damage(world, healthy, 400)

"""Killed, full, read-only, damaged or shared: an index is as it was, or as it was meant to be."""

import hashlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY_RECIPE, ToyEncoder
from faults import Indexer, Job, points

from corpus import generations
from corpus.errors import NoIndexError
from corpus.sandbox import Sandbox
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import follow
from embeddings.follow import remove, update
from embeddings.search import Search
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

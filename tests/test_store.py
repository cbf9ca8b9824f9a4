"""The rules of storage: one commit point, one writer, whole generations, nothing lost."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY, TOY_RECIPE, Indexer, ToyEncoder, hold

from corpus import database, generations, migrations
from corpus.checkup import contradictions
from corpus.errors import (
    DamagedIndexError,
    IndexStateError,
    LockedIndexError,
    NoIndexError,
    RecipeError,
)
from corpus.records import ModelIdentity
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import build
from embeddings.build import damage
from embeddings.search import Search


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("alpha", "beta", "gamma"):
        (folder / f"{name}.txt").write_text(f"The {name} paper.\n\nIt says {name} is here. " * 4)
    return folder


def state(folder: Path) -> Any:
    """All that an index answers from, for comparison."""
    with Snapshot.open(folder) as snapshot:
        summaries = [(s.id, s.title, s.passages) for s in snapshot.summaries()]
        return snapshot.generation, summaries, sorted(p.name for p in snapshot.artefacts.iterdir())


# 1. SQLite is the truth; FAISS and tantivy are derived.


def test_derived_artefacts_are_rebuilt_from_the_truth(
    toy_index: Indexer, docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    toy_index(docs)
    before = search_all(folder_of(tmp_path), encoder)
    embedded = len(encoder.embedded)
    with Snapshot.open(folder_of(tmp_path)) as snapshot:
        damaged = snapshot.artefacts
    (damaged / "vectors.faiss").write_bytes(b"garbage")
    with pytest.raises(DamagedIndexError, match=r"vectors.faiss has 7 bytes.*citespan index"):
        Snapshot.open(folder_of(tmp_path))
    changes = toy_index()
    assert (changes.added, changes.changed, changes.unchanged) == ([], [], 3)
    assert search_all(folder_of(tmp_path), encoder) == before
    assert len(encoder.embedded) == embedded


def test_indexes_with_words_of_an_earlier_version_are_built_again(
    toy_index: Indexer,
    docs: Path,
    tmp_path: Path,
    encoder: ToyEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(build, "asdict", lambda s: {"built_with": s.built_with, "tombstones": 0})
        toy_index(docs)
    embedded = len(encoder.embedded)
    with Writer.open(folder_of(tmp_path), lambda: TOY_RECIPE) as writer:
        assert "another version" in damage(writer)[0]
    changes = toy_index()
    assert (changes.generation, changes.unchanged, len(encoder.embedded)) == (2, 3, embedded)
    assert toy_index().generation == 2


def search_all(folder: Path, encoder: ToyEncoder) -> list[Any]:
    with Snapshot.open(folder) as snapshot:
        search = Search.open(snapshot, encoder)
        return [
            [(hit.passage.text, hit.score) for hit in search.search(question, 10)]
            for question in ("alpha paper", "is beta here", "nothing")
        ]


# 2. Write, fsync, rename, then one transaction that names the generation.


def test_every_file_is_flushed_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        events.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        events.append(("rename", self.name))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)

    def fill(folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("a")
        (folder / "b").write_text("b")

    manifest = generations.publish(tmp_path / "00000001", fill)
    renamed = events.index(("rename", "00000001.partial"))
    flushed = {name for kind, name in events[:renamed] if kind == "fsync"}
    assert flushed == {"a", "b", "sub", "manifest.json", "00000001.partial"}
    assert events[renamed + 1] == ("fsync", tmp_path.name)
    assert generations.verify_files(tmp_path / "00000001", manifest) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from conftest import TOY_RECIPE, ToyEncoder
from corpus import generations
from corpus.writer import Writer
from embeddings import follow
from qa.settings import model_pair
from tokenizers import Tokenizer

point, count = sys.argv[4], int(sys.argv[5])
def die_after(calls, function):
    left = [calls]
    def wrapped(*arguments, **options):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return function(*arguments, **options)
    return wrapped

if point == "fsync":
    os.fsync = die_after(count, os.fsync)
elif point == "rename":
    Path.rename = die_after(count, Path.rename)
elif point == "stage":
    Writer.stage = die_after(count, Writer.stage)
elif point == "vectors":
    Writer.add_vectors = die_after(count, Writer.add_vectors)
elif point == "transaction":
    Writer._note = die_after(count, Writer._note)
elif point == "sweep":
    generations.sweep = die_after(count, generations.sweep)
tokenizer = Tokenizer.from_file(str(model_pair("bundled").encoder.folder / "tokenizer.json"))
tokenizer.no_truncation(); tokenizer.no_padding()
with Writer.open(Path(sys.argv[1]), lambda: TOY_RECIPE) as writer:
    follow.update(writer, [Path(sys.argv[2])], ToyEncoder(tokenizer), max_bytes=2**20)
"""


@pytest.mark.parametrize(
    ("point", "count"),
    [("stage", 0), ("stage", 1), ("vectors", 0), ("fsync", 0), ("fsync", 3), ("fsync", 9),
     ("rename", 0), ("transaction", 0), ("sweep", 1)],
)  # fmt: skip
def test_killed_anywhere_the_index_is_as_before_or_as_meant(
    toy_index: Indexer, docs: Path, tmp_path: Path, point: str, count: int
) -> None:
    toy_index(docs)
    before = state(folder_of(tmp_path))
    (docs / "alpha.txt").write_text("The alpha paper was withdrawn entirely.")
    (docs / "beta.txt").unlink()
    (docs / "delta.txt").write_text("The delta paper. It is new.")

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, folder_of(tmp_path), docs, Path(__file__).parent,
         point, str(count)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    after = state(folder_of(tmp_path))
    meant = ["alpha", "delta", "gamma"]
    titles = sorted(s[1] for s in after[1])
    assert after == before or (titles == meant and after[0] == before[0] + 1)
    assert (after != before) == (point == "sweep")

    toy_index(docs)
    finished = state(folder_of(tmp_path))
    assert sorted(s[1] for s in finished[1]) == meant
    left = sorted(p.name for p in (folder_of(tmp_path) / "generations").iterdir())
    assert left == [f"{finished[0]:08}"]


# 3. Old generations go when no reader holds them; a reader sees one generation, whole.


def test_a_reader_keeps_its_generation(
    toy_index: Indexer, docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    toy_index(docs)
    with Snapshot.open(folder_of(tmp_path)) as old:
        search = Search.open(old, encoder)
        before = [hit.passage.text for hit in search.search("beta", 3)]
        (docs / "beta.txt").unlink()
        toy_index(docs)
        assert old.artefacts.exists()
        assert [hit.passage.text for hit in search.search("beta", 3)] == before
        assert len(old.summaries()) == 3
        with Snapshot.open(folder_of(tmp_path)) as new:
            assert len(new.summaries()) == 2
        kept = old.artefacts
    (docs / "gamma.txt").unlink()
    toy_index(docs)
    assert not kept.exists()


def test_leftovers_of_a_killed_sweep_go(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    folder = folder_of(tmp_path) / "generations"
    (folder / "00000000").mkdir()
    (folder / "00000009.partial" / "lexical").mkdir(parents=True)
    (folder / ".DS_Store").write_text("not ours")
    toy_index(docs)
    assert sorted(path.name for path in folder.iterdir()) == [".DS_Store", "00000001"]


# 4. A second writer waits, or says who holds the lock.


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(folder_of(tmp_path), ready, 3.0))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_second_writer_says_who_holds_the_lock(holder: Any, tmp_path: Path) -> None:
    told: list[str] = []
    with (
        pytest.raises(LockedIndexError, match=f"process {holder.pid}"),
        Writer.open(folder_of(tmp_path), lambda: TOY_RECIPE, wait_seconds=0.2, notify=told.append),
    ):
        pass
    assert len(told) == 1


def test_a_second_writer_waits(holder: Any, tmp_path: Path) -> None:
    with Writer.open(folder_of(tmp_path), lambda: TOY_RECIPE, wait_seconds=60) as writer:
        assert writer.generation == 0


# 5. The index opens from a folder that cannot be written to, and is not written to.

AS_NOBODY = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import ToyEncoder
import faiss, numpy, tantivy
from corpus.store import Snapshot
from embeddings.search import Search
from qa.settings import model_pair
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(str(model_pair("bundled").encoder.folder / "tokenizer.json"))
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
with Snapshot.open(Path(sys.argv[1])) as snapshot:
    search = Search.open(snapshot, ToyEncoder(tokenizer))
    found = [
        [(hit.passage.text, hit.score) for hit in search.search(question, 10)]
        for question in ("alpha paper", "is beta here", "nothing")
    ]
print(json.dumps(found))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into."""
    folder = Path(tempfile.mkdtemp(prefix="citespan-shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(folder: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, folder, Path(__file__).parent],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [[tuple(hit) for hit in hits] for hits in json.loads(done.stdout)]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become another user")


@needs_root
def test_another_user_reads_without_a_trace(
    toy_index: Indexer, docs: Path, tmp_path: Path, shared: Path, encoder: ToyEncoder
) -> None:
    toy_index(docs)
    shutil.copytree(folder_of(tmp_path), shared / "index")
    files = {path: path.stat().st_mtime_ns for path in shared.rglob("*")}
    assert as_nobody(shared / "index") == search_all(folder_of(tmp_path), encoder)
    assert {path: path.stat().st_mtime_ns for path in shared.rglob("*")} == files


@needs_root
def test_another_user_sees_what_was_committed_last(
    toy_index: Indexer, docs: Path, tmp_path: Path, shared: Path, encoder: ToyEncoder
) -> None:
    toy_index(docs)
    shutil.move(folder_of(tmp_path), shared / "index")
    folder_of(tmp_path).symlink_to(shared / "index")
    with Snapshot.open(shared / "index"):
        # The reader keeps the writer from folding the log into the database.
        (docs / "beta.txt").write_text("The beta paper was retracted.")
        toy_index(docs)
        assert (shared / "index" / "index.sqlite-wal").stat().st_size > 0
        assert as_nobody(shared / "index") == search_all(shared / "index", encoder)
    (docs / "beta.txt").write_text("The beta paper is back.")
    toy_index(docs)
    assert as_nobody(shared / "index") == search_all(shared / "index", encoder)


def test_a_reader_that_may_not_lock_never_mixes_two_states(
    toy_index: Indexer, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "long.txt").write_text("The old text. " * 5000)
    toy_index(docs)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # As for a user who may only read.
        reader = Snapshot.open(folder_of(tmp_path))
    with reader:
        ids = [summary.id for summary in reader.summaries()]
        assert reader.document(reader.find("long.txt")).text == "The old text. " * 5000
        assert not reader.rewritten
        assert reader.recipe == TOY_RECIPE
        (docs / "long.txt").write_text("A new text. " * 5000)
        toy_index(docs)
        assert reader.rewritten
        assert reader.recipe == TOY_RECIPE, "what a server opens it again with"
        for id_ in ids:
            with pytest.raises(IndexStateError, match=r"rewritten while .* open it again"):
                reader.document(id_)


def test_a_full_disk_says_so_and_changes_nothing(
    toy_index: Indexer, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_index(docs)
    before = state(folder_of(tmp_path))
    connect = database._open

    def full(uri: str) -> sqlite3.Connection:
        connection = connect(uri)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    (docs / "large.txt").write_text("The large paper says much more. " * 2000)
    with monkeypatch.context() as patch:
        patch.setattr(database, "_open", full)
        with pytest.raises(IndexStateError, match=r"cannot be written \(database or disk is full"):
            toy_index(docs)
    assert state(folder_of(tmp_path)) == before
    assert [path.name for path in toy_index(docs).added] == ["large.txt"]


# 6. What cannot be read says so.


def test_no_index_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NoIndexError, match="citespan index PATH"):
        Snapshot.open(tmp_path)


def test_an_index_that_never_got_documents_is_none(tmp_path: Path) -> None:
    with Writer.open(folder_of(tmp_path), lambda: TOY_RECIPE):
        pass
    with pytest.raises(NoIndexError, match="has no documents yet; `citespan index PATH`"):
        Snapshot.open(folder_of(tmp_path))


def test_another_schema_is_refused(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    connection = sqlite3.connect(folder_of(tmp_path) / "index.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    said = "schema 99, this version reads 3; a later version made it"
    with pytest.raises(RecipeError, match=said):
        Snapshot.open(folder_of(tmp_path))
    with pytest.raises(RecipeError, match=said):
        toy_index(docs)


SCHEMA_2 = """
ALTER TABLE documents DROP COLUMN checksum;
DELETE FROM meta WHERE key = 'seal';
PRAGMA user_version = 2;
"""
SCHEMA_1 = f"""
{SCHEMA_2}
ALTER TABLE files DROP COLUMN note;
ALTER TABLE documents DROP COLUMN date;
ALTER TABLE documents DROP COLUMN line_anchors;
DROP TABLE exclusions;
DELETE FROM meta WHERE key IN ('columns', 'manifest');
PRAGMA user_version = 1;
"""
"""What makes of today's database one that an earlier version made."""


def test_an_index_of_an_earlier_version_is_brought_up_to_date(
    toy_index: Indexer, encoder: ToyEncoder, docs: Path, tmp_path: Path
) -> None:
    toy_index(docs)
    folder = folder_of(tmp_path)
    with Snapshot.open(folder) as snapshot:
        before = [snapshot.document(summary.id) for summary in snapshot.summaries()]
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        schema = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        connection.executescript(SCHEMA_1)
    said = r"schema 1, .*`citespan index --index .*` brings it up to date"
    with pytest.raises(RecipeError, match=said):
        Snapshot.open(folder)
    untidy = Writer.open(folder, lambda: TOY_RECIPE, tidy=False)  # As for a dry run.
    with pytest.raises(RecipeError, match=said), untidy:
        pass

    embedded = len(encoder.embedded)
    changes = toy_index()
    assert len(encoder.embedded) == embedded, "vectors are kept"
    assert (changes.generation, len(changes.changed)) == (2, len(before))
    with Snapshot.open(folder) as snapshot:
        assert [snapshot.document(summary.id) for summary in snapshot.summaries()] == before
    with Writer.open(folder, lambda: TOY_RECIPE) as writer:
        assert damage(writer) == []
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        now = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    columns = [re.findall(r"\w+", (sql or "").replace('"', "")) for (sql,) in now]
    assert columns == [re.findall(r"\w+", (sql or "").replace('"', "")) for (sql,) in schema]


def test_documents_of_the_second_schema_get_checksums(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    toy_index(docs)
    folder = folder_of(tmp_path)
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        expected = connection.execute("SELECT id, checksum FROM documents").fetchall()
        connection.executescript(SCHEMA_2)
        connection.execute("UPDATE documents SET text = CAST(x'41ff42' AS TEXT) WHERE rowid = 1")
        connection.commit()
    with Writer.open(folder, lambda: TOY_RECIPE) as writer:
        found = dict(writer.rows("SELECT id, checksum FROM documents"))
        assert dict(expected).keys() == found.keys()
        assert sum(found[id_] == checksum for id_, checksum in expected) == len(expected) - 1
        assert all(len(checksum) == 16 for checksum in found.values())
        assert [*contradictions(writer).values()] == ["has a document that cannot be read"]
        assert writer.generation == 1
        assert writer.meta("seal") == writer.seal()
    assert toy_index().unchanged == len(expected)


def test_a_migration_holds_whole_or_not_at_all(
    toy_index: Indexer, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_index(docs)
    with closing(sqlite3.connect(folder_of(tmp_path) / "index.sqlite")) as connection:
        connection.executescript(SCHEMA_1)
        before = connection.execute("SELECT * FROM sqlite_master").fetchall()
        steps = {1: (*migrations._STEPS[1], "nonsense")}
        monkeypatch.setattr(migrations, "_STEPS", steps)
        with pytest.raises(DamagedIndexError, match="syntax error"):
            migrations.migrate(folder_of(tmp_path))
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_other_models_are_refused(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    with Snapshot.open(folder_of(tmp_path)) as snapshot:
        snapshot.require_models(encoder=TOY, reader=TOY)
        with pytest.raises(RecipeError, match=r"reader toy \(weights 0{12}\), but other"):
            snapshot.require_models(encoder=TOY, reader=ModelIdentity("other", "1" * 64))


@pytest.mark.parametrize("name", ["vectors.faiss", "vectors.json", "manifest.json", "lexical"])
def test_a_missing_part_is_damage(
    toy_index: Indexer, docs: Path, tmp_path: Path, name: str
) -> None:
    toy_index(docs)
    with Snapshot.open(folder_of(tmp_path)) as snapshot:
        part = snapshot.artefacts / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with pytest.raises(DamagedIndexError, match="citespan index"):
        Snapshot.open(folder_of(tmp_path))
    toy_index()
    Snapshot.open(folder_of(tmp_path)).close()


def test_a_broken_database_is_damage(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    (folder_of(tmp_path) / "index.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedIndexError, match="cannot be read"):
        Snapshot.open(folder_of(tmp_path))


def test_passage_ids_are_never_reused(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    def ids() -> set[int]:
        connection = sqlite3.connect(folder_of(tmp_path) / "index.sqlite")
        return {id_ for (id_,) in connection.execute("SELECT id FROM passages")}

    toy_index(docs)
    seen = ids()
    for n in range(3):
        (docs / "gamma.txt").write_text(f"Text number {n}.")
        toy_index(docs)
        current = ids()
        assert not (current - seen) & seen
        seen |= current
    (docs / "gamma.txt").unlink()
    toy_index(docs)
    (docs / "delta.txt").write_text("New text.")
    toy_index(docs)
    assert len(ids() - seen) == 1


def test_text_with_nul_and_astral_characters_comes_back_whole(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    text = "Zero\x00byte 😀 e\u0301 שלום \u2028 end."
    (docs / "odd.txt").write_text(text, newline="")
    toy_index(docs)
    with Snapshot.open(folder_of(tmp_path)) as snapshot:
        document = snapshot.document(snapshot.find("odd.txt"))
    assert document.text == text


def test_the_manifest_is_json_without_surprises(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    toy_index(docs)
    with Snapshot.open(folder_of(tmp_path)) as snapshot:
        manifest = json.loads((snapshot.artefacts / "manifest.json").read_text())
    assert {"vectors.faiss", "vectors.json", "derived.json"} <= set(manifest["files"])
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())

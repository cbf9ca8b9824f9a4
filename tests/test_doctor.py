"""The doctor finds what is broken, mends what is derived, and asks before it touches the truth."""

import json
import multiprocessing
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY, TOY_RECIPE, ToyEncoder, citespan, hold, on_disk

from corpus import checkup, writer
from corpus.errors import LockedIndexError, NoIndexError
from corpus.store import Snapshot
from corpus.writer import FileNotes, Writer
from embeddings.exports import ModelSource
from embeddings.follow import Changes, update
from embeddings.search import Search
from qa import doctor
from qa.doctor import Finding, examine
from qa.settings import ModelPair

WORDS = ("apple", "pear", "plum", "quince", "medlar", "fig")
QUESTIONS = ("a pear", "quince jam", "row of figs", "nothing of the kind")


def docs_in(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    for n, word in enumerate(WORDS):
        text = "\n\n".join(f"The {word} of year {year} made jam number{n * year}. " * 4
                           for year in range(12))  # fmt: skip
        (folder / ("sub" if n % 2 else ".") / f"{word}.txt").write_text(text)
    (folder / "table.csv").write_text("name,text\nfig,A row of figs.\ndate,A row of dates.\n")
    return folder


def follow(index: Path, encoder: ToyEncoder, *paths: Path) -> Changes:
    with Writer.open(index, lambda: TOY_RECIPE) as opened:
        return update(opened, paths, encoder, max_bytes=2**20)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """An index that no test may touch, beside its documents; of its second generation."""
    folder = tmp_path_factory.mktemp("healthy")
    docs = docs_in(folder / "docs")
    follow(folder / "index", ToyEncoder(tokenizer), docs)
    (docs / "date.txt").write_text("A date is no fig.")
    follow(folder / "index", ToyEncoder(tokenizer))
    return folder / "index"


@pytest.fixture
def index(healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, whose models are here and as they were."""
    source = ModelSource("toy", tmp_path)
    monkeypatch.setattr(doctor, "model_pair", lambda _: ModelPair(source, source))
    monkeypatch.setattr(doctor, "identify", lambda _: TOY)
    shutil.copytree(healthy, tmp_path / "index")
    return tmp_path / "index"


def diagnose(folder: Path, *, repair: bool = False) -> list[Finding]:
    return examine(folder, repair=repair)


def states(findings: list[Finding]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in findings:
        found.setdefault(finding.part, set()).add(finding.state)
    return found


WHOLE = {"truth": {"whole"}, "derived": {"whole"}, "models": {"whole"}}


class Answers(list[dict[str, float]]):
    """The passages that each question finds, all there are, with their scores.

    BM25 counts deleted passages until it is built afresh: equal to within so much.
    """

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Answers)
        return [pytest.approx(found, abs=0.1) for found in self] == [dict(o) for o in other]


def answers(folder: Path, encoder: ToyEncoder) -> Answers:
    with Snapshot.open(folder) as snapshot:
        search = Search.open(snapshot, encoder)
        found = [search.search(question, 99) for question in QUESTIONS]
        assert snapshot.count()[1] == len(found[0]) < 99
    return Answers({hit.passage.text: hit.score for hit in hits} for hits in found)


def artefacts(folder: Path) -> Path:
    (generation,) = (folder / "generations").iterdir()
    return generation


def sql(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def backups(folder: Path) -> list[Path]:
    found = sorted(folder.glob("index.sqlite.backup-*"))
    return [path for path in found if not path.name.endswith(("-wal", "-shm"))]


# Nothing is wrong.


def test_a_healthy_index_is_left_as_it_is(index: Path) -> None:
    before = on_disk(index)
    for repair in (False, True):
        assert states(diagnose(index, repair=repair)) == WHOLE
        assert on_disk(index) == before


def test_files_that_are_gone_are_a_note(index: Path, healthy: Path, tmp_path: Path) -> None:
    docs = healthy.parent / "docs"
    moved = docs.rename(tmp_path / "elsewhere")
    try:
        before = on_disk(index)
        findings = diagnose(index)
    finally:
        moved.rename(docs)
    assert states(findings) == {**WHOLE, "sources": {"note"}}
    messages = [finding.message for finding in findings if finding.part == "sources"]
    assert messages == [
        f"{docs} is not there now",
        f"{len(WORDS) + 2} files are gone since; `citespan index` follows",
    ]
    assert on_disk(index) == before


def test_other_models_are_damage(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = type(TOY)("toy", "1" * 64)
    monkeypatch.setattr(doctor, "identify", lambda _: other)
    findings = diagnose(index)
    assert states(findings) == {**WHOLE, "models": {"damaged"}}
    assert "was made with toy (weights 000000000000), but toy (weights 111111111111) is here" in (
        findings[-1].message
    )


# What is derived.


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def segment(folder: Path) -> Path:
    return max((folder / "lexical").glob("*.store"))


DERIVED: dict[str, Callable[[Path], Any]] = {
    "a flipped byte in the vectors": lambda f: flip(f / "vectors.faiss", 1000),
    "a flipped byte in a segment": lambda f: flip(segment(f), 10),
    "truncated vectors": lambda f: truncate(f / "vectors.faiss"),
    "no segment": lambda f: segment(f).unlink(),
    "no segments": lambda f: shutil.rmtree(f / "lexical"),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "an empty manifest": lambda f: (f / "manifest.json").write_bytes(b""),
    "a manifest of nonsense": lambda f: (f / "manifest.json").write_bytes(b"\xff[]"),
    "a manifest of another kind": lambda f: (f / "manifest.json").write_text('{"files": [1]}'),
    "a manifest without sizes": lambda f: (f / "manifest.json").write_text('{"files": {"a": {}}}'),
    "no state": lambda f: (f / "derived.json").unlink(),
    "no generation": shutil.rmtree,
    "no generations": lambda f: shutil.rmtree(f.parent),
}


@pytest.mark.parametrize("fault", DERIVED)
def test_what_is_derived_is_made_again(
    index: Path, encoder: ToyEncoder, healthy: Path, fault: str
) -> None:
    before = answers(healthy, encoder)
    DERIVED[fault](artefacts(index))
    findings = diagnose(index)
    assert states(findings) == {**WHOLE, "derived": {"mended"}}
    assert answers(index, encoder) == before
    assert encoder.embedded == []
    assert backups(index) == []
    assert states(diagnose(index)) == WHOLE


def test_indexes_of_a_newer_database_are_made_again(
    index: Path, encoder: ToyEncoder, tmp_path: Path
) -> None:
    """As when the database alone comes back from a backup."""
    older, old = tmp_path / "older.sqlite", answers(index, encoder)
    shutil.copy(index / "index.sqlite", older)
    (tmp_path / "new.txt").write_text("A new text about pears.")
    follow(index, encoder, tmp_path / "new.txt")
    newer = answers(index, encoder)
    shutil.copy(older, index / "index.sqlite")
    assert states(diagnose(index)) == {**WHOLE, "derived": {"mended"}}
    assert answers(index, encoder) == old != newer
    follow(index, encoder, tmp_path / "new.txt")
    assert answers(index, encoder) == newer


def test_indexes_of_another_history_are_made_again(
    index: Path, encoder: ToyEncoder, tmp_path: Path
) -> None:
    """The same generation and as many passages, but not of the same texts."""
    other = tmp_path / "other"
    shutil.copytree(index, other)
    note = tmp_path / "note.txt"
    for folder, word in ((index, "pear"), (other, "quince")):
        note.write_text(f"A note about the {word}.")
        follow(folder, encoder, note)
    expected = answers(other, encoder)
    shutil.copy(other / "index.sqlite", index / "index.sqlite")
    assert states(diagnose(index)) == {**WHOLE, "derived": {"mended"}}
    assert answers(index, encoder) == expected


def test_a_generation_without_documents_is_not_made(index: Path, encoder: ToyEncoder) -> None:
    """An index that waits for its documents is told so, and stays one that has none."""
    smash_page_of(index / "index.sqlite", "documents")
    diagnose(index, repair=True)
    diagnose(index)
    with pytest.raises(NoIndexError, match="no documents yet"):
        Snapshot.open(index)
    follow(index, encoder)
    assert states(diagnose(index)) == WHOLE


# The truth.

PEAR = "(SELECT id FROM documents WHERE source LIKE '%pear.txt')"

CONTRADICTIONS = {
    "passages without vectors": [
        f"DELETE FROM vectors WHERE hash IN (SELECT vector FROM passages WHERE document = {PEAR})"
    ],
    "a passage beyond its text": [
        f'UPDATE passages SET "end" = "end" + 9999 WHERE document = {PEAR} AND start = 0'
    ],
    "a passage before its text": [
        f"UPDATE passages SET start = -3 WHERE document = {PEAR} AND start = 0"
    ],
    "an empty passage": [f'UPDATE passages SET "end" = start WHERE document = {PEAR}'],
    "a vector that is too short": [
        f"UPDATE vectors SET vector = substr(vector, 3) WHERE hash = (SELECT vector FROM passages"
        f" WHERE document = {PEAR} LIMIT 1)"
    ],
    "a vector that is too long": [
        f"UPDATE vectors SET vector = CAST(vector || x'0000' AS BLOB) WHERE hash ="
        f" (SELECT vector FROM passages WHERE document = {PEAR} LIMIT 1)"
    ],
    "another checksum than the file's": [
        "UPDATE documents SET sha256 = 'f' || substr(sha256, 2) WHERE source LIKE '%pear.txt'",
        "UPDATE documents SET sha256 = '0' || substr(sha256, 2) WHERE source LIKE '%pear.txt'"
        " AND sha256 IN (SELECT sha256 FROM files)",
    ],
    "documents without a file": ["DELETE FROM files WHERE path LIKE '%pear.txt'"],
    "a file without documents": [
        f"DELETE FROM passages WHERE document = {PEAR}",
        "DELETE FROM documents WHERE source LIKE '%pear.txt'",
    ],
    "a document without passages": [f"DELETE FROM passages WHERE document = {PEAR}"],
    "passages without a document": ["DELETE FROM documents WHERE source LIKE '%pear.txt'"],
    "a letter of a text": [
        "UPDATE documents SET text = replace(text, 'year 7', 'year 9')"
        " WHERE source LIKE '%pear.txt'"
    ],
    "a bit of a vector": [
        f"UPDATE vectors SET vector = CAST(x'0102' || substr(vector, 3) AS BLOB) WHERE hash ="
        f" (SELECT vector FROM passages WHERE document = {PEAR} LIMIT 1)"
    ],
    "a text that is no UTF-8": [
        "UPDATE documents SET text = CAST(x'41ff42' AS TEXT) WHERE source LIKE '%pear.txt'"
    ],
    "pages that are no JSON": [
        "UPDATE documents SET page_starts = '[1' WHERE source LIKE '%pear.txt'"
    ],
    "a passage that starts one letter later": [
        f"UPDATE passages SET start = start + 1 WHERE document = {PEAR} AND start > 0"
    ],
    "passages that have each other's numbers": [
        f"UPDATE passages SET id = -id WHERE document = {PEAR}",
        f"UPDATE passages SET id = id - (SELECT min(id) + max(id) FROM passages"
        f" WHERE document = {PEAR}) WHERE document = {PEAR}",
    ],
    "no checksum": ["UPDATE documents SET checksum = NULL WHERE source LIKE '%pear.txt'"],
    **{
        f"another {column}": [f"UPDATE documents SET {column} = {value} WHERE id = {PEAR}"]
        for column, value in {
            "title": "'peas'",
            "date": "'2026-01-01'",
            "row": "1",
            "encoding": "'utf-9'",
            "page_starts": "'[0, 7]'",
            "line_anchors": "'[[0, 2]]'",
            "indexed_at": "indexed_at + 1",
        }.items()
    },
}


@pytest.mark.parametrize("fault", CONTRADICTIONS)
def test_contradictions_are_mended_when_asked(
    index: Path, encoder: ToyEncoder, healthy: Path, fault: str
) -> None:
    before = answers(healthy, encoder)
    sql(index, *CONTRADICTIONS[fault])
    database = (index / "index.sqlite").read_bytes()

    findings = diagnose(index)
    blamed = [finding for finding in findings if finding.part == "truth"]
    assert {finding.state for finding in blamed} == {"damaged"}
    assert len(blamed) == 1
    assert "`citespan doctor --repair`" in blamed[0].message
    if fault != "passages without a document":
        assert "pear.txt" in blamed[0].message
    if "mended" not in states(findings).get("derived", set()):
        assert (index / "index.sqlite").read_bytes() == database

    database = (index / "index.sqlite").read_bytes()
    mended = diagnose(index, repair=True)
    assert states(mended)["truth"] == {"mended"}
    assert "damaged" not in set().union(*states(mended).values())
    (copy,) = backups(index)
    assert copy.read_bytes() == database
    assert str(copy) in next(f.message for f in mended if f.part == "truth")

    follow(index, encoder)
    assert answers(index, encoder) == before
    assert len(encoder.embedded) < 40, "what was whole was not embedded again"
    assert states(diagnose(index)) == WHOLE


def smash(path: Path, at: int, n: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:at] + b"\x5a" * n + data[at + n :])


def cut(path: Path, n: int) -> None:
    path.write_bytes(path.read_bytes()[:n])


def smash_page_of(path: Path, table: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ((page,),) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", [table]
        )
        ((size,),) = connection.execute("PRAGMA page_size")
    smash(path, (page - 1) * size, size)


UNREADABLE: dict[str, Callable[[Path], Any]] = {
    "documents smashed": lambda d: smash_page_of(d, "documents"),
    "passages smashed": lambda d: smash_page_of(d, "passages"),
    "an index smashed": lambda d: smash_page_of(d, "documents_by_source"),
    "files smashed": lambda d: smash_page_of(d, "files"),
    "no generation": lambda d: sql(d.parent, "DELETE FROM meta WHERE key = 'generation'"),
    "generation of nonsense": lambda d: sql(
        d.parent, "UPDATE meta SET value = 'x' WHERE key = 'generation'"
    ),
    "no next passage": lambda d: sql(d.parent, "DELETE FROM meta WHERE key = 'next_passage'"),
    "truncated": lambda d: cut(d, d.stat().st_size // 2 // 4096 * 4096),
    "truncated within a page": lambda d: cut(d, d.stat().st_size // 2 + 77),
    "cut by a few bytes": lambda d: cut(d, d.stat().st_size - 3),
    "another next passage": lambda d: sql(
        d.parent, "UPDATE meta SET value = '9' WHERE key = 'next_passage'"
    ),
    "an exclusion that nobody made": lambda d: sql(
        d.parent, "INSERT INTO exclusions VALUES ('/nowhere')"
    ),
    "a calibration that nobody fitted": lambda d: sql(
        d.parent, "INSERT INTO meta VALUES ('calibration', '{}')"
    ),
    "no seal": lambda d: sql(d.parent, "DELETE FROM meta WHERE key = 'seal'"),
    "no columns": lambda d: sql(d.parent, "DELETE FROM meta WHERE key = 'columns'"),
    "columns of nonsense": lambda d: sql(
        d.parent, "UPDATE meta SET value = '[' WHERE key = 'columns'"
    ),
    "columns of another kind": lambda d: sql(
        d.parent, "UPDATE meta SET value = '[]' WHERE key = 'columns'"
    ),
    "a table gone": lambda d: sql(d.parent, "DROP TABLE exclusions"),
}
HOPELESS: dict[str, Callable[[Path], Any]] = {
    "header smashed": lambda d: smash(d, 0, 100),
    "name smashed": lambda d: smash(d, 0, 16),
    "empty": lambda d: cut(d, 0),
    "fifty bytes": lambda d: cut(d, 50),
    "one page": lambda d: cut(d, 4096),
    "no recipe": lambda d: sql(d.parent, "DELETE FROM meta WHERE key = 'recipe'"),
    "recipe of nonsense": lambda d: sql(
        d.parent, "UPDATE meta SET value = '{' WHERE key = 'recipe'"
    ),
    "recipe of another kind": lambda d: sql(
        d.parent, "UPDATE meta SET value = '[]' WHERE key = 'recipe'"
    ),
    "meta gone": lambda d: sql(d.parent, "DROP TABLE meta"),
    "another format": lambda d: d.write_bytes(b"no database" * 999),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_broken_database_is_salvaged_when_asked(
    index: Path, encoder: ToyEncoder, healthy: Path, fault: str
) -> None:
    before = answers(healthy, encoder)
    UNREADABLE[fault](index / "index.sqlite")
    files = on_disk(index)

    findings = diagnose(index)
    assert states(findings)["truth"] == {"damaged"}
    assert "`citespan doctor --repair`" in findings[0].message
    assert on_disk(index) == files

    (finding,) = (f for f in diagnose(index, repair=True) if f.part == "truth")
    assert finding.state == "mended"
    (copy,) = backups(index)
    assert on_disk(index)[copy.name] == files["index.sqlite"]
    assert str(copy) in finding.message

    follow(index, encoder)
    assert answers(index, encoder) == before
    assert states(diagnose(index)) == WHOLE


@pytest.mark.parametrize("fault", HOPELESS)
def test_a_hopeless_database_is_said_and_left(index: Path, fault: str) -> None:
    HOPELESS[fault](index / "index.sqlite")
    files = on_disk(index)
    (finding,) = diagnose(index)
    assert (finding.part, finding.state) == ("truth", "damaged")
    assert on_disk(index) == files
    (finding,) = diagnose(index, repair=True)
    assert (finding.part, finding.state) == ("truth", "damaged")
    assert "citespan index PATH --index DIR" in finding.message
    after = on_disk(index)
    assert {name: after[name] for name in files} == files


@pytest.mark.parametrize("fault", ["documents smashed", "a flipped byte in the vectors"])
@pytest.mark.parametrize("repair", [False, True])
def test_a_finding_is_one_line(index: Path, fault: str, repair: bool) -> None:
    if fault in DERIVED:
        DERIVED[fault](artefacts(index))
    else:
        UNREADABLE[fault](index / "index.sqlite")
    for finding in diagnose(index, repair=repair):
        assert len(finding.message.splitlines()) == 1
        assert len(finding.message) < 500


def test_what_could_be_saved_is_not_embedded_again(index: Path, encoder: ToyEncoder) -> None:
    smash_page_of(index / "index.sqlite", "documents")
    (finding,) = diagnose(index, repair=True)
    passages = follow(index, encoder).passages
    assert f"{passages:,} vectors" in finding.message
    assert encoder.embedded == []


def test_what_was_taken_out_stays_out_after_a_salvage(index: Path, encoder: ToyEncoder) -> None:
    with Writer.open_existing(index) as opened:
        from embeddings.follow import remove

        remove(opened, ["pear.txt"])
    smash_page_of(index / "index.sqlite", "documents")
    diagnose(index, repair=True)
    changes = follow(index, encoder)
    assert [path.name for path in changes.skipped] == ["pear.txt"]


def test_a_log_beside_the_database_is_part_of_it(
    index: Path, encoder: ToyEncoder, tmp_path: Path, healthy: Path
) -> None:
    """The last commit of a writer that was killed lies in the log alone."""
    killed = tmp_path / "killed"
    with Writer.open_existing(index) as opened:
        opened.note(FileNotes(excluded=[Path("/excluded")]))
        shutil.copytree(index, killed)
    assert (killed / "index.sqlite-wal").stat().st_size > 0
    assert states(diagnose(killed)) == WHOLE
    with Snapshot.open(killed) as snapshot:
        assert snapshot.exclusions() == [Path("/excluded")]


def test_no_backup_replaces_another(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.time, "strftime", lambda *_: "20260101-000000")
    kept = []
    for word in ("pear", "plum"):
        sql(index, f"DELETE FROM files WHERE path LIKE '%{word}.txt'")
        kept.append((index / "index.sqlite").read_bytes())
        assert states(diagnose(index, repair=True))["truth"] == {"mended"}
    assert sorted(path.read_bytes() for path in backups(index)) == sorted(kept)


# Locks, and no index.


@pytest.fixture
def holder(index: Path) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(index, ready, 1.0))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


@pytest.mark.parametrize("broken", [False, True])
def test_a_locked_index_is_waited_for(index: Path, holder: Any, broken: bool) -> None:
    if broken:
        smash_page_of(index / "index.sqlite", "documents")
    told: list[str] = []
    examine(index, repair=True, progress=told.append)
    assert any(f"waiting for process {holder.pid}" in line for line in told)


def test_a_lock_that_stays_is_an_error(
    index: Path, holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 10
            return self.now

        def sleep(self, _: float) -> None: ...

    monkeypatch.setattr(writer, "time", Clock())
    before = on_disk(index)
    with pytest.raises(LockedIndexError, match=f"process {holder.pid}"):
        examine(index)
    assert on_disk(index) == before


@pytest.mark.parametrize("repair", [False, True])
def test_no_index_is_no_finding(tmp_path: Path, repair: bool) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoIndexError, match="citespan index PATH"):
            examine(folder, repair=repair)
    assert list(tmp_path.iterdir()) == []


# From the command line, with the models that are shipped.


def test_from_damage_to_an_answer(sample_index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(sample_index, folder)
    files = on_disk(folder)
    done = citespan("doctor", "--index", folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["whole", "truth"], ["whole", "derived"], ["whole", "models"], ["whole", "models"],
    ]  # fmt: skip
    assert on_disk(folder) == files

    flip(artefacts(folder) / "vectors.faiss", 1000)
    done = citespan("doctor", "--index", folder, "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert all(list(finding) == ["part", "state", "message"] for finding in report)
    (derived,) = (finding for finding in report if finding["part"] == "derived")
    assert derived["state"] == "mended"
    assert "vectors.faiss does not match its checksum" in derived["message"]

    smash_page_of(folder / "index.sqlite", "documents")
    done = citespan("doctor", "--index", folder, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert "citespan doctor --repair" in json.loads(done.stdout)[0]["message"]
    done = citespan("doctor", "--repair", "--index", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert "`citespan index` reads the documents again" in done.stdout
    done = citespan("index", "--index", folder, "--json")
    assert json.loads(done.stdout)["embedded"] == 0
    done = citespan("ask", "How many defectors went public?", "--index", folder)
    assert done.stdout.startswith("58  (confidence ")


def test_no_index_on_the_command_line(tmp_path: Path) -> None:
    done = citespan("doctor", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: no index at .citespan; make one with `citespan index")
    assert list(tmp_path.iterdir()) == []

"""An index follows its files: nothing is embedded twice, and nothing is lost by accident."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from conftest import Indexer, ToyEncoder

from corpus.errors import InputError
from corpus.sandbox import ReadFile, _Worker
from corpus.store import Snapshot
from embeddings.search import Search
from embeddings.vectors import VectorIndex

PARAGRAPHS = [f"Paragraph {n} says a good deal about subject{n}. " * 3 for n in range(8)]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "long.txt").write_text("\n\n".join(PARAGRAPHS))
    (folder / "sub" / "short.md").write_text("# Short\n\nA short note.")
    return folder


def titles(tmp_path: Path) -> list[str]:
    with Snapshot.open(tmp_path / "index") as snapshot:
        return [summary.title for summary in snapshot.summaries()]


def age(folder: Path) -> None:
    """Make the files old enough for their time stamps to be trusted."""
    for path in folder.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))


def test_indexing_again_embeds_nothing(toy_index: Indexer, docs: Path, encoder: ToyEncoder) -> None:
    first = toy_index(docs)
    assert sorted(path.name for path in first.added) == ["long.txt", "short.md"]
    assert first.embedded == first.passages == len(encoder.embedded) > 4
    again = toy_index(docs)
    assert (again.embedded, again.unchanged, again.added, again.changed) == (0, 2, [], [])
    assert again.generation == first.generation


def test_an_unchanged_file_is_not_even_read(toy_index: Indexer, docs: Path) -> None:
    age(docs)
    toy_index(docs)
    path = docs / "long.txt"
    status = path.stat()
    path.write_bytes(b"X" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert toy_index(docs).unchanged == 2


def test_a_touched_file_embeds_nothing(toy_index: Indexer, docs: Path) -> None:
    toy_index(docs)
    os.utime(docs / "long.txt", (1_700_000_000, 1_700_000_000))
    again = toy_index(docs)
    assert (again.embedded, again.changed, again.unchanged) == (0, [], 2)


def test_a_file_changed_within_its_time_stamp_is_seen(toy_index: Indexer, docs: Path) -> None:
    path = docs / "long.txt"
    toy_index(docs)
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"subject3", b"SUBJECT3"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert toy_index(docs).changed == [path]


def test_an_edit_embeds_its_passages_alone(
    toy_index: Indexer, docs: Path, encoder: ToyEncoder
) -> None:
    total = toy_index(docs).passages
    encoder.embedded.clear()
    path = docs / "long.txt"
    path.write_text(path.read_text().replace("subject3", "another thing"))
    changes = toy_index(docs)
    assert changes.changed == [path]
    assert 0 < changes.embedded <= 2 < total
    assert all("another thing" in text for text in encoder.embedded)


def test_a_rename_embeds_nothing(toy_index: Indexer, docs: Path) -> None:
    toy_index(docs)
    (docs / "sub" / "short.md").rename(docs / "renamed.md")
    changes = toy_index(docs)
    assert changes.embedded == 0
    assert [p.name for p in changes.added + changes.removed] == ["renamed.md", "short.md"]


def test_a_deleted_file_is_gone_from_answers(
    toy_index: Indexer, docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    toy_index(docs)
    (docs / "long.txt").unlink()
    assert [p.name for p in toy_index(docs).removed] == ["long.txt"]
    with Snapshot.open(tmp_path / "index") as snapshot:
        hits = Search.open(snapshot, encoder).search("subject3", 10)
    assert {hit.passage.text for hit in hits} == {"# Short\n\nA short note."}


def test_without_paths_the_roots_are_followed(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Another file, added by name.")
    toy_index(docs, other)
    (docs / "new.txt").write_text("A new file.")
    other.unlink()
    changes = toy_index()
    assert [p.name for p in changes.added + changes.removed] == ["new.txt", "other.txt"]


def test_other_roots_are_left_alone(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.txt").write_text("Text b.")
    toy_index(docs, other)
    (docs / "long.txt").unlink()
    assert toy_index(other).removed == []
    assert "long" in titles(tmp_path)


@pytest.mark.parametrize("lost", ["missing", "empty"])
def test_a_lost_root_deletes_nothing(
    toy_index: Indexer, docs: Path, tmp_path: Path, lost: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.txt").write_text("Text b.")
    toy_index(docs, other)
    shutil.rmtree(docs)
    if lost == "empty":
        docs.mkdir()
    (other / "c.txt").write_text("Text c.")

    changes = toy_index()
    assert list(changes.kept_roots) == [docs]
    assert "--allow-empty" in changes.kept_roots[docs]
    assert changes.removed == []
    assert [p.name for p in changes.added] == ["c.txt"], "the other root was still followed"
    assert titles(tmp_path) == ["long", "Short", "b", "c"]

    changes = toy_index(allow_empty=True)
    assert sorted(p.name for p in changes.removed) == ["long.txt", "short.md"]
    assert titles(tmp_path) == ["b", "c"]


def test_an_unreadable_file_stops_nothing(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    (docs / "long.txt").write_bytes(b"\x89PNG now an image")
    (docs / "good.txt").write_text("A good file.")
    changes = toy_index(docs)
    assert changes.failed == {docs / "long.txt": "is a PNG image"}
    assert [p.name for p in changes.added] == ["good.txt"]
    assert titles(tmp_path) == ["good", "Short"], "its old passages left the index"
    assert list(toy_index(docs).failed) == [docs / "long.txt"], "it is still said"
    (docs / "long.txt").write_text("Mended.")
    assert [p.name for p in toy_index(docs).added] == ["long.txt"]


def test_what_is_skipped_is_said(toy_index: Indexer, docs: Path) -> None:
    (docs / "large.txt").write_text("x " * 2000)
    (docs / ".hidden.txt").write_text("hidden")
    (docs / ".git").mkdir()
    (docs / ".git" / "config.txt").write_text("hidden")
    os.mkfifo(docs / "pipe.txt")
    (docs / "gone.txt").symlink_to(docs / "nowhere")
    changes = toy_index(docs, max_bytes=3000)
    assert {path.name: reason.split(",")[0] for path, reason in changes.skipped.items()} == {
        "large.txt": "has 0.00381 MB",
        "pipe.txt": "is not a regular file",
        "gone.txt": "cannot be read: No such file or directory",
    }
    assert changes.documents == 2


def test_a_name_that_is_not_utf8_is_skipped(toy_index: Indexer, docs: Path) -> None:
    Path(os.fsdecode(os.fsencode(docs) + b"/n\xff.txt")).write_text("text")
    (reason,) = toy_index(docs).skipped.values()
    assert reason == "its name is not UTF-8; rename it"


def test_a_missing_path_is_refused_before_anything_changes(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist; nothing was changed"):
        toy_index(docs, tmp_path / "nowhere")
    with pytest.raises(InputError, match="no roots yet"):
        toy_index()


def test_amending_equals_building_afresh(
    toy_index: Indexer, docs: Path, tmp_path: Path, encoder: ToyEncoder
) -> None:
    for n in range(30):
        (docs / f"more{n}.txt").write_text(f"More text number{n} about subject{n % 5}.")
    toy_index(docs)
    (docs / "more3.txt").write_text("Rewritten about subject2.")
    (docs / "more4.txt").unlink()
    amended = toy_index(docs)
    questions = ["subject2", "more text", "number7 subject2", "rewritten"]

    def answers() -> list[list[tuple[str, float]]]:
        with Snapshot.open(tmp_path / "index") as snapshot:
            search = Search.open(snapshot, encoder)
            return [
                [(hit.passage.text, round(hit.score, 6)) for hit in search.search(q, 50)]
                for q in questions
            ]

    before = answers()
    with Snapshot.open(tmp_path / "index") as snapshot:
        (snapshot.artefacts / "derived.json").unlink()
    assert toy_index(docs).generation == amended.generation + 1
    # BM25 still counts the few deleted passages until it is built afresh: same passages, and
    # scores that differ by no more than that.
    for old, new in zip(before, answers(), strict=True):
        assert {text for text, _ in old} == {text for text, _ in new}
        assert dict(old) == pytest.approx(dict(new), abs=0.05)


def test_many_deletions_build_afresh(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    for n in range(30):
        (docs / f"more{n}.txt").write_text(f"More text number{n}.")
    toy_index(docs)
    for n in range(10):
        (docs / f"more{n}.txt").unlink()
    toy_index(docs)
    with Snapshot.open(tmp_path / "index") as snapshot:
        assert '"tombstones": 0' in (snapshot.artefacts / "derived.json").read_text()


def test_vectors_nobody_names_are_removed(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    toy_index(docs)
    (docs / "long.txt").write_text("Now short.")
    toy_index(docs)
    connection = sqlite3.connect(tmp_path / "index" / "index.sqlite")
    assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (2,)


def test_one_deletion_among_many(toy_index: Indexer, docs: Path, tmp_path: Path) -> None:
    for n in range(60):
        (docs / f"more{n}.txt").write_text(f"More text number{n}.")
    toy_index(docs)
    (docs / "more7.txt").unlink()
    assert [path.name for path in toy_index(docs).removed] == ["more7.txt"]
    assert "more7" not in titles(tmp_path)


def test_roots_and_named_files_within_roots_stay(toy_index: Indexer, docs: Path) -> None:
    hidden = docs / ".drafts"
    hidden.mkdir()
    (hidden / "draft.txt").write_text("A draft.")
    (docs / ".note.txt").write_text("A hidden note.")
    toy_index(docs, hidden, docs / ".note.txt")
    for paths in ((docs,), (), (docs, docs), (docs / "sub", docs)):
        changes = toy_index(*paths)
        assert (changes.unchanged, changes.removed, changes.generation) == (4, [], 1)
    (docs / ".note.txt").unlink()
    assert [path.name for path in toy_index(docs).removed] == [".note.txt"]


def test_a_lost_root_within_a_root_deletes_nothing(toy_index: Indexer, docs: Path) -> None:
    toy_index(docs, docs / "sub")
    shutil.rmtree(docs / "sub")
    changes = toy_index(docs)
    assert list(changes.kept_roots) == [docs / "sub"]
    assert (changes.removed, changes.documents) == ([], 2)


def test_an_index_within_its_root_is_no_document(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        changes = toy_index(tmp_path)
        assert (changes.documents, changes.generation, changes.failed) == (2, 1, {})


def test_an_index_in_the_very_folder_of_the_documents_hides_none(
    toy_index: Indexer, tmp_path: Path
) -> None:
    """`citespan index . --index .` indexed nothing, and said nothing."""
    folder = tmp_path / "index"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("Text a.")
    (folder / "sub" / "index.sqlite.txt").write_text("Text b.")
    other = tmp_path / "other"
    for _ in range(3):
        changes = toy_index(folder)
        assert (changes.documents, changes.generation) == (2, 1)
        assert (changes.failed, changes.skipped, changes.kept_roots) == ({}, {}, {})
    shutil.copytree(folder, other)
    for generation in (2, 2):
        changes = toy_index(other, folder)
        assert (changes.documents, changes.generation) == (4, generation)
    shutil.move(other, folder)
    assert toy_index(folder).skipped == {folder / "other": "is an index, and no documents"}


def test_an_index_below_its_root_is_not_spoken_of(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert toy_index(tmp_path).skipped == {}


def test_a_file_replaced_by_a_folder_is_gone(toy_index: Indexer, docs: Path) -> None:
    path = docs / "long.txt"
    toy_index(path)
    path.unlink()
    path.mkdir()
    (path / "inside.txt").write_text("Inside.")
    changes = toy_index()
    assert (changes.removed, changes.added) == ([path], [path / "inside.txt"])


def test_a_file_grown_too_large_leaves_the_index(toy_index: Indexer, docs: Path) -> None:
    toy_index(docs)
    changes = toy_index(docs, max_bytes=500)
    assert changes.removed == list(changes.skipped) == [docs / "long.txt"]


def test_a_file_once_unreadable_is_tried_again(
    toy_index: Indexer, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(docs)
    read = _Worker.read

    def refuse(self: _Worker, path: Path, *arguments: Any) -> ReadFile:
        if path.name == "long.txt":
            return ReadFile(path, "failed", 0.0, reason="cannot be read: Permission denied")
        return read(self, path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_Worker, "read", refuse)
        assert list(toy_index(docs).failed.values()) == ["cannot be read: Permission denied"]
    changes = toy_index(docs)
    assert (changes.added, changes.failed) == ([docs / "long.txt"], {})


def test_a_root_that_cannot_be_reached_keeps_its_documents_and_stops_no_other(
    toy_index: Indexer, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network's file system that is not connected: it is not missing, and not readable."""
    other = tmp_path / "other"
    other.mkdir()
    toy_index(docs, other)
    (other / "new.txt").write_text("Something new.")
    real = Path.stat

    def unconnected(self: Path, **options: Any) -> os.stat_result:
        if self == docs:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", unconnected)
    changes = toy_index()
    assert changes.failed == {docs: "cannot be read: Transport endpoint is not connected"}
    assert (changes.added, changes.removed) == ([other / "new.txt"], [])
    assert len(titles(tmp_path)) == 3


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOENT, errno.ELOOP])
@pytest.mark.parametrize("everything", [False, True])
def test_what_cannot_be_seen_is_not_taken_for_gone(
    toy_index: Indexer,
    docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    everything: bool,
) -> None:
    """As the files of a folder of mode 444: their names are told, and nothing else of them."""
    toy_index(docs)
    hidden, real = docs if everything else docs / "sub", Path.stat

    def refused(self: Path, **options: Any) -> os.stat_result:
        if self.is_relative_to(hidden) and self.suffix:
            raise OSError(number, "Refused")
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", refused)
    changes = toy_index(docs, allow_empty=True)
    gone = number in (errno.ENOENT, errno.ELOOP)
    concerned = {docs / "sub" / "short.md", *([docs / "long.txt"] if everything else [])}
    assert set(changes.removed) == (concerned if gone else set())
    assert dict.fromkeys(concerned, "cannot be read: Refused") == (
        changes.skipped if gone else changes.failed
    )
    if not gone:
        assert titles(tmp_path) == ["long", "Short"]
        assert toy_index(docs).kept_roots == {}, "it is not empty"


def test_recall_is_known_also_where_nothing_changed(
    toy_index: Indexer, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said to be exact from the second run on, however large the index."""
    save = VectorIndex.save

    def approximate(self: VectorIndex, folder: Path) -> None:
        self.recall = 0.98
        save(self, folder)

    monkeypatch.setattr(VectorIndex, "save", approximate)
    assert (toy_index(docs).recall, toy_index(docs).recall) == (0.98, 0.98)


def test_indexes_that_cannot_be_opened_are_rebuilt(
    toy_index: Indexer, docs: Path, tmp_path: Path
) -> None:
    """As after an upgrade of FAISS: the checksum is right and the format is not."""
    import hashlib
    import json

    toy_index(docs)
    with Snapshot.open(tmp_path / "index") as snapshot:
        folder = snapshot.artefacts
    (folder / "vectors.faiss").write_bytes(b"from the future")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["vectors.faiss"] = {
        "size": 15,
        "sha256": hashlib.sha256(b"from the future").hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert toy_index().generation == 2


def test_staging_many_documents_takes_linear_time(tmp_path: Path) -> None:
    import time

    from conftest import TOY_RECIPE

    from corpus.records import Document
    from corpus.writer import Writer

    def seconds(n: int) -> float:
        with Writer.open(tmp_path / f"index{n}", lambda: TOY_RECIPE) as writer:
            writer.add_vectors([(b"v", b"\0\0")])
            for i in range(n):
                path = Path(f"/{i}")
                writer.stage(
                    Document(f"{i:016}", path, None, "t", "text " * 600, "", "text/1", "utf-8"),
                    [((0, 4), b"v")],
                )
            started = time.perf_counter()
            assert sum(1 for _ in writer.planned(new_only=False)) == n
            return time.perf_counter() - started

    seconds(50)
    # Four times as many: 16 times as long would be quadratic.
    assert seconds(2000) < 8 * seconds(500) + 0.5

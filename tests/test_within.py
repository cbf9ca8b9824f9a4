"""`--in`: asking some of the documents is asking an index that answers from no others."""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY_RECIPE, ToyEncoder, citespan
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from corpus.store import Snapshot
from corpus.writer import Writer
from embeddings import build, vectors
from embeddings.follow import update
from embeddings.lexical import LexicalIndex
from embeddings.search import Search, fuse
from embeddings.vectors import Scored, VectorIndex, inner_products

DENSE_WEIGHT = TOY_RECIPE.dense_weight
WORDS = ("apple", "pear", "plum", "quince", "medlar", "fig", "date", "sloe", "lime", "kiwi")


def fill(docs: Path, files: int, paragraphs: int) -> Path:
    """Files whose paragraphs say much alike, some word for word the same; and a table."""
    for n in range(files):
        path = docs / f"folder{n % 3}" / f"file{n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        said = [
            f"The {WORDS[(n + p) % 10]} and the {WORDS[(n * p) % 7]} of {p % 5} years ago. " * 2
            for p in range(paragraphs)
        ]
        path.write_text(f"Title {n}\n\n" + "\n\n".join(said))
    rows = [f"Row {n},A {word} in a table." for n, word in enumerate(WORDS)]
    (docs / "table.csv").write_text("\n".join(["title,text", *rows]))
    return docs


@dataclass(frozen=True)
class Indexed:
    """An index that is open, with the brute force beside it."""

    snapshot: Snapshot
    search: Search
    dense: VectorIndex
    lexical: LexicalIndex
    encoder: ToyEncoder

    def chosen(self, choice: tuple[int, float]) -> list[str]:
        """Some of the documents, of about this share, in no order."""
        rng = random.Random(choice[0])
        ids = [s.id for s in self.snapshot.summaries() if rng.random() < choice[1]]
        rng.shuffle(ids)
        return ids

    def scored(self, question: str, within: Sequence[int]) -> Scored:
        """All these passages with their inner products."""
        query = self.encoder.encode_queries([question])[0]
        return inner_products(query, self.snapshot.passage_vectors(within))

    def worded(self, question: str, within: Sequence[int]) -> Scored:
        """Those of all passages that share a word with the question and are among these."""
        full = self.lexical.search(question, self.snapshot.count()[1])
        return [pair for pair in full if pair[0] in set(within)]


@contextmanager
def index_of(folder: Path, tokenizer: Any, *, files: int, kind: str = "exact") -> Iterator[Indexed]:
    encoder = ToyEncoder(tokenizer)
    docs = fill(folder / "docs", files, 12)

    def follow() -> None:
        with Writer.open(folder / "index", lambda: TOY_RECIPE) as writer:
            update(writer, [docs], encoder, max_bytes=2**20)

    with pytest.MonkeyPatch.context() as patch:
        if kind == "inverted lists":
            for module in (vectors, build):
                patch.setattr(module, "FLAT_LIMIT", 100)
        follow()
        if kind == "amended":
            (docs / "folder0" / "file0.txt").unlink()
            follow()
    with Snapshot.open(folder / "index") as snapshot:
        dense = VectorIndex.open(snapshot.artefacts)
        assert dense.exact == (kind != "inverted lists")
        lexical = LexicalIndex.open(snapshot.artefacts / "lexical")
        yield Indexed(snapshot, Search(snapshot, encoder, dense, lexical), dense, lexical, encoder)


@pytest.fixture(scope="module", params=["exact", "inverted lists", "amended"])
def indexed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer: Any
) -> Iterator[Indexed]:
    """An index of each kind; one has deleted passages in it."""
    folder = tmp_path_factory.mktemp("within")
    with index_of(folder, tokenizer, files=18, kind=request.param) as opened:
        yield opened


QUESTIONS = st.lists(
    st.sampled_from([*WORDS, "years", "title", "row", "7", "nowhere"]), min_size=1, max_size=6
).map(" ".join)
CHOICES = st.tuples(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]))


@settings(max_examples=80)
@given(question=QUESTIONS, choice=CHOICES, k=st.integers(1, 60))
def test_both_searches_are_the_full_ones_filtered(
    indexed: Indexed, question: str, choice: tuple[int, float], k: int
) -> None:
    within = indexed.snapshot.passage_ids(indexed.chosen(choice))
    query = indexed.encoder.encode_queries([question])[0]
    dense = indexed.dense.search(query, k, indexed.snapshot.passage_vectors, within)
    # Inverted lists hold vectors of 8 bits, and give few more candidates than are wanted.
    rounded = not indexed.dense.exact and k + vectors._SLACK < len(within)
    for restricted, full, tolerance in (
        (indexed.lexical.search(question, k, within), indexed.worded(question, within), 1e-5),
        (dense, indexed.scored(question, within), 1e-3 if rounded else 1e-5),
    ):
        scores = [score for _, score in full[:k]]
        assert [score for _, score in restricted] == pytest.approx(scores, abs=tolerance)
        # Which of equal ones is last is not said where there are many.
        assert dict(restricted) == pytest.approx({i: dict(full)[i] for i, _ in restricted}, 1e-5)


@settings(max_examples=80)
@given(question=QUESTIONS, choice=CHOICES, k=st.integers(1, 300))
def test_a_restricted_search_fuses_what_is_left(
    indexed: Indexed, question: str, choice: tuple[int, float], k: int
) -> None:
    """By brute force: every passage of the chosen documents, scored, and the best of them."""
    documents = indexed.chosen(choice)
    within = indexed.snapshot.passage_ids(documents)
    hits = indexed.search.search(question, k, documents)
    assert {hit.passage.document_id for hit in hits} <= set(documents)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert len(hits) == min(k, len(within))
    if len(within) <= max(k, 100):  # Every one is a candidate, so that all scores are known.
        expected = fuse(
            indexed.scored(question, within), indexed.worded(question, within), DENSE_WEIGHT
        )
        scores = [score for _, score in expected[:k]]
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
        found = {hit.passage.id: hit.score for hit in hits}
        assert found == pytest.approx({i: dict(expected)[i] for i in found}, abs=1e-5)


@settings(max_examples=50)
@given(question=QUESTIONS, k=st.integers(1, 200))
def test_all_documents_are_no_restriction(indexed: Indexed, question: str, k: int) -> None:
    everything = [summary.id for summary in indexed.snapshot.summaries()]
    restricted = indexed.search.search(question, k, everything)
    full = indexed.search.search(question, k)
    if indexed.dense.exact:
        assert [hit.score for hit in restricted] == pytest.approx([h.score for h in full], abs=1e-5)
    else:
        assert len(restricted) == len(full)


@settings(max_examples=50)
@given(question=QUESTIONS, choice=CHOICES)
def test_the_best_of_a_document_is_found_however_far_down_it_stands(
    indexed: Indexed, question: str, choice: tuple[int, float]
) -> None:
    """A search that filtered its first hundred hits would miss it."""
    for document in indexed.chosen(choice)[:3]:
        within = indexed.snapshot.passage_ids([document])
        (best, *_) = indexed.search.search(question, 1, [document])
        assert best.passage.document_id == document
        if best.lexical_rank is None:
            assert best.passage.id == indexed.scored(question, within)[0][0]


def test_no_documents_and_unknown_ones_find_nothing(indexed: Indexed) -> None:
    assert indexed.search.search("apple", 5, []) == []
    assert indexed.search.search("apple", 5, ["0" * 16]) == []


# What names documents.


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Iterator[Indexed]:
    with index_of(tmp_path_factory.mktemp("small"), tokenizer, files=6) as opened:
        yield opened


Named = Callable[[str], set[str]]


@pytest.fixture
def named(small: Indexed, monkeypatch: pytest.MonkeyPatch) -> Named:
    """The sources of the documents that a name names, from within the documents' folder."""
    docs = small.snapshot.folder.parent / "docs"
    monkeypatch.chdir(docs)
    sources = {
        s.id: s.source.relative_to(docs).as_posix() + (f"#{s.row}" if s.row else "")
        for s in small.snapshot.summaries()
    }

    def named(name: str) -> set[str]:
        ids = small.snapshot.find_all(name.replace("{docs}", str(docs)))
        assert len(ids) == len(set(ids))
        return {sources[id_] for id_ in ids}

    return named


def test_documents_are_named_by_folder_file_title_and_id(small: Indexed, named: Named) -> None:
    folder = {"folder1/file1.txt", "folder1/file4.txt"}
    rows = {f"table.csv#{n}" for n in range(1, 11)}
    for name in ("{docs}/folder1", "folder1", "folder1/", "./folder0/../folder1"):
        assert named(name) == folder
    for name in ("folder1/file4.txt", "file4.txt", "{docs}/folder1/file4.txt", "Title 4"):
        assert named(name) == {"folder1/file4.txt"}
    for name in ("table.csv", "{docs}/table.csv"):
        assert named(name) == rows
    assert named("Row 3") == {"table.csv#4"}
    assert len(named(".")) == 6 + 10
    for summary in small.snapshot.summaries():
        assert len(named(summary.id)) == 1


@pytest.mark.parametrize("name", ["nowhere", "ile4.txt", "Title", "folder1/nothing.txt", "", " "])
def test_what_names_nothing_is_an_error(named: Named, name: str) -> None:
    """Least of all an empty name, as of a variable that is not set, is everything."""
    with pytest.raises(InputError, match="no document"):
        named(name)


def test_in_on_the_command_line(sample_index: Path, tmp_path: Path) -> None:
    def sources(*names: str | Path, code: int) -> set[str]:
        options = [part for name in names for part in ("--in", name)]
        done = citespan(
            "ask", "How many defectors went public?", "--index", sample_index, "--json", *options,
            cwd=sample,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        result = json.loads(done.stdout)
        citations = [c for answer in result["answers"] for c in answer["citations"]]
        assert result["passages"]
        return {Path(citation["source"]).name for citation in citations}

    from qa.indexing import SAMPLE

    sample = tmp_path / "sample"
    shutil.copytree(SAMPLE, sample)
    assert sources("defectors-icsr-report.txt", code=0) == {"defectors-icsr-report.txt"}
    files: Sequence[str | Path] = (
        "embassies-turkey-returnees.md",
        SAMPLE / "averill-bridge-audit.md",
    )
    assert sources(*files, code=3) <= {Path(file).name for file in files}
    done = citespan("ask", "Who?", "--index", sample_index, "--in", "nowhere.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: no document 'nowhere.txt' in the index; `citespan list` names them\n"
    )

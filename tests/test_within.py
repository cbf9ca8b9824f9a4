"""`--in`: asking some of the documents is asking an index that answers from no others."""

import json
import shutil
from collections.abc import Callable, Sequence
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
from embeddings.vectors import STORED, VectorIndex, inner_products

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


Indexed = tuple[Snapshot, Search, ToyEncoder]


@pytest.fixture(scope="module", params=["exact", "inverted lists", "amended"])
def indexed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer: Any
) -> Any:
    """An index of each kind; one has deleted passages in it."""
    folder = tmp_path_factory.mktemp("within")
    encoder = ToyEncoder(tokenizer)
    docs = fill(folder / "docs", 24, 14)

    def follow() -> None:
        with Writer.open(folder / "index", lambda: TOY_RECIPE) as writer:
            update(writer, [docs], encoder, max_bytes=2**20)

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "inverted lists":
            for module in (vectors, build):
                patch.setattr(module, "FLAT_LIMIT", 100)
        follow()
        if request.param == "amended":
            (docs / "folder0" / "file0.txt").unlink()
            follow()
        with Snapshot.open(folder / "index") as snapshot:
            search = Search.open(snapshot, encoder)
            exact = VectorIndex.open(snapshot.artefacts).exact
            assert exact == (request.param != "inverted lists")
            yield snapshot, search, encoder


QUESTIONS = st.lists(st.sampled_from([*WORDS, "years", "title", "row", "7", "nowhere"]), min_size=1)
CHOICES = st.tuples(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]))


def chosen(snapshot: Snapshot, choice: tuple[int, float]) -> list[str]:
    """Some of the documents, of about this share, in no order."""
    import random

    rng = random.Random(choice[0])
    ids = [summary.id for summary in snapshot.summaries() if rng.random() < choice[1]]
    rng.shuffle(ids)
    return ids


@settings(deadline=None, max_examples=40)
@given(question=QUESTIONS.map(" ".join), choice=CHOICES, k=st.integers(1, 60))
def test_both_searches_are_the_full_ones_filtered(
    indexed: Indexed, question: str, choice: tuple[int, float], k: int
) -> None:
    snapshot, _, encoder = indexed
    within = snapshot.passage_ids(chosen(snapshot, choice))
    everything = snapshot.count()[1]

    lexical = LexicalIndex.open(snapshot.artefacts / "lexical")
    full = lexical.search(question, everything)
    restricted = lexical.search(question, k, within)
    expected = [pair for pair in full if pair[0] in within][:k]
    assert [score for _, score in restricted] == pytest.approx([s for _, s in expected], rel=1e-5)
    assert dict(restricted).keys() <= set(within)
    assert dict(restricted) == pytest.approx({i: dict(full)[i] for i, _ in restricted}, rel=1e-5)

    dense = VectorIndex.open(snapshot.artefacts)
    query = encoder.encode_queries([question])[0]
    stored = snapshot.passage_vectors
    found = dense.search(query, k, stored, within)
    if dense.exact or 4 * k >= len(within):
        assert found == inner_products(query, stored(within))[:k]
    assert dict(found).keys() <= set(within)
    assert len(found) == min(k, len(within))


@settings(deadline=None, max_examples=40)
@given(question=QUESTIONS.map(" ".join), choice=CHOICES, k=st.integers(1, 400))
def test_a_restricted_search_fuses_what_is_left(
    indexed: Indexed, question: str, choice: tuple[int, float], k: int
) -> None:
    """By brute force: every passage of the chosen documents, scored, and the best of them."""
    snapshot, search, encoder = indexed
    documents = chosen(snapshot, choice)
    within = snapshot.passage_ids(documents)
    query = encoder.encode_queries([question])[0]
    dense = inner_products(query, snapshot.passage_vectors(within))
    lexical = LexicalIndex.open(snapshot.artefacts / "lexical")
    words = [pair for pair in lexical.search(question, 9999) if pair[0] in within]

    hits = search.search(question, k, documents)
    assert {hit.passage.document_id for hit in hits} <= set(documents)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert len(hits) == min(k, len(within))
    if len(within) <= 100:  # Every one is a candidate, so that the scores are known.
        expected = fuse(dense, words, TOY_RECIPE.dense_weight)
        assert [hit.score for hit in hits] == pytest.approx([s for _, s in expected[:k]], abs=1e-5)
        scores = {hit.passage.id: hit.score for hit in hits}
        assert scores == pytest.approx({i: dict(expected)[i] for i in scores}, abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(question=QUESTIONS.map(" ".join), k=st.integers(1, 200))
def test_all_documents_are_no_restriction(indexed: Indexed, question: str, k: int) -> None:
    snapshot, search, _ = indexed
    everything = [summary.id for summary in snapshot.summaries()]
    restricted = search.search(question, k, everything)
    full = search.search(question, k)
    assert [hit.score for hit in restricted] == pytest.approx([h.score for h in full], abs=1e-5)
    if VectorIndex.open(snapshot.artefacts).exact:
        assert {hit.passage.id for hit in restricted if hit.score > full[-1].score + 1e-5} == {
            hit.passage.id for hit in full if hit.score > full[-1].score + 1e-5
        }


@settings(deadline=None, max_examples=20)
@given(question=QUESTIONS.map(" ".join), choice=CHOICES)
def test_the_best_of_the_chosen_is_found_however_far_down_it_stands(
    indexed: Indexed, question: str, choice: tuple[int, float]
) -> None:
    """A search that filtered its first hundred hits would miss it."""
    snapshot, search, encoder = indexed
    for document in chosen(snapshot, choice)[:3]:
        (best, *_) = search.search(question, 1, [document])
        query = encoder.encode_queries([question])[0]
        within = snapshot.passage_ids([document])
        assert best.passage.document_id == document
        if best.lexical_rank is None:
            assert best.passage.id == inner_products(query, snapshot.passage_vectors(within))[0][0]


def test_no_documents_and_unknown_ones_find_nothing(indexed: Indexed) -> None:
    _, search, _ = indexed
    assert search.search("apple", 5, []) == []
    assert search.search("apple", 5, ["0" * 16]) == []


def test_vectors_are_stored_as_they_are_searched(indexed: Indexed) -> None:
    """What the brute force above reads is what there is: one vector a passage, of one length."""
    snapshot, _, _ = indexed
    ids = snapshot.passage_ids([summary.id for summary in snapshot.summaries()])
    lengths = {len(vector) for vector in snapshot.passage_vectors(ids).values()}
    assert lengths == {16 * STORED.itemsize}
    assert len(ids) == snapshot.count()[1] > 200


# What names documents.


@pytest.fixture
def named(indexed: Indexed, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], set[str]]:
    """The sources of the documents that a name names, from within the documents' folder."""
    snapshot, _, _ = indexed
    docs = snapshot.folder.parent / "docs"
    monkeypatch.chdir(docs)
    sources = {s.id: (s.source.relative_to(docs).as_posix(), s.row) for s in snapshot.summaries()}

    def named(name: str) -> set[str]:
        ids = snapshot.find_all(name.replace("{docs}", str(docs)))
        assert len(ids) == len(set(ids))
        return {f"{sources[id_][0]}{f'#{sources[id_][1]}' * bool(sources[id_][1])}" for id_ in ids}

    return named


def test_documents_are_named_by_folder_file_title_and_id(
    indexed: Indexed, named: Callable[[str], set[str]]
) -> None:
    folder = {f"folder1/file{n}.txt" for n in range(1, 24, 3)}
    rows = {f"table.csv#{n}" for n in range(1, 11)}
    for name in ("{docs}/folder1", "folder1", "folder1/", "./folder0/../folder1"):
        assert named(name) == folder
    for name in ("folder1/file4.txt", "file4.txt", "{docs}/folder1/file4.txt", "Title 4"):
        assert named(name) == {"folder1/file4.txt"}
    for name in ("table.csv", "{docs}/table.csv"):
        assert named(name) == rows
    assert named("Row 3") == {"table.csv#4"}
    assert named(".") >= folder | rows
    assert len(named(".")) == len(indexed[0].summaries())
    for summary in indexed[0].summaries()[::7]:
        assert len(named(summary.id)) == 1


@pytest.mark.parametrize("name", ["nowhere", "ile4.txt", "Title", "folder1/nothing.txt", "", " "])
def test_what_names_nothing_is_an_error(named: Callable[[str], set[str]], name: str) -> None:
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

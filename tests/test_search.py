"""Fusion of two searches into one order."""

import pytest
from conftest import Indexer, ToyEncoder
from hypothesis import given
from hypothesis import strategies as st

from corpus.store import Snapshot
from embeddings.search import Search, fuse


def scores(low: float, high: float) -> st.SearchStrategy[list[tuple[int, float]]]:
    return st.dictionaries(st.integers(1, 30), st.floats(low, high), max_size=12).map(
        lambda d: sorted(d.items(), key=lambda p: (-p[1], p[0]))
    )


@given(scores(-1, 1), scores(0.01, 40), st.floats(0, 1))
def test_fused_scores_are_in_range_and_totally_ordered(
    dense: list[tuple[int, float]], lexical: list[tuple[int, float]], weight: float
) -> None:
    fused = fuse(dense, lexical, weight)
    assert {i for i, _ in fused} == {i for i, _ in dense} | {i for i, _ in lexical}
    assert all(-1e-12 <= score <= 1.0 + 1e-12 for _, score in fused)
    assert fused == sorted(fused, key=lambda p: (-p[1], p[0]))


def test_fusion_by_hand() -> None:
    dense = [(1, 0.9), (2, 0.5), (3, 0.1)]
    lexical = [(3, 8.0), (2, 4.0)]
    # dense stretched: 1, .5, 0; lexical divided: 1, .5.
    assert dict(fuse(dense, lexical, 0.5)) == pytest.approx({1: 0.5, 2: 0.5, 3: 0.5})
    assert dict(fuse(dense, [], 1.0)) == pytest.approx({1: 1.0, 2: 0.5, 3: 0.0})
    assert fuse([(4, 0.3)], [(4, 2.0)], 0.5) == [(4, 1.0)]
    # Close together, they stay close together.
    assert dict(fuse([(1, 0.6), (2, 0.5)], [], 1.0)) == pytest.approx({1: 1.0, 2: 0.8})
    assert fuse([], [], 0.5) == []


def test_hits_say_which_search_found_them(
    toy_index: Indexer, tmp_path, encoder: ToyEncoder
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for word in ("apple", "pear", "plum"):
        (docs / f"{word}.txt").write_text(f"A {word} is a fruit.")
    toy_index(docs)
    with Snapshot.open(tmp_path / "index") as snapshot:
        hits = Search.open(snapshot, encoder).search("plum", 5)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].passage.text == "A plum is a fruit."
    assert hits[0].lexical_rank == 1
    assert hits[1].lexical_rank is None
    assert sorted(hit.dense_rank for hit in hits) == [1, 2, 3]


def test_a_title_finds_its_passages(toy_index: Indexer, tmp_path, encoder: ToyEncoder) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("The Ardvik comet\n\n" + "It was seen in spring. " * 40)
    (docs / "b.txt").write_text("Another thing\n\n" + "It was seen in autumn. " * 40)
    toy_index(docs)
    with Snapshot.open(tmp_path / "index") as snapshot:
        hits = Search.open(snapshot, encoder).search("Ardvik", 20)
        found = [hit for hit in hits if hit.lexical_rank is not None]
        assert len(found) > 1
        assert {snapshot.document(hit.passage.document_id).title for hit in found} == {
            "The Ardvik comet"
        }

"""Searching plain texts finds what an index of them finds."""

import random
from pathlib import Path

import pytest
from conftest import Indexer, ToyEncoder
from hypothesis import given
from hypothesis import strategies as st

from corpus.store import Snapshot
from embeddings.lexical import LexicalIndex
from embeddings.mining import mine
from embeddings.search import DEPTH, Search
from embeddings.vectors import VectorIndex

TEXTS = [f"The {thing} of {place} is {n} years old." for n, (thing, place) in enumerate(
    (t, p) for t in ("bridge", "tower", "harbour") for p in ("Averill", "Sula", "Orsell", "Marsk")
)]  # fmt: skip
QUESTIONS = ["How old is the tower of Sula?", "Which harbour is it?", "unrelated words"]


def test_it_equals_the_search_of_an_index(
    tmp_path: Path, toy_index: Indexer, encoder: ToyEncoder
) -> None:
    (tmp_path / "docs").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "docs" / f"{number:02}.txt").write_text(text)
    toy_index(tmp_path / "docs")
    found = mine(encoder, QUESTIONS, TEXTS, k=5, dense_weight=0.5)
    with Snapshot.open(tmp_path / "index") as snapshot:
        search = Search.open(snapshot, encoder)
        for question, positions in zip(QUESTIONS, found, strict=True):
            hits = {hit.passage.text: hit.score for hit in search.search(question, len(TEXTS))}
            best = sorted(hits.values(), reverse=True)[:5]
            # Equal scores may come in another order; the index rounds its vectors.
            got = [hits[TEXTS[position]] for position in positions]
            assert all(abs(x - y) < 0.02 for x, y in zip(got, best, strict=True))


def test_it_looks_as_deep_and_scores_as_the_search_of_an_index(
    tmp_path: Path, toy_index: Indexer, encoder: ToyEncoder
) -> None:
    rng = random.Random(1)
    vocabulary = [f"{one}{two}" for one in "bdfgklmn" for two in ("ake", "oru", "ilt", "ums")]
    lines = [" ".join(rng.choices(vocabulary, k=rng.randint(3, 12))) for _ in range(3 * DEPTH)]
    (tmp_path / "docs.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    toy_index(tmp_path / "docs.jsonl")
    questions = [" ".join(rng.sample(vocabulary, 3)) for _ in range(20)]
    with Snapshot.open(tmp_path / "index") as snapshot:
        ids = [id_ for (id_,) in snapshot.rows("SELECT id FROM passages ORDER BY id")]
        texts = [passage.text for passage in snapshot.passages(ids)]
        # Without the words of titles, which an index has and mining has not.
        words = LexicalIndex.create(tmp_path / "words")
        words.update([], zip(ids, texts, strict=True))
        search = Search(snapshot, encoder, VectorIndex.open(snapshot.artefacts), words)
        found = mine(encoder, questions, texts, k=20, dense_weight=search.dense_weight)
        for question, positions in zip(questions, found, strict=True):
            hits = search.search(question, DEPTH)
            scores = {hit.passage.id: hit.score for hit in hits}
            # Near-equal scores may come in another order: the index rounds its vectors.
            got = [scores[ids[position]] for position in positions]
            assert got == pytest.approx([hit.score for hit in hits[:20]], abs=0.005)


@given(st.integers(1, 20), st.floats(0, 1))
def test_it_finds_as_many_as_there_are(k: int, weight: float) -> None:
    class Flat:
        def encode_passages(self, texts: list[str]) -> object:
            import numpy as np

            return np.ones((len(texts), 2), dtype=np.float32)

        encode_queries = encode_passages

    (found,) = mine(Flat(), ["bridge"], TEXTS, k=k, dense_weight=weight)  # type: ignore[arg-type]
    assert len(found) == len(set(found)) == min(k, len(TEXTS))
    assert mine(Flat(), [], TEXTS, k=k, dense_weight=weight) == []  # type: ignore[arg-type]
    assert mine(Flat(), ["x"], [], k=k, dense_weight=weight) == [[]]  # type: ignore[arg-type]

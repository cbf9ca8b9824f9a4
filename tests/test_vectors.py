"""Dense search equals brute force in numpy, or reports its measured recall."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import DamagedIndexError
from embeddings import vectors
from embeddings.vectors import STORED, VectorIndex, inner_products


def unit(rng: np.random.Generator, n: int, dim: int) -> Any:
    values = rng.standard_normal((n, dim)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(STORED).astype(np.float32)


def stored_of(ids: Any, values: Any) -> Any:
    table = {int(i): row.astype(STORED).tobytes() for i, row in zip(ids, values, strict=True)}
    return lambda wanted: {i: table[i] for i in wanted}


def brute_force(ids: Any, values: Any, query: Any, k: int) -> list[tuple[int, float]]:
    scores = (values.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    ranked = sorted(zip(ids.tolist(), scores.tolist(), strict=True), key=lambda p: (-p[1], p[0]))
    return ranked[:k]


@settings(max_examples=60)
@given(n=st.integers(0, 60), k=st.integers(1, 80), seed=st.integers(0, 999), copies=st.booleans())
def test_search_equals_brute_force(n: int, k: int, seed: int, copies: bool) -> None:
    rng = np.random.default_rng(seed)
    values = unit(rng, n, 8)
    if copies and n > 4:
        values[n // 2 :] = values[0]  # Ties, which must fall by id.
    ids = np.sort(rng.permutation(1000)[:n]).astype(np.int64)
    index = VectorIndex.build(ids, values)
    query = unit(rng, 1, 8)[0]
    expected = brute_force(ids, values, query, k)
    found = index.search(query, k, stored_of(ids, values))
    assert [score for _, score in found] == [score for _, score in expected]
    if not copies:
        assert found == expected


def test_removing_and_adding_equal_a_fresh_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values, ids = unit(rng, 200, 16), np.arange(200, dtype=np.int64)
    VectorIndex.build(ids[:150], values[:150]).save(tmp_path)
    index = VectorIndex.open(tmp_path, writable=True)
    index.remove(range(40))
    index.add(ids[150:], values[150:])
    index.save(tmp_path)
    mapped = VectorIndex.open(tmp_path)
    assert len(mapped) == 160
    query = unit(rng, 1, 16)[0]
    found = mapped.search(query, 20, stored_of(ids, values))
    assert found == brute_force(ids[40:], values[40:], query, 20)


def test_a_large_index_reports_its_recall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "FLAT_LIMIT", 500)
    rng = np.random.default_rng(2)
    centres = unit(rng, 60, 32)
    spread = unit(rng, 6000, 32)
    values = centres[rng.integers(0, 60, 6000)] + 0.6 * spread
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(STORED)
    values = values.astype(np.float32)
    ids = (np.arange(6000, dtype=np.int64) * 7) + 3
    index = VectorIndex.build(ids, values)
    assert not index.exact
    assert index.recall >= 0.99
    index.save(tmp_path)
    mapped = VectorIndex.open(tmp_path)
    assert mapped.recall == index.recall
    stored = stored_of(ids, values)
    agreed = 0
    for query in values[:100] + 0.3 * unit(rng, 100, 32):
        found = [i for i, _ in mapped.search(query, 10, stored)]
        agreed += len(set(found) & {i for i, _ in brute_force(ids, values, query, 10)})
    assert agreed / 1000 >= 0.98

    grown = VectorIndex.open(tmp_path, writable=True)
    grown.remove(ids[:50].tolist())
    grown.add(np.array([99_999], dtype=np.int64), values[:1])
    stored_more = stored_of([*ids, 99_999], np.concatenate([values, values[:1]]))
    assert grown.search(values[0], 1, stored_more)[0][0] == 99_999


def test_a_row_scores_the_same_in_any_company() -> None:
    rng = np.random.default_rng(3)
    values, query = unit(rng, 50, 384), unit(rng, 1, 384)[0]
    table = {i: row.astype(STORED).tobytes() for i, row in enumerate(values)}
    together = dict(inner_products(query, table))
    alone = {i: inner_products(query, {i: row})[0][1] for i, row in table.items()}
    assert together == alone
    assert inner_products(query, {}) == []


@pytest.mark.parametrize("damage", [b"", b"IxM2 not an index", b"\x00" * 64])
def test_a_broken_file_is_damage(tmp_path: Path, damage: bytes) -> None:
    rng = np.random.default_rng(4)
    VectorIndex.build(np.arange(5, dtype=np.int64), unit(rng, 5, 8)).save(tmp_path)
    (tmp_path / "vectors.faiss").write_bytes(damage)
    with pytest.raises(DamagedIndexError, match="citespan index"):
        VectorIndex.open(tmp_path)

"""The bench: its data are what they claim, a planted loss is named, and a tiny run goes through."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TOY_RECIPE, citespan, python

from corpus.errors import InputError
from corpus.store import Snapshot
from embeddings.vectors import STORED
from eval.bench import run as benches
from eval.bench.check import losses, read_bench
from eval.bench.large import add_made
from eval.bench.made import MadeText, MadeVectors, neighbour_distances
from eval.bench.run import bench, plan
from eval.bench.table import as_table, growth_picture, write_into
from eval.bench.timing import Timing, interleaved, printed_after, timed
from qa.indexing import SAMPLE

TEXTS = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.glob("*.txt"))]


def real_vectors(n: int = 300, dim: int = 64) -> Any:
    """Vectors that differ much in a few directions and little in most, as those of texts do."""
    rng = np.random.default_rng(5)
    values = rng.standard_normal((n, dim)) * np.geomspace(1.5, 0.02, dim) + 0.1
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


# Made data.


def test_made_words_are_as_frequent_as_zipf_says() -> None:
    text = MadeText(TEXTS)
    counts = np.zeros(len(text.words))
    rank = {word: number for number, word in enumerate(text.words)}
    for passage in text.passages(3000):
        for word in passage.replace(".", "").lower().split():
            counts[rank[word]] += 1
    share = counts / counts.sum()
    # Each of the most frequent words, and each decade of rare ones, within a tenth.
    assert np.allclose(share[:20], text.shares[:20], rtol=0.1)
    for low, high in ((20, 200), (200, 2000), (2000, 50_000)):
        assert share[low:high].sum() == pytest.approx(text.shares[low:high].sum(), rel=0.1)
    # Rank times frequency hardly changes: uniform words would make it grow a hundredfold.
    assert 0.5 < (share[99] * 100) / (share[9] * 10) < 2


def test_made_text_begins_alike_however_much_is_made() -> None:
    text = MadeText(TEXTS)
    assert list(text.passages(30)) == list(MadeText(TEXTS).passages(10_001))[:30]
    assert list(text.passages(30)) != list(MadeText(TEXTS, seed=1).passages(30))
    assert {text.words[0], text.words[1]} < {"the", "of", "to", "a", "and"}


def test_made_vectors_are_as_near_to_each_other_as_real_ones() -> None:
    real = real_vectors()
    made = np.concatenate(list(MadeVectors(real).batches(300)))
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-2)
    assert np.array_equal(made, made.astype(STORED).astype(np.float32))
    # As many as there are real ones lie about as far apart; uniform ones are much further.
    uniform = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    uniform /= np.linalg.norm(uniform, axis=1, keepdims=True)
    median = float(np.median(neighbour_distances(real)))
    assert float(np.median(neighbour_distances(made))) == pytest.approx(median, rel=0.25)
    assert float(np.median(neighbour_distances(uniform))) > 1.25 * median
    # And in the same directions: half of the dimensions hold nearly all that differs.
    spread = np.sort(np.linalg.eigvalsh(np.cov(made.T)))[::-1]
    assert spread[:32].sum() / spread.sum() > 0.85


def test_the_nearest_are_those_of_brute_force() -> None:
    vectors = MadeVectors(real_vectors())
    queries = real_vectors()[:5]
    everything = np.concatenate(list(vectors.batches(12_345)))
    expected = np.argsort(-(queries @ everything.T), axis=1)[:, :10]
    assert vectors.nearest(queries, 12_345, 10) == expected.tolist()


def test_a_made_index_holds_what_was_made(tmp_path: Path) -> None:
    text, vectors = MadeText(TEXTS), MadeVectors(real_vectors())
    built = add_made(tmp_path / "index", text.passages(130), vectors.batches(130), TOY_RECIPE)
    assert built.recall == 1.0
    with Snapshot.open(tmp_path / "index") as snapshot:
        assert snapshot.count() == (7, 130)
        passages = snapshot.passages(range(1, 131))
        assert [passage.text for passage in passages] == list(text.passages(130))
        stored = snapshot.passage_vectors([130])[130]
    (batch,) = vectors.batches(130)
    assert stored == batch[129].astype(STORED).tobytes()


# Measuring.


def test_percentiles_are_those_of_hand() -> None:
    timing = Timing(tuple(float(n) for n in range(20, 0, -1)))
    assert (timing.p50, timing.p95, timing.percentile(25), timing.percentile(100)) == (
        10.5, 19.0, 5.0, 20.0,
    )  # fmt: skip


def test_every_round_has_one_of_each_and_begins_with_another() -> None:
    said: list[str] = []
    calls = {name: lambda name=name: said.append(name) or 1.0 for name in "abc"}
    timings = interleaved(calls, 3, warm=1)
    assert "".join(said) == "abcbcacababc"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {
        "a": 3, "b": 3, "c": 3,
    }  # fmt: skip


def test_the_first_line_ends_the_time_and_a_failure_is_none() -> None:
    code = "import time; print('x', flush=True); time.sleep(0.5)"
    whole = timed(lambda: python(code))
    assert printed_after([sys.executable, "-c", code]) < whole - 0.4
    for silent in ("", "print('x', flush=True); raise SystemExit(1)"):
        with pytest.raises(RuntimeError, match="exited with"):
            printed_after([sys.executable, "-c", silent])


def test_peak_memory_is_the_process_own() -> None:
    code = "from eval.bench.timing import peak_bytes; {}print(peak_bytes())"
    small = int(python(code.format("")).stdout)
    large = int(python(code.format("b = b'x' * 200_000_000; ")).stdout)
    assert 180e6 < large - small < 260e6


# Comparing.


def run_with(**ratios: float) -> dict[str, Any]:
    return {"measures": [{"name": "cold ask", "ratios": ratios}]}


def test_a_planted_loss_is_named_and_a_small_one_is_not() -> None:
    before = run_with(imports=4.0, Haystack=10.0, txtai=9.0)
    (lost,) = losses(before, run_with(imports=3.1, Haystack=7.4, txtai=12.0))
    assert str(lost) == (
        "cold ask: 7.40 times as fast as Haystack, was 10.00 (26 % lost)"
    )  # 10.0 * .75 is 7.5, and 4.0 * .75 is 3.0.
    assert losses(before, before) == []


def test_times_are_not_compared() -> None:
    slow, fast = run_with(imports=4.0), run_with(imports=4.0)
    slow["measures"][0]["value"], fast["measures"][0]["value"] = 5.0, 0.5
    assert losses(fast, slow) == []


def test_the_worst_loss_comes_first_and_what_one_run_lacks_is_passed_over() -> None:
    found = losses(run_with(a=4.0, b=4.0, c=4.0), run_with(a=2.0, b=1.0))
    assert [loss.against for loss in found] == ["b", "a"]


def test_runs_without_anything_in_common_are_refused() -> None:
    with pytest.raises(InputError, match="nothing in common"):
        losses(run_with(a=1.0), run_with(b=1.0))


@pytest.mark.parametrize("content", ["", "[]", '{"measures": [{"name": "x"}]}', '{"a": 1}'])
def test_what_is_no_run_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(content)
    with pytest.raises(InputError, match="no run of `citespan bench"):
        read_bench(file)
    with pytest.raises(InputError, match="--out"):
        read_bench(tmp_path / "absent.json")


# A whole run.


@pytest.fixture(scope="module")
def tiny_run() -> Any:
    tiny = replace(plan(), rounds=1, questions=4, passages=160, indexed=60, sizes=(60, 120))
    return bench(replace(tiny, embedded=4))


def test_a_tiny_run_measures_everything(tiny_run: Any) -> None:
    assert [measure["name"] for measure in tiny_run["measures"]] == [
        "cold ask", "warm ask", "embedding", "indexing", "search", "recall", "opening",
        "resident", "building", "building memory",
    ]  # fmt: skip
    assert json.loads(json.dumps(tiny_run)) == tiny_run
    for measure in tiny_run["measures"]:
        assert measure["value"] > 0
        assert all(ratio > 0 for ratio in measure["ratios"].values())
    assert [size["passages"] for size in tiny_run["growth"]] == [60, 120]
    assert [size["recall"] for size in tiny_run["growth"]] == [1.0, 1.0]  # Flat is exact.
    assert losses(tiny_run, tiny_run) == []


def test_a_run_is_shown_in_the_terminal_the_readme_and_a_picture(
    tiny_run: Any, tmp_path: Path
) -> None:
    assert "F1" in as_table(tiny_run)
    readme = tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- bench: made by `make bench` -->\nstale\n<!-- end of bench -->\nafter"
    )
    write_into(readme, tiny_run)
    write_into(readme, tiny_run, tmp_path / "pictures" / "growth.svg")  # Again, into its own.
    text = readme.read_text()
    assert text.startswith("before\n<!--")
    assert text.endswith("-->\nafter")
    assert "stale" not in text
    assert "| a cold `ask`" in text
    assert "](pictures/growth.svg)" in text
    drawn = growth_picture(tiny_run)
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert drawn.count("<circle") == 2
    readme.write_text("no markers")
    with pytest.raises(InputError, match="bench: made by"):
        write_into(readme, tiny_run)


def test_a_peer_that_cannot_be_had_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(peer: Any, **_: Any) -> Any:
        raise RuntimeError(f"pip exited with 1: no {peer.packages[0]}")

    monkeypatch.setattr(benches, "install", fail)
    monkeypatch.setitem(
        benches._BESIDE_PEERS, "cold", lambda *_: benches.Measure("x", "x", "s", 1.0)
    )
    run = bench(plan(quick=True), only=["cold"], with_peers=True)
    assert list(run["skipped"]) == ["sentence-transformers + transformers", "Haystack", "txtai"]
    assert run["skipped"]["txtai"] == "pip exited with 1: no txtai"
    assert run["peers"] == {}
    assert "skipped txtai: pip exited" in as_table(run)


def test_an_unknown_measure_is_refused() -> None:
    done = citespan("bench", "--only", "speed")
    assert done.returncode == 1
    assert "cold, warm, embedding, indexing, large" in done.stderr

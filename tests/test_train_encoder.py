"""Fine-tuning an encoder: its batches keep their laws, and a run learns, stops and goes on."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import InputError
from embeddings.encoder import Prompts
from embeddings.train import (
    EncoderRecipe,
    Pair,
    _Batches,
    _figures,
    neighbours,
    recall,
    train_encoder,
)
from qa.settings import model_pair

VECTORS = st.integers(2, 40).flatmap(
    lambda n: st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    )
)


@given(VECTORS, st.integers(1, 50))
def test_neighbours_equal_brute_force(vectors: np.ndarray, k: int) -> None:
    found = neighbours(vectors, k)
    for row, near in enumerate(found):
        scores = {other: vectors[row] @ vectors[other] for other in range(len(vectors))}
        del scores[row]
        best = sorted(scores.values(), reverse=True)[: len(near)]
        assert [scores[other] for other in near] == pytest.approx(best)
        assert len(set(near)) == len(near) == min(k, len(vectors) - 1)


@given(VECTORS, VECTORS, st.integers(1, 10), st.data())
def test_recall_equals_brute_force(
    questions: np.ndarray, passages: np.ndarray, k: int, data: st.DataObject
) -> None:
    rows = st.integers(0, len(passages) - 1)
    right = data.draw(st.lists(rows, min_size=len(questions), max_size=len(questions)))
    hits = 0
    for question, row in zip(questions, right, strict=True):
        order = np.argsort(-(passages @ question), kind="stable")
        hits += row in order[:k]
    assert recall(questions, passages, right, k) == pytest.approx(100 * hits / len(questions))


@given(
    st.lists(st.integers(0, 8), min_size=16, max_size=60),
    st.integers(4, 12),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_no_batch_holds_a_passage_twice(
    passages: list[int], size: int, group: int, epoch: int
) -> None:
    pairs = [Pair(f"q{n}", f"passage {p}", (f"a{n}",)) for n, p in enumerate(passages)]
    alike = [[m for m in range(len(pairs)) if m != n][:5] for n in range(len(pairs))]
    batches = _Batches(pairs, alike, EncoderRecipe(batch_size=size, group=group))
    batches.set_epoch(epoch)
    seen: Counter[int] = Counter()
    for batch in batches:
        assert 0 < len(batch) <= size
        assert len({pairs[n].passage for n in batch}) == len(batch)
        seen.update(batch)
    assert max(seen.values()) == 1


@pytest.mark.parametrize("epoch", range(5))
def test_alike_passages_meet_unless_one_answers_the_others_question(epoch: int) -> None:
    texts = [f"about {topic} number {n}" for topic in "ab" for n in range(8)]
    alike = [[m for m in range(16) if m != n and (m < 8) == (n < 8)] for n in range(16)]
    recipe = EncoderRecipe(batch_size=8, group=8)

    def topics(answers: list[str]) -> list[set[bool]]:
        pairs = [Pair(f"q{n}", texts[n], (answers[n],)) for n in range(16)]
        batches = _Batches(pairs, alike, recipe)
        batches.set_epoch(epoch)
        return [{n < 8 for n in batch} for batch in batches]

    apart = topics([f"answer {n}" for n in range(16)])
    assert sorted(apart, key=max) == [{False}, {True}]
    # Where each passage of a topic answers all of its questions, only chance brings them together.
    mixed = topics(["Number"] * 16)
    assert mixed != [{True}, {False}]
    assert mixed != [{False}, {True}]


BASE = model_pair("bundled").encoder.folder
TOPICS = ["tides", "bridges", "owls", "bread", "glaciers", "clocks", "maps", "whales", "salt"]
PAIRS = [
    Pair(f"Code {t[::-1]} {n}?", f"The {t} of year {n} were counted by hand.", (f"{t} {n}",))
    for t in TOPICS
    for n in range(4)
]
TINY = EncoderRecipe(epochs=2.0, learning_rate=3e-4, batch_size=12, group=3, save_steps=5)


def test_a_run_learns_and_both_libraries_load_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    from embeddings.encoder import OnnxEncoder
    from embeddings.exports import ModelSource, export

    lines: list[str] = []
    figures = train_encoder(PAIRS, [PAIRS], BASE, tmp_path / "out", TINY, report=lines.append)
    assert figures["recall1@1"] > figures["base_recall1@1"]
    assert any("loss" in line for line in lines)
    assert capsys.readouterr().out == ""
    kept = json.loads((tmp_path / "out" / "training.json").read_text())
    assert kept["validation"] == figures
    assert not (tmp_path / "out" / "checkpoints").exists()
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < 50e6

    texts = [pair.passage for pair in PAIRS[:5]]
    torch = SentenceTransformer(str(tmp_path / "out")).encode(texts, normalize_embeddings=True)
    onnx = OnnxEncoder(export(ModelSource("mine", tmp_path / "out"), "encoder"))
    assert (np.sum(torch * onnx.encode_passages(texts), axis=1) > 0.98).all()


def test_training_puts_in_front_of_texts_what_search_does() -> None:
    told: list[str] = []

    class Model:
        prompts: ClassVar = {"query": "q: ", "passage": "p: ", "document": "d: "}

        def eval(self) -> None: ...

        def encode(self, texts: Sequence[str], *, prompt: str, **_: Any) -> Any:
            told.append(prompt)
            return np.ones((len(texts), 2))

    model: Any = Model()
    _figures(model, [PAIRS])
    assert told == [Prompts.of(model.prompts).query, Prompts.of(model.prompts).passage]
    assert told == ["q: ", "d: "]


def test_a_killed_run_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    code = """
import json, os, sys
from pathlib import Path
import embeddings.train as t
recipe = t.EncoderRecipe(**json.loads(sys.argv[1]))
pairs = [t.Pair(q, p, tuple(a)) for q, p, a in json.loads(sys.argv[2])]
def report(line):
    print(line, flush=True)
    if line.startswith("step 6/") and sys.argv[5:]:
        os._exit(9)
t.train_encoder(pairs, [pairs[:9]], Path(sys.argv[3]), Path(sys.argv[4]), recipe, report=report)
"""
    recipe = {"epochs": 4.0, "batch_size": 12, "group": 3, "save_steps": 4}
    pairs = json.dumps([[p.question, p.passage, p.answers] for p in PAIRS])
    arguments = [json.dumps(recipe), pairs, str(BASE), str(tmp_path / "out")]
    run = [sys.executable, "-c", code, *arguments]
    killed = subprocess.run([*run, "die"], capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    # As if killed again while a later checkpoint was saved: its state is written last.
    whole = tmp_path / "out" / "checkpoints" / "checkpoint-4"
    for step, state in ((5, None), (6, '{"epoch": 1')):
        partial = whole.with_name(f"checkpoint-{step}")
        shutil.copytree(whole, partial, ignore=shutil.ignore_patterns("trainer_state.json"))
        if state:
            (partial / "trainer_state.json").write_text(state)
    again = subprocess.run(run, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "resumed at step 4\n" in again.stdout
    (tmp_path / "out" / "run.json").write_text("another")
    with pytest.raises(InputError, match="another run"):
        train_encoder(PAIRS, [PAIRS], BASE, tmp_path / "out", TINY, report=print)


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="questions to train on"):
        train_encoder(PAIRS[:3], [PAIRS], BASE, tmp_path / "out", TINY, report=print)

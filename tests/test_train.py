"""Training learns, resumes where it was killed, and makes what the pipeline can use."""

import json
import lzma
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ToyEncoder, citespan
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import GoldError, InputError, ModelError
from embeddings.exports import ModelSource, export
from embeddings.precision import has_bfloat16
from qa import lessons
from qa import train as training
from qa.altered import altered
from qa.gold import read_squad
from qa.lessons import Example, Recipe, TrainingSet, epoch_batches
from qa.reader import Reader
from qa.settings import model_pair
from qa.spans import Window
from qa.train import train_reader

COLOURS = ["red", "green", "blue", "white", "black", "brown", "silver", "golden"]
THINGS = ["door", "boat", "house", "car", "hat", "coat", "stone", "bird"]


def squad(path: Path, *, seed: int, n: int = 60) -> Path:
    """Questions on the colour of things, two paragraphs an article."""
    rng = np.random.default_rng(seed)
    articles = []
    for number in range(n):
        first, second = (THINGS[i] for i in rng.choice(len(THINGS), 2, replace=False))
        paragraphs = []
        for thing in (first, second):
            colour = COLOURS[rng.integers(len(COLOURS))]
            context = f"It was late. The {thing} was {colour} and very old."
            start = context.index(colour)
            paragraphs.append(
                {
                    "context": context,
                    "qas": [
                        {
                            "id": f"{number}-{thing}",
                            "question": f"What colour was the {thing}?",
                            "answers": [{"text": colour, "answer_start": start}],
                        }
                    ],
                }
            )
        articles.append({"title": f"Article {number}", "paragraphs": paragraphs})
    path.write_text(json.dumps({"data": articles}))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT with the bundled tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_pair("bundled").encoder.folder).save_pretrained(folder)
    return folder


RECIPE = Recipe(epochs=1.5, learning_rate=5e-3, batch_size=8, max_tokens=64, stride=16)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def run(base: Path, tmp_path: Path, out: str, recipe: Recipe = RECIPE, **options: Any) -> Any:
    sets = [TrainingSet(squad(tmp_path / "train.json", seed=1))]
    validation = squad(tmp_path / "dev.json", seed=2, n=10)
    return train_reader(
        sets, validation, base, tmp_path / out, recipe, report=lambda _: None, **options
    )


def test_training_learns_and_the_pipeline_reads(base: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=6, learning_rate=5e-3, batch_size=8, max_tokens=64, stride=16)
    figures = run(base, tmp_path, "out", recipe)
    assert figures["f1"] > 60
    assert all(tensor.dtype == np.float16 for tensor in weights(tmp_path / "out").values())
    reader = Reader(export(ModelSource("mine", tmp_path / "out"), "reader", precision="float32"))
    text = "It was late. The boat was green and very old."
    (spans,) = reader.read("What colour was the boat?", [text], n=1)
    assert text[spans[0].start : spans[0].end] == "green"


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, averaged=0.6, final_rate=0.2, searched=0.7, negatives=0.8, dropout=0.1),
    ],
    ids=["plain", "averaged, searched, dropout"],
)
def test_a_killed_run_resumes_to_the_same_weights(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: Recipe,
    encoder: ToyEncoder,
) -> None:
    run(base, tmp_path, "whole", recipe, encoder=encoder)
    loss, calls = training._loss, [0]

    def dying(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] in {7, 20}:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(training, "_loss", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(base, tmp_path, "killed", recipe, encoder=encoder, checkpoint_seconds=0.0)
        assert (tmp_path / "killed" / "checkpoint.pt").exists()
    searched = len(encoder.embedded)
    run(base, tmp_path, "killed", recipe, encoder=encoder, checkpoint_seconds=0.0)
    assert len(encoder.embedded) == searched  # What was found is kept beside the checkpoint.
    assert {path.suffix for path in (tmp_path / "killed").iterdir()} == {".json", ".safetensors"}
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, other[name], err_msg=name)


def test_a_reader_learns_from_its_teacher_alone(base: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=6, learning_rate=5e-3, batch_size=8, max_tokens=64, stride=16)
    run(base, tmp_path, "teacher", recipe)
    taught = replace(recipe, taught=1.0, temperature=1.5)
    figures = run(base, tmp_path, "pupil", taught, teachers=[tmp_path / "teacher"])
    assert figures["f1"] > 60
    # With all of the loss its teacher's, what the gold spans say changes nothing.
    wrong = squad(tmp_path / "wrong.json", seed=1)
    data = json.loads(wrong.read_text())
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"][0]["answers"] = [{"text": "It", "answer_start": 0}]
    wrong.write_text(json.dumps(data))
    train_reader(
        [TrainingSet(wrong)],
        tmp_path / "dev.json",
        base,
        tmp_path / "misled",
        replace(taught, negatives=0.0),
        report=lambda _: None,
        teachers=[tmp_path / "teacher"],
    )
    run(base, tmp_path, "led", replace(taught, negatives=0.0), teachers=[tmp_path / "teacher"])
    one, other = weights(tmp_path / "led"), weights(tmp_path / "misled")
    assert all(np.array_equal(tensor, other[name]) for name, tensor in one.items())


def test_teachers_are_averaged_as_probabilities(base: Path, tmp_path: Path) -> None:
    """The loss against two teachers, beside numpy's own of the same logits."""
    import torch

    recipe = replace(RECIPE, taught=0.3, temperature=2.0)
    path = squad(tmp_path / "train.json", seed=1)
    tokenizer = training.plain_tokenizer(base)
    batch = epoch_batches([(TrainingSet(path), read_squad(path))], tokenizer, recipe, 0)[0]
    device = torch.device("cpu")
    model, one, two = (training._base_model(base, 0.0)[0].eval() for _ in range(3))
    windows = [example.window for example in batch]
    with torch.no_grad():
        loss = training._loss(model, [one, two], batch, recipe, device).item()
        (mine, first, second) = (
            [logits.numpy().astype(np.float64) for logits in training._logits(m, windows, device)]
            for m in (model, one, two)
        )

    def softmax(x: Any) -> Any:
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    expected = 0.0
    for side in (0, 1):
        gold = np.array([(e.start, e.end)[side] for e in batch])
        hard = -np.log(softmax(mine[side])[np.arange(len(batch)), gold]).mean()
        told = (softmax(first[side] / 2) + softmax(second[side] / 2)) / 2
        with np.errstate(divide="ignore"):
            logs = np.where(told > 0, np.log(softmax(mine[side] / 2)), 0.0)
        expected += (0.7 * hard + 0.3 * 4 * -(told * logs).sum(1).mean()) / 2
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_only_where_the_machine_has_it(
    base: Path, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    import torch

    monkeypatch.setattr(training, "has_bfloat16", lambda: has)
    model, _ = training._base_model(base, 0.0)
    seen = []
    model.qa_outputs.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    window = Window(np.arange(5), np.zeros(5, np.int64), np.zeros((5, 2), np.int64), 0)
    logits, _ = training._logits(model, [window], torch.device("cpu"))
    assert seen == [torch.bfloat16 if has else torch.float32]
    assert logits.dtype == torch.float32


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists what it has")
def test_what_the_machine_has_is_what_the_kernel_says() -> None:
    import torch

    if not torch.cuda.is_available():
        assert has_bfloat16() == ("avx512_bf16" in Path("/proc/cpuinfo").read_text().split())


def test_a_teacher_with_other_tokens_is_refused(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    listing = json.loads((other / "tokenizer.json").read_text())
    vocabulary = listing["model"]["vocab"]
    vocabulary["blue"], vocabulary["green"] = vocabulary["green"], vocabulary["blue"]
    (other / "tokenizer.json").write_text(json.dumps(listing))
    with pytest.raises(ModelError, match="its tokens are not those of the base"):
        run(base, tmp_path, "out", teachers=[other])
    with pytest.raises(ModelError, match="no model lies there"):
        run(base, tmp_path, "out", teachers=[tmp_path / "none"])


def test_averaged_weights_are_the_mean_of_the_last(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    step = training._Run._step

    def noted(self: Any, batch: Any) -> float:
        loss = step(self, batch)
        seen.append({name: p.detach().numpy().copy() for name, p in self._model.named_parameters()})
        return loss

    monkeypatch.setattr(training._Run, "_step", noted)
    run(base, tmp_path, "out", replace(RECIPE, averaged=0.25))
    last = seen[round(0.75 * len(seen)) :]
    assert len(last) > 3
    for name, tensor in weights(tmp_path / "out").items():
        mean = np.mean([step[name] for step in last], axis=0)
        np.testing.assert_allclose(tensor, mean, atol=2e-3, rtol=2e-3, err_msg=name)


def test_wrong_paragraphs_found_by_search_hold_no_answer(
    tmp_path: Path, tokenizer: Any, encoder: ToyEncoder
) -> None:
    path = squad(tmp_path / "train.json", seed=1)
    sets = [(TrainingSet(path), read_squad(path))]
    found = lessons.search_negatives(
        sets, encoder, tmp_path / "kept.json", "this run", lambda _: None
    )
    questions = [q for a in sets[0][1] for p in a.paragraphs for q in p.questions]
    rng = random.Random(0)
    for question in questions:
        texts = found[path.name, question.id]
        assert 1 <= len(texts) == len(set(texts))
        # The search ranks what is asked about first.
        assert sum(question.text.split()[-1][:-1] in text for text in texts) >= len(texts) / 2
        wrong = lessons._without_answer(question, texts, rng)
        assert wrong is None or question.spans[0].text not in wrong
    assert lessons._without_answer(questions[0], [], rng) is None


def test_another_runs_checkpoint_is_refused(base: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / "out").mkdir()
    torch.save({"identity": "another"}, tmp_path / "out" / "checkpoint.pt")
    with pytest.raises(InputError, match="belongs to another run"):
        run(base, tmp_path, "out")


def test_an_epoch_follows_from_the_seed(base: Path, tmp_path: Path, tokenizer: Any) -> None:
    path = squad(tmp_path / "train.json", seed=1)
    sets = [(TrainingSet(path, 0.5), read_squad(path))]

    def ids(recipe: Recipe, epoch: int) -> list[list[int]]:
        batches = epoch_batches(sets, tokenizer, recipe, epoch)
        return [e.window.input_ids.tolist() for batch in batches for e in batch]

    assert ids(RECIPE, 0) == ids(RECIPE, 0) != ids(RECIPE, 1)


def test_examples_point_at_their_answers(tmp_path: Path, tokenizer: Any) -> None:
    path = squad(tmp_path / "train.json", seed=1)
    sets = [(TrainingSet(path), read_squad(path))]
    recipe = Recipe(batch_size=8, max_tokens=64, stride=16, negatives=1.0)
    batches = epoch_batches(sets, tokenizer, recipe, 0)
    examples = [example for batch in batches for example in batch]
    answers = [tokenizer.decode(e.window.input_ids[e.start : e.end + 1].tolist()) for e in examples]
    assert {answer for answer in answers if answer} == set(COLOURS)
    unanswerable = [e for e, answer in zip(examples, answers, strict=True) if not answer]
    assert all((e.start, e.end) == (0, 0) for e in unanswerable)
    # Every question also came with a paragraph that does not hold its answer, where there is one.
    assert len(examples) * 0.4 < len(unanswerable) <= len(examples) / 2


PASSAGE = (
    "The bridge at Orle was opened by Ada Wolf in 1931, the first of its kind. It cost 58 crowns."
)
ALIKE = ["The tower was built by Bo Lind.", "In the year 1840 some 730 men came to Ostra."]


@given(
    st.sampled_from(
        ["Who opened the bridge at Orle?", "What did the first bridge cost in 1931?", "why"]
    ),
    st.randoms(use_true_random=False),
)
def test_an_altered_question_asks_for_something_else(question: str, rng: random.Random) -> None:
    start = PASSAGE.index("Ada Wolf")
    changed = altered(question, PASSAGE, [(start, start + 8)], ALIKE, rng)
    if changed is None:
        return
    new = set(changed.rstrip("?").split()) - set(question.rstrip("?").split())
    elsewhere = set(re.findall(r"\w+", " ".join(ALIKE))) - set(re.findall(r"\w+", PASSAGE))
    # Turned round, denied, or with what the other texts say and this one does not.
    assert new
    assert new <= {"last", "closed", "didn't"} | elsewhere


def test_altered_questions_have_no_answer_and_no_teacher(tmp_path: Path, tokenizer: Any) -> None:
    path = squad(tmp_path / "train.json", seed=1)
    sets = [(TrainingSet(path), read_squad(path))]
    plain = Recipe(max_tokens=64, stride=16, negatives=0.0)

    def examples(recipe: Recipe) -> list[Example]:
        return [e for batch in epoch_batches(sets, tokenizer, recipe, 0) for e in batch]

    added = [e for e in examples(replace(plain, altered=1.0)) if not e.taught]
    assert all(e.taught for e in examples(plain))
    assert added
    assert all((e.start, e.end) == (0, 0) for e in added)


def test_the_command(base: Path, tmp_path: Path) -> None:
    train, dev = squad(tmp_path / "t.json", seed=1), squad(tmp_path / "d.json", seed=2, n=5)
    arguments = ["train", "reader", "--train", f"{train}@0.5", "--validation", dev, "--base", base]
    done = citespan(*arguments, "--out", tmp_path / "out", "--epochs", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["em", "f1"]
    assert "tokens/s" in done.stderr
    done = citespan(*arguments[:-1], tmp_path / "none", "--out", tmp_path / "out2")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "no model lies there" in done.stderr


@pytest.mark.parametrize("text", ["a.json@2", "a.json@0", "a.json@x"])
def test_a_share_is_checked(text: str) -> None:
    with pytest.raises(InputError, match="the share after @"):
        TrainingSet.parse(text)
    assert TrainingSet.parse("b@home/a.json@0.25") == TrainingSet(Path("b@home/a.json"), 0.25)


def test_gold_is_read_plain_and_packed(tmp_path: Path) -> None:
    path = squad(tmp_path / "a.json", seed=1, n=2)
    (tmp_path / "b.json.xz").write_bytes(lzma.compress(path.read_bytes()))
    articles = read_squad(path)
    assert read_squad(tmp_path / "b.json.xz") == articles
    question = articles[0].paragraphs[0].questions[0]
    (span,) = question.spans
    assert articles[0].paragraphs[0].text[span.start : span.end] == span.text in COLOURS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q["answers"][0].update(answer_start=3), "question 0-.* the paragraph has"),
        (lambda q: q["answers"][0].update(text=""), "the paragraph has"),
        (lambda q: q.pop("question"), "is not SQuAD JSON"),
    ],
)
def test_malformed_gold_names_the_question(tmp_path: Path, change: Any, message: str) -> None:
    path = squad(tmp_path / "a.json", seed=1, n=1)
    data = json.loads(path.read_text())
    change(data["data"][0]["paragraphs"][0]["qas"][0])
    path.write_text(json.dumps(data))
    with pytest.raises(GoldError, match=message):
        read_squad(path)
    with pytest.raises(GoldError, match="no gold file"):
        read_squad(tmp_path / "none.json")

"""Fine-tune an extractive reader on gold questions.

Any Hugging Face encoder can be the base. The reader learns where an answer
starts and ends, and to point at its first token where a window holds none. One
run is deterministic in its data: the examples of an epoch follow from the seed
and the epoch's number alone, which is also what makes a killed run resumable.
"""

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoTokenizer
from transformers.utils import logging

from corpus.errors import InputError, ModelError
from embeddings.encoder import Encoder
from embeddings.mining import mine
from qa.answers import exact_match, f1, normalise, without
from qa.gold import Article, Paragraph, Question, read_squad
from qa.settings import DENSE_WEIGHT
from qa.spans import Window, best_spans, windows

__all__ = ["Recipe", "TrainingSet", "plain_tokenizer", "train_reader"]

_CHECKPOINT = "checkpoint.pt"
_NEGATIVES = "negatives.json"
_LOOK_ALIKES = 12
_REPORT_STEPS = 50
_HIDDEN_DROPOUTS = (
    "hidden_dropout_prob",  # BERT and most others
    "dropout",  # DistilBERT
    "embedding_dropout", "mlp_dropout",  # ModernBERT
)  # fmt: skip
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")
"""What the architectures call them."""


_Found: TypeAlias = dict[tuple[str, str], list[str]]
"""By file and question id, what a search finds for the question."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A SQuAD file and the share of its questions that each epoch draws afresh."""

    path: Path
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "TrainingSet":
        """`FILE` or `FILE@SHARE`, such as `extra.json@0.3`."""
        path, at, share = text.rpartition("@")
        if not at:
            return cls(Path(text))
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not 0.0 < value <= 1.0:
            raise InputError(f"{text!r}: the share after @ is a number above 0 and at most 1")
        return cls(Path(path), value)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a run besides its data; kept beside the weights."""

    epochs: float = 2.0
    """Passes over the data; of the last one, its fraction of the batches."""
    learning_rate: float = 2e-4
    batch_size: int = 32
    max_tokens: int = 320
    stride: int = 96
    max_answer_tokens: int = 30
    negatives: float = 0.22
    """Share of the questions also shown with a paragraph that does not answer them."""
    searched: float = 0.0
    """Of those paragraphs the share that search finds for the question, in all of the training
    data; the others are the most alike of its own article."""
    final_rate: float = 0.0
    """To what part of it the learning rate falls."""
    averaged: float = 0.0
    """Over so large a share of the steps, the last ones, the weights are averaged (Izmailov et
    al. 2018)."""
    warmup: float = 0.05
    weight_decay: float = 0.01
    dropout: float = 0.0
    """Of hidden states, never of attention weights: on a CPU their random masks cost more
    than the attention they mask (at 320 tokens 1,352 tokens a second with 0.1 of both
    against 3,361 without; of hidden states alone 4,080 against 4,380)."""
    seed: int = 13


@dataclass(frozen=True, slots=True)
class _Example:
    """A window with the positions it must point at, (0, 0) for "no answer here"."""

    window: Window
    start: int
    end: int


def train_reader(
    train: Sequence[TrainingSet],
    validation: Path,
    base: Path,
    out: Path,
    recipe: Recipe,
    *,
    report: Callable[[str], None],
    encoder: Encoder | None = None,
    checkpoint_seconds: float = 300.0,
) -> dict[str, float]:
    """Train a reader from the encoder in `base` and save it as float16 safetensors in `out`.

    After every epoch the model is measured on `validation` with the gold
    paragraph given. A run that was killed goes on from its last checkpoint when
    it is started again with the same arguments.

    Args:
        train: the questions to learn from.
        validation: a SQuAD file, never trained on.
        base: a model folder that `AutoModelForQuestionAnswering` can load.
        out: where the model, its tokenizer and `training.json` go.
        recipe: the settings of the run.
        report: receives one line of progress at a time.
        encoder: what searches for wrong paragraphs; not needed where the recipe wants none.
        checkpoint_seconds: how often, in seconds, the state is saved.

    Returns:
        The last epoch's figures on `validation`, in percent: `em` and `f1` on
        the answerable questions.

    Raises:
        InputError: a file cannot be read, or the checkpoint in `out` is another run's.
        ModelError: there is no model in `base`.
    """
    if not (base / "config.json").is_file():
        raise ModelError(f"{base} has no config.json; expected a model folder to start from")
    torch.manual_seed(recipe.seed)
    model, tokenizer = _base_model(base, recipe.dropout)
    backend = tokenizer.backend_tokenizer
    sets = [(entry, read_squad(entry.path)) for entry in train]
    held_out = read_squad(validation)

    names = [(entry.path.name, entry.share) for entry in train]
    inputs = [base / "config.json", *sorted(base.glob("*.safetensors")), *(s.path for s in train)]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs]
    identity = json.dumps([asdict(recipe), names, digests], sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    found: _Found = {}
    if recipe.searched and encoder:
        found = _search(sets, encoder, out / _NEGATIVES, identity, report)
    batches = _epoch(sets, backend, recipe, 0, found)
    run = _Run(model, recipe, round(recipe.epochs * len(batches)), out / _CHECKPOINT, identity)
    first_epoch, done = run.resume()
    if (first_epoch, done) != (0, 0):
        report(f"resumed at epoch {first_epoch + 1}, step {done}")

    figures: dict[str, float] = {}
    for epoch in range(first_epoch, math.ceil(recipe.epochs)):
        if epoch > 0:
            batches = _epoch(sets, backend, recipe, epoch, found)
        share = min(1.0, recipe.epochs - epoch)
        run.epoch(epoch, batches[: round(share * len(batches))], done, checkpoint_seconds, report)
        done = 0
        figures = evaluate(model, backend, held_out, recipe)
        report(f"epoch {epoch + 1}: " + "  ".join(f"{k} {v:.1f}" for k, v in figures.items()))

    if run.finish() or not figures:
        figures = evaluate(model, backend, held_out, recipe)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    record = {"recipe": asdict(recipe), "validation": figures, "train": names}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    run.checkpoint.unlink(missing_ok=True)
    (out / _NEGATIVES).unlink(missing_ok=True)
    return figures


class _Run:
    """The state of a run: what a checkpoint holds."""

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        total_steps: int,
        checkpoint: Path,
        identity: str,
    ) -> None:
        self.checkpoint = checkpoint
        self._identity = identity
        self._model = model
        self._device = next(model.parameters()).device
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True
        )
        self._mean = AveragedModel(model) if recipe.averaged else None
        self._averaged_from = round((1 - recipe.averaged) * total_steps)
        warmup = max(1, round(recipe.warmup * total_steps))
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: min(
                (step + 1) / warmup,
                recipe.final_rate
                + (1 - recipe.final_rate)
                * max(0, total_steps - step)
                / max(1, total_steps - warmup),
            ),
        )

    def epoch(
        self,
        epoch: int,
        batches: Sequence[Sequence[_Example]],
        done: int,
        checkpoint_seconds: float,
        report: Callable[[str], None],
    ) -> None:
        """Learn from the batches after the first `done`."""
        self._model.train()
        started = saved = time.monotonic()
        tokens, running = 0, 0.0
        for step, batch in enumerate(batches[done:], done + 1):
            loss = self._step(batch)
            running = loss if step == done + 1 else 0.98 * running + 0.02 * loss
            tokens += sum(len(example.window.input_ids) for example in batch)
            now = time.monotonic()
            if step % _REPORT_STEPS == 0 or step == len(batches):
                left = (now - started) / (step - done) * (len(batches) - step)
                report(
                    f"epoch {epoch + 1}  step {step}/{len(batches)}  loss {running:.3f}"
                    f"  {tokens / (now - started):,.0f} tokens/s  {left / 60:.0f} min left"
                )
            if now - saved > checkpoint_seconds:
                self._save(epoch, step)
                saved = now
        self._save(epoch + 1, 0)

    def resume(self) -> tuple[int, int]:
        """The epoch, from 0, and the number of its batches that a killed run had done."""
        if not self.checkpoint.exists():
            return 0, 0
        state = torch.load(self.checkpoint, weights_only=True, map_location=self._device)
        if state["identity"] != self._identity:
            raise InputError(f"{self.checkpoint} belongs to another run; delete it to start afresh")
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        if self._mean:
            self._mean.load_state_dict(state["mean"])
        torch.set_rng_state(state["random"].cpu())
        return state["epoch"], state["done"]

    def _step(self, batch: Sequence[_Example]) -> float:
        loss = _loss(self._model, batch, self._device)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._scheduler.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._mean and self._scheduler.last_epoch > self._averaged_from:
            self._mean.update_parameters(self._model)
        return loss.item()

    def finish(self) -> bool:
        """Put the mean of the last weights into the model; whether there is one."""
        if self._mean is None or not self._mean.n_averaged:
            return False
        self._model.load_state_dict(self._mean.module.state_dict())
        return True

    def _save(self, epoch: int, done: int) -> None:
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "identity": self._identity,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "mean": self._mean.state_dict() if self._mean else {},
            "random": torch.get_rng_state(),
            "epoch": epoch,
            "done": done,
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)


def evaluate(
    model: Any, tokenizer: Any, articles: Sequence[Article], recipe: Recipe
) -> dict[str, float]:
    """EM and F1, in percent, on the answerable questions with their gold paragraph given."""
    jobs = [
        (question, paragraph, window)
        for article in articles
        for paragraph in article.paragraphs
        for question in paragraph.questions
        if question.spans
        for window in windows(
            tokenizer,
            question.text,
            paragraph.text,
            max_tokens=recipe.max_tokens,
            stride=recipe.stride,
        )
    ]
    jobs.sort(key=lambda job: len(job[2].input_ids))
    device = next(model.parameters()).device
    best: dict[str, tuple[float, str, Question]] = {}
    model.eval()
    for low in range(0, len(jobs), 64):
        batch = jobs[low : low + 64]
        with torch.no_grad():
            starts, ends = _logits(model, [window for _, _, window in batch], device)
        for (question, paragraph, window), start, end in zip(
            batch, starts.cpu().numpy(), ends.cpu().numpy(), strict=True
        ):
            spans = best_spans(start, end, window, max_answer_tokens=recipe.max_answer_tokens, n=1)
            for span in spans:
                answer = paragraph.text[span.start : span.end]
                entry = (span.margin, answer, question)
                best[question.id] = max(best.get(question.id, entry), entry, key=lambda e: e[0])
    n = max(1, len(best))
    return {
        "em": 100 * sum(exact_match(answer, q.golds) for _, answer, q in best.values()) / n,
        "f1": 100 * sum(f1(answer, q.golds) for _, answer, q in best.values()) / n,
    }


def _epoch(
    sets: Sequence[tuple[TrainingSet, Sequence[Article]]],
    tokenizer: Any,
    recipe: Recipe,
    epoch: int,
    found: _Found | None = None,
) -> list[list[_Example]]:
    """The batches of one epoch: similar lengths together, in random order."""
    rng = random.Random(f"{recipe.seed}/{epoch}")
    examples: list[_Example] = []
    for entry, articles in sets:
        for article, paragraph, question in _draw(articles, entry.share, rng):
            examples.extend(_examples(tokenizer, question, paragraph.text, recipe, rng))
            if question.spans and rng.random() < recipe.negatives:
                wrong = None
                if rng.random() < recipe.searched:
                    look_alikes = (found or {}).get((entry.path.name, question.id), [])
                    wrong = _without_answer(question, look_alikes, rng)
                if wrong is None:
                    wrong = _wrong_paragraph(question, article, articles, rng)
                if wrong is not None:
                    unanswerable = replace(question, spans=())
                    examples.extend(_examples(tokenizer, unanswerable, wrong, recipe, rng))

    # A little noise on the length keeps the same neighbours from meeting in every epoch.
    examples.sort(key=lambda example: len(example.window.input_ids) + rng.uniform(0, 8))
    size = recipe.batch_size
    batches = [examples[low : low + size] for low in range(0, len(examples), size)]
    rng.shuffle(batches)
    return batches


def _draw(
    articles: Sequence[Article], share: float, rng: random.Random
) -> Iterator[tuple[Article, Paragraph, Question]]:
    for article in articles:
        for paragraph in article.paragraphs:
            for question in paragraph.questions:
                if share >= 1.0 or rng.random() < share:
                    yield article, paragraph, question


def _search(
    sets: Sequence[tuple[TrainingSet, Sequence[Article]]],
    encoder: Encoder,
    file: Path,
    identity: str,
    report: Callable[[str], None],
) -> _Found:
    """The paragraphs that search ranks highest for each question; kept in the file."""
    texts = list(
        dict.fromkeys(
            paragraph.text
            for _, articles in sets
            for article in articles
            for paragraph in article.paragraphs
        )
    )
    keys, questions = [], []
    for entry, articles in sets:
        for article in articles:
            for paragraph in article.paragraphs:
                for question in paragraph.questions:
                    keys.append((entry.path.name, question.id))
                    questions.append(question.text)
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    positions = kept.get("positions") if kept.get("identity") == identity else None
    if positions is None:
        report(f"searching {len(texts)} paragraphs for {len(questions)} questions")
        positions = mine(encoder, questions, texts, k=_LOOK_ALIKES, dense_weight=DENSE_WEIGHT)
        file.write_text(json.dumps({"identity": identity, "positions": positions}))
    return {
        key: [texts[position] for position in found]
        for key, found in zip(keys, positions, strict=True)
    }


def _without_answer(question: Question, texts: Sequence[str], rng: random.Random) -> str | None:
    """One of the texts at random that holds none of the question's answers."""
    wrong = list(without(texts, question.golds))
    return rng.choice(wrong) if wrong else None


def _wrong_paragraph(
    question: Question, article: Article, articles: Sequence[Article], rng: random.Random
) -> str | None:
    """A paragraph's text without any of the answers, alike in words to the question.

    Of up to eight drawn from the same article, or from all where it has no
    other, the one that shares the most words: a reader that is asked about what
    search finds meets look-alikes, not strangers.
    """
    pool = article.paragraphs if len(article.paragraphs) > 1 else None
    drawn = (
        rng.sample(pool, min(8, len(pool)))
        if pool
        else [rng.choice(rng.choice(articles).paragraphs) for _ in range(8)]
    )
    words = set(normalise(question.text).split())
    best: tuple[int, str] | None = None
    for text in without((paragraph.text for paragraph in drawn), question.golds):
        shared = len(words.intersection(normalise(text).split()))
        if best is None or shared > best[0]:
            best = (shared, text)
    return best[1] if best else None


def _examples(
    tokenizer: Any, question: Question, passage: str, recipe: Recipe, rng: random.Random
) -> Iterator[_Example]:
    """The windows of one question, each told its answer: one of the gold spans, drawn at random."""
    span = rng.choice(question.spans) if question.spans else None
    for window in windows(
        tokenizer, question.text, passage, max_tokens=recipe.max_tokens, stride=recipe.stride
    ):
        start = end = 0
        if span is not None:
            touched = np.flatnonzero(
                (window.offsets[:, 1] > span.start) & (window.offsets[:, 0] < span.end)
            )
            # A span cut by the window's edge is no answer there; its other window has it whole.
            whole = (
                len(touched) > 0
                and window.offsets[touched[0], 0] <= span.start
                and window.offsets[touched[-1], 1] >= span.end
            )
            if whole:
                start, end = window.first + int(touched[0]), window.first + int(touched[-1])
        yield _Example(window, start, end)


def _logits(
    model: Any, batch: Sequence[Window], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and end logits, float32, shape (batch, longest); -inf on the padding."""
    lengths = torch.tensor([len(window.input_ids) for window in batch])
    longest = int(lengths.max())
    ids = torch.full((len(batch), longest), int(model.config.pad_token_id or 0))
    types = torch.zeros_like(ids)
    for row, window in enumerate(batch):
        ids[row, : lengths[row]] = torch.from_numpy(window.input_ids)
        types[row, : lengths[row]] = torch.from_numpy(window.token_type_ids)
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = types.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        output = model(**inputs)
    padding = ~mask.to(device)
    return (
        output.start_logits.float().masked_fill(padding, -torch.inf),
        output.end_logits.float().masked_fill(padding, -torch.inf),
    )


def _loss(model: Any, batch: Sequence[_Example], device: torch.device) -> torch.Tensor:
    starts, ends = _logits(model, [example.window for example in batch], device)
    gold_starts = torch.tensor([example.start for example in batch], device=device)
    gold_ends = torch.tensor([example.end for example in batch], device=device)
    return (
        functional.cross_entropy(starts, gold_starts) + functional.cross_entropy(ends, gold_ends)
    ) / 2


def _parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and layer norms are not decayed (Devlin et al. 2019)."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def plain_tokenizer(base: Path) -> Any:
    """The tokenizer of the model in the folder; it neither truncates nor pads."""
    return _tokenizer(base).backend_tokenizer


def _tokenizer(base: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _base_model(base: Path, dropout: float) -> tuple[Any, Any]:
    """The model, with a fresh head where it has none, and its tokenizer, which cuts nothing."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = _tokenizer(base)
    config = AutoConfig.from_pretrained(base)
    rates = dict.fromkeys(_HIDDEN_DROPOUTS, dropout) | dict.fromkeys(_ATTENTION_DROPOUTS, 0.0)
    for name, rate in rates.items():
        if hasattr(config, name):
            setattr(config, name, rate)
    model = AutoModelForQuestionAnswering.from_pretrained(base, config=config, dtype=torch.float32)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer

"""Fine-tune an extractive reader on gold questions, and on what other readers think of them.

Any Hugging Face encoder can be the base. The reader learns where an answer
starts and ends, and to point at its first token where a window holds none. Its
teachers, where it has any, tell it more than the gold spans do: how good every other
span would be (Hinton et al. 2015).
"""

import ctypes
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoTokenizer
from transformers.utils import logging

from corpus.errors import InputError, ModelError
from embeddings.encoder import Encoder
from embeddings.precision import has_bfloat16
from qa.answers import exact_match, f1
from qa.gold import Article, Question, read_squad
from qa.lessons import Example, Found, Recipe, TrainingSet, epoch_batches, search_negatives
from qa.spans import Window, best_spans, windows

__all__ = ["plain_tokenizer", "train_reader"]

_CHECKPOINT = "checkpoint.pt"
_NEGATIVES = "negatives.json"
_REPORT_STEPS = 50
_HIDDEN_DROPOUTS = (
    "hidden_dropout_prob",  # BERT and most others
    "dropout",  # DistilBERT
    "embedding_dropout", "mlp_dropout",  # ModernBERT
)  # fmt: skip
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")
"""What the architectures call them."""
_PADDING = -1e9
"""The logit of a padded position: no chance at all, but finite, so that 0 times it is 0."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _NEVER = -1, -4, -1
"""As glibc's malloc.h and mallopt(3) have them."""


def train_reader(
    train: Sequence[TrainingSet],
    validation: Path,
    base: Path,
    out: Path,
    recipe: Recipe,
    *,
    report: Callable[[str], None],
    teachers: Sequence[Path] = (),
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
        teachers: folders of readers with the base's vocabulary, whose mean it follows as far as
            the recipe says.
        encoder: what searches for wrong paragraphs; not needed where the recipe wants none.
        checkpoint_seconds: how often, in seconds, the state is saved.

    Returns:
        The last epoch's figures on `validation`, in percent: `em` and `f1` on
        the answerable questions.

    Raises:
        InputError: a file cannot be read, or the checkpoint in `out` is another run's.
        ModelError: there is no model in `base`, or a teacher has another vocabulary.
    """
    if not (base / "config.json").is_file():
        raise ModelError(f"{base} has no config.json; expected a model folder to start from")
    torch.manual_seed(recipe.seed)
    model, tokenizer = _base_model(base, recipe.dropout)
    backend = tokenizer.backend_tokenizer
    taught_by = [_teacher(folder, tokenizer) for folder in teachers]
    sets = [(entry, read_squad(entry.path)) for entry in train]
    held_out = read_squad(validation)

    names = [(entry.path.name, entry.share) for entry in train]
    folders = [
        path for folder in (base, *teachers) for path in sorted(folder.glob("*.safetensors"))
    ]
    inputs = [base / "config.json", *folders, *(entry.path for entry in train)]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs]
    identity = json.dumps([asdict(recipe), names, digests], sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    found: Found = {}
    if recipe.searched and encoder:
        found = search_negatives(sets, encoder, out / _NEGATIVES, identity, report)
    batches = epoch_batches(sets, backend, recipe, 0, found)
    _keep_freed_memory()
    total = round(recipe.epochs * len(batches))
    run = _Run(model, taught_by, recipe, total, out / _CHECKPOINT, identity)
    first_epoch, done = run.resume()
    if (first_epoch, done) != (0, 0):
        report(f"resumed at epoch {first_epoch + 1}, step {done}")

    figures: dict[str, float] = {}
    for epoch in range(first_epoch, math.ceil(recipe.epochs)):
        if epoch > 0:
            batches = epoch_batches(sets, backend, recipe, epoch, found)
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
        teachers: Sequence[Any],
        recipe: Recipe,
        total_steps: int,
        checkpoint: Path,
        identity: str,
    ) -> None:
        self.checkpoint = checkpoint
        self._identity = identity
        self._model = model
        self._teachers = teachers
        self._recipe = recipe
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
        batches: Sequence[Sequence[Example]],
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

    def _step(self, batch: Sequence[Example]) -> float:
        loss = _loss(self._model, self._teachers, batch, self._recipe, self._device)
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


def _logits(
    model: Any, batch: Sequence[Window], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and end logits, float32, shape (batch, longest); `_PADDING` where nothing stands."""
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
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16()):
        output = model(**inputs)
    padding = ~mask.to(device)
    return (
        output.start_logits.float().masked_fill(padding, _PADDING),
        output.end_logits.float().masked_fill(padding, _PADDING),
    )


def _loss(
    model: Any,
    teachers: Sequence[Any],
    batch: Sequence[Example],
    recipe: Recipe,
    device: torch.device,
) -> torch.Tensor:
    """How far the logits are from the gold positions, and from what the teachers think of all."""
    windows_ = [example.window for example in batch]
    ends_of = _logits(model, windows_, device)
    golds = (
        torch.tensor([example.start for example in batch], device=device),
        torch.tensor([example.end for example in batch], device=device),
    )
    pairs = zip(ends_of, golds, strict=True)
    losses = [functional.cross_entropy(logits, gold, reduction="none") for logits, gold in pairs]
    loss = torch.stack(losses).mean(0)
    if not teachers:
        return loss.mean()
    heat = recipe.temperature
    with torch.inference_mode():
        told = [_logits(teacher, windows_, device) for teacher in teachers]
    followed = [
        functional.cross_entropy(
            logits / heat,
            torch.stack([(t / heat).softmax(-1) for t in thought]).mean(0).clone(),
            reduction="none",
        )
        for logits, thought in zip(ends_of, zip(*told, strict=True), strict=True)
    ]
    # Gradients of softened logits are smaller by the square of the temperature.
    taught = recipe.taught * torch.tensor([float(e.taught) for e in batch], device=device)
    return ((1 - taught) * loss + taught * heat**2 * torch.stack(followed).mean(0)).mean()


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
    # On a CPU the gradient of torch's fused attention takes half of all the time: 4,500 tokens a
    # second with it, 7,000 without (32 windows of 176 tokens, two cores with AMX).
    attention = None if torch.cuda.is_available() else "eager"
    return _loaded(base, config=config, attn_implementation=attention), tokenizer


def _teacher(folder: Path, tokenizer: Any) -> Any:
    """The reader in the folder, which only tells what it thinks.

    Raises:
        ModelError: there is none, or its tokens are not those of the tokenizer.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"--teacher {folder}: no model lies there; expected a reader's folder")
    if _tokenizer(folder).get_vocab() != tokenizer.get_vocab():
        raise ModelError(
            f"--teacher {folder}: its tokens are not those of the base; expected a reader with the"
            " same vocabulary"
        )
    return _loaded(folder).eval()


def _loaded(folder: Path, **options: Any) -> Any:
    model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32, **options)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed, since every step needs the same blocks again.

    It gives large ones back to the system, which clears them before it lends them once more: 5,100
    tokens a second so, 7,000 with all kept.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)

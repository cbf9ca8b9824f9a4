"""Fine-tune an encoder on questions and the passages that answer them.

sentence-transformers trains; what is ours is the company that a passage keeps:
a batch is made of groups of passages that the base encoder takes for alike, so
that each question meets the passages that a search would confuse with its own
(topic-aware sampling, Hofstätter et al. 2021), at the price of no text more.
"""

import hashlib
import json
import random
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.utils.data import BatchSampler
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from corpus.errors import InputError, ModelError
from embeddings.encoder import Prompts, Vectors
from embeddings.precision import has_bfloat16

__all__ = ["EncoderRecipe", "Pair", "neighbours", "recall", "train_encoder"]

_CHECKPOINTS = "checkpoints"
_RUN = "run.json"
_NEIGHBOURS = 48
"""Among so many of the nearest passages the company of one is looked for."""
_SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)
"""How much of the trained weights the kept ones may have; the base's are the rest."""
_BLOCK = 1024
"""So many vectors are compared with all at once."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, a passage that answers it, and what the answers are."""

    question: str
    passage: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """Everything that decides a run besides its data; kept beside the weights."""

    epochs: float = 1.0
    learning_rate: float = 5e-5
    batch_size: int = 64
    group: int = 8
    """How many passages of a batch are alike; 1 leaves the batches to chance."""
    scale: float = 20.0
    """What cosines are multiplied by before the softmax."""
    warmup: float = 0.1
    weight_decay: float = 0.01
    seed: int = 13
    save_steps: int = 100
    """How often the state is saved."""


def train_encoder(
    pairs: Sequence[Pair],
    validation: Sequence[Sequence[Pair]],
    base: Path,
    out: Path,
    recipe: EncoderRecipe,
    *,
    report: Callable[[str], None],
) -> dict[str, float]:
    """Fine-tune the encoder in `base` and save it as float16 safetensors in `out`.

    What is saved is a mean of the trained and the base's weights, which keeps
    more of what the base knows of other text (Wortsman et al. 2022): of several
    shares the one with the best mean recall on the validation sets. A run that
    was killed goes on from its last checkpoint when it is started again with
    the same arguments.

    Args:
        pairs: what to learn from.
        validation: sets of pairs that were never trained on, of as many kinds of text as
            the encoder shall be good at.
        base: a folder that `SentenceTransformer` can load.
        out: where the model and `training.json` go.
        recipe: the settings of the run.
        report: receives one line of progress at a time.

    Returns:
        The share of the trained weights, and each validation set's recall at 1 and 5, in
        percent, of the base and of what was saved.

    Raises:
        InputError: there is nothing to learn from, or `out` holds another run's checkpoints.
        ModelError: there is no model in `base`.
    """
    if len(pairs) < 2 * recipe.group or not all(validation) or not validation:
        raise InputError(
            f"{len(pairs)} questions to train on and {[len(v) for v in validation]} to validate"
            f" with; expected at least {2 * recipe.group} and at least one in each set"
        )
    if not (base / "modules.json").is_file():
        raise ModelError(f"{base} has no modules.json; expected a sentence-transformers model")
    torch.manual_seed(recipe.seed)
    model = SentenceTransformer(
        str(base), local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    _without_dropout(model)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    figures = {f"base_{name}": value for name, value in _figures(model, validation).items()}
    report("base  " + _line(figures))

    out.mkdir(parents=True, exist_ok=True)
    _same_run(out, base, pairs, recipe)
    _fit(model, pairs, out, recipe, report)

    trained = {name: value.clone() for name, value in model.state_dict().items()}

    def measured(share: float) -> dict[str, float]:
        model.load_state_dict(_mean(start, trained, share))
        found = {"share": share, **_figures(model, validation)}
        report(_line(found))
        return found

    best = max(map(measured, _SHARES), key=_mean_recall)
    model.load_state_dict(_mean(start, trained, best["share"]))
    model.half().save(str(out), create_model_card=False)
    _load_as_float32(out / "config.json")
    record = {"recipe": asdict(recipe), "pairs": len(pairs), "validation": {**figures, **best}}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
    (out / _RUN).unlink()
    return {**figures, **best}


def neighbours(vectors: Vectors, k: int) -> NDArray[np.int64]:
    """For each unit vector the rows of the `k` nearest others, nearest first, shape (n, k)."""
    k = min(k, len(vectors) - 1)
    found = np.empty((len(vectors), k), dtype=np.int64)
    for low in range(0, len(vectors), _BLOCK):
        scores = vectors[low : low + _BLOCK] @ vectors.T
        rows = np.arange(len(scores))
        scores[rows, low + rows] = -np.inf
        nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, nearest, axis=1), axis=1, kind="stable")
        found[low : low + _BLOCK] = np.take_along_axis(nearest, order, axis=1)
    return found


def recall(questions: Vectors, passages: Vectors, right: Sequence[int], k: int) -> float:
    """How many of the questions, in percent, have their passage among the `k` nearest.

    Args:
        questions: unit vectors, shape (n, dim).
        passages: unit vectors, shape (m, dim).
        right: the row of each question's passage.
        k: how many are looked at; of equally near ones the first rows come first.
    """
    hits = 0
    for low in range(0, len(questions), _BLOCK):
        scores = questions[low : low + _BLOCK] @ passages.T
        rows = np.asarray(right[low : low + _BLOCK])
        own = scores[np.arange(len(rows)), rows][:, None]
        before = (scores > own) | ((scores == own) & (np.arange(len(passages)) < rows[:, None]))
        hits += int((before.sum(axis=1) < k).sum())
    return 100 * hits / max(1, len(questions))


class _Batches(BatchSampler):
    """The batches of one pass: groups of alike passages, no passage twice in a batch."""

    def __init__(
        self, pairs: Sequence[Pair], alike: Sequence[Sequence[int]], recipe: EncoderRecipe
    ) -> None:
        self._pairs, self._alike, self._recipe = pairs, alike, recipe
        self._epoch = 0
        self._length = sum(1 for _ in self)

    def set_epoch(self, epoch: int) -> None:
        """Make other batches in another pass."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self._recipe.seed}/{self._epoch}")
        waiting = deque(self._in_groups(rng))
        batches: list[list[int]] = []
        while waiting:
            batch: list[int] = []
            passages: set[str] = set()
            for _ in range(len(waiting)):
                number = waiting.popleft()
                if self._pairs[number].passage in passages:
                    waiting.append(number)
                    continue
                batch.append(number)
                passages.add(self._pairs[number].passage)
                if len(batch) == self._recipe.batch_size:
                    break
            # Of a small rest nothing is learnt: there is nothing to tell apart.
            if 2 * len(batch) < self._recipe.batch_size and batches:
                break
            batches.append(batch)
        yield from batches

    def _in_groups(self, rng: random.Random) -> Iterator[int]:
        """All pairs, a first one at random followed by some that are alike."""
        numbers = list(range(len(self._pairs)))
        rng.shuffle(numbers)
        used: set[int] = set()
        for number in numbers:
            if number in used:
                continue
            group = [number]
            for other in self._alike[number]:
                if len(group) == self._recipe.group:
                    break
                if other not in used and not any(self._confused(other, m) for m in group):
                    group.append(other)
            used.update(group)
            yield from group

    def _confused(self, a: int, b: int) -> bool:
        """Whether one's passage may answer the other's question too."""
        one, other = self._pairs[a], self._pairs[b]
        return _answers(one.passage, other) or _answers(other.passage, one)


def _answers(passage: str, pair: Pair) -> bool:
    text = " ".join(re.findall(r"\w+", passage.casefold()))
    answers = (" ".join(re.findall(r"\w+", answer.casefold())) for answer in pair.answers)
    return any(f" {answer} " in f" {text} " for answer in answers)


def _alike(pairs: Sequence[Pair], model: SentenceTransformer, group: int) -> list[list[int]]:
    """For each pair the pairs with the nearest passages, one for each passage."""
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    if group == 1 or len(passages) < 2:
        return [[] for _ in pairs]
    asked: dict[str, list[int]] = {passage: [] for passage in passages}
    for number, pair in enumerate(pairs):
        asked[pair.passage].append(number)
    vectors = _encode(model, passages, Prompts.of(model.prompts).passage)
    near = neighbours(vectors, _NEIGHBOURS)
    rows = {passage: row for row, passage in enumerate(passages)}
    return [
        [
            # Another question of each neighbour for another question of this one.
            asked[passages[other]][number % len(asked[passages[other]])]
            for other in near[rows[pair.passage]]
        ]
        for number, pair in enumerate(pairs)
    ]


def _fit(
    model: SentenceTransformer,
    pairs: Sequence[Pair],
    out: Path,
    recipe: EncoderRecipe,
    report: Callable[[str], None],
) -> None:
    batches = _Batches(pairs, _alike(pairs, model, recipe.group), recipe)
    data = Dataset.from_dict(
        {"question": [p.question for p in pairs], "passage": [p.passage for p in pairs]}
    )
    steps = max(1, round(recipe.epochs * len(batches)))
    on_gpu = torch.cuda.is_available()
    prompts = Prompts.of(model.prompts)
    by_column = {"question": prompts.query, "passage": prompts.passage}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out / _CHECKPOINTS),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=round(recipe.warmup * steps),
        weight_decay=recipe.weight_decay,
        prompts={column: prompt for column, prompt in by_column.items() if prompt} or None,
        bf16=has_bfloat16(),
        use_cpu=not on_gpu,
        seed=recipe.seed,
        save_strategy="steps",
        save_steps=recipe.save_steps,
        save_total_limit=1,
        logging_steps=max(1, recipe.save_steps // 5),
        report_to="none",
        disable_tqdm=True,
    )
    trainer = _Trainer(
        batches,
        model=model,
        args=arguments,
        train_dataset=data,
        loss=MultipleNegativesRankingLoss(model, scale=recipe.scale),
        callbacks=[_Progress(report)],
    )
    trainer.remove_callback(PrinterCallback)  # It prints to stdout, which is the result's alone.
    last = _last_whole(out / _CHECKPOINTS)
    if last:
        report(f"resumed at step {Path(last).name.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=last)


def _last_whole(checkpoints: Path) -> str | None:
    """The last checkpoint that was saved to its end; others, which no run can go on from, go."""
    for checkpoint in checkpoints.glob("checkpoint-*"):
        try:
            # transformers writes it last.
            json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer, with our batches."""

    def __init__(self, batches: _Batches, **arguments: Any) -> None:
        self._batches = batches
        super().__init__(**arguments)

    def get_batch_sampler(self, *_: Any, **__: Any) -> _Batches:
        """Ours, whatever the arguments say."""
        return self._batches


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Passes on what the trainer says of its progress."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """One line for each logged loss."""
        if logs and "loss" in logs:
            self._report(f"step {state.global_step}/{state.max_steps}  loss {logs['loss']}")


def _load_as_float32(config: Path) -> None:
    """Say that the weights, kept in float16, are loaded as float32, which CPUs add up faster."""
    told = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**told, "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


def _same_run(out: Path, base: Path, pairs: Sequence[Pair], recipe: EncoderRecipe) -> None:
    """Refuse to go on with another run's checkpoints."""
    digest = hashlib.sha256(json.dumps([asdict(pair) for pair in pairs]).encode())
    for path in sorted(base.glob("*.safetensors")):
        digest.update(path.read_bytes())
    identity = json.dumps({"recipe": asdict(recipe), "data": digest.hexdigest()})
    file = out / _RUN
    if file.exists() and file.read_text(encoding="utf-8") != identity:
        raise InputError(
            f"{out / _CHECKPOINTS} belongs to another run; delete {out} to start afresh"
        )
    file.write_text(identity, encoding="utf-8")


def _without_dropout(model: SentenceTransformer) -> None:
    """On a CPU random masks cost more than the attention that they mask."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_probs_dropout_prob", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    model[0].auto_model.config.attention_probs_dropout_prob = 0.0


def _encode(model: SentenceTransformer, texts: Sequence[str], prompt: str) -> Vectors:
    vectors: Vectors = model.encode(
        list(texts),
        prompt=prompt,
        normalize_embeddings=True,
        show_progress_bar=False,
        batch_size=32,
    )
    return vectors.astype(np.float32)


def _figures(model: SentenceTransformer, sets: Sequence[Sequence[Pair]]) -> dict[str, float]:
    figures = {}
    prompts = Prompts.of(model.prompts)
    model.eval()
    for number, pairs in enumerate(sets, 1):
        passages = list(dict.fromkeys(pair.passage for pair in pairs))
        rows = {passage: row for row, passage in enumerate(passages)}
        questions = _encode(model, [pair.question for pair in pairs], prompts.query)
        vectors = _encode(model, passages, prompts.passage)
        for k in (1, 5):
            right = [rows[pair.passage] for pair in pairs]
            figures[f"recall{number}@{k}"] = recall(questions, vectors, right, k)
    return figures


def _mean_recall(figures: dict[str, float]) -> float:
    return float(np.mean([value for name, value in figures.items() if name != "share"]))


def _mean(
    start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    return {
        name: torch.lerp(value, end[name], share) if value.is_floating_point() else value
        for name, value in start.items()
    }


def _line(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.1f}" for name, value in figures.items())

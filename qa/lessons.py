"""What a reader is taught: windows of passages, each with the positions that it must point at.

An epoch's examples follow from the recipe's seed and the epoch's number alone,
which is also what makes a killed run resumable.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from corpus.errors import InputError
from embeddings.encoder import Encoder
from embeddings.mining import mine
from qa.altered import altered
from qa.answers import normalise, without
from qa.gold import Article, Paragraph, Question
from qa.settings import DENSE_WEIGHT
from qa.spans import Window, windows

__all__ = ["Example", "Found", "Recipe", "TrainingSet", "epoch_batches", "search_negatives"]

_LOOK_ALIKES = 12

Found: TypeAlias = dict[tuple[str, str], list[str]]
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
    altered: float = 0.0
    """Share of the questions also shown changed, so that their paragraph answers them no longer."""
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
    taught: float = 0.5
    """Where there are teachers, the share of the loss that follows them and not the gold spans."""
    temperature: float = 2.0
    """Of what teachers think: above 1, the lesser candidates count for more."""
    seed: int = 13


@dataclass(frozen=True, slots=True)
class Example:
    """A window with the positions it must point at, (0, 0) for "no answer here"."""

    window: Window
    start: int
    end: int
    taught: bool = True
    """Whether teachers are asked: of altered questions they know no better."""


def epoch_batches(
    sets: Sequence[tuple[TrainingSet, Sequence[Article]]],
    tokenizer: Any,
    recipe: Recipe,
    epoch: int,
    found: Found | None = None,
) -> list[list[Example]]:
    """The batches of one epoch: similar lengths together, in random order."""
    rng = random.Random(f"{recipe.seed}/{epoch}")
    examples: list[Example] = []
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
            if recipe.altered and question.spans and rng.random() < recipe.altered:
                others = _others(paragraph, article, articles, rng)
                changed = _altered(question, paragraph, others, rng)
                if changed is not None:
                    own = _examples(tokenizer, changed, paragraph.text, recipe, rng)
                    examples.extend(replace(example, taught=False) for example in own)

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


def search_negatives(
    sets: Sequence[tuple[TrainingSet, Sequence[Article]]],
    encoder: Encoder,
    file: Path,
    identity: str,
    report: Callable[[str], None],
) -> Found:
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
    pool = article.paragraphs if len(article.paragraphs) > 1 else ()
    drawn = _drawn(pool, articles, 8, rng)
    words = set(normalise(question.text).split())
    best: tuple[int, str] | None = None
    for text in without((paragraph.text for paragraph in drawn), question.golds):
        shared = len(words.intersection(normalise(text).split()))
        if best is None or shared > best[0]:
            best = (shared, text)
    return best[1] if best else None


def _others(
    paragraph: Paragraph, article: Article, articles: Sequence[Article], rng: random.Random
) -> list[Paragraph]:
    """A few other paragraphs, of the same article where it has any."""
    pool = [other for other in article.paragraphs if other is not paragraph]
    return _drawn(pool, articles, 4, rng)


def _drawn(
    pool: Sequence[Paragraph], articles: Sequence[Article], n: int, rng: random.Random
) -> list[Paragraph]:
    """Up to `n` paragraphs of the pool at random; of all articles where it is empty."""
    if pool:
        return rng.sample(pool, min(n, len(pool)))
    return [rng.choice(rng.choice(articles).paragraphs) for _ in range(n)]


def _altered(
    question: Question, paragraph: Paragraph, others: Sequence[Paragraph], rng: random.Random
) -> Question | None:
    """The question so changed that its paragraph answers it no longer, by what the others say."""
    alike = [text for other in others for text in (other.text, *(q.text for q in other.questions))]
    answers = [(span.start, span.end) for span in question.spans]
    changed = altered(question.text, paragraph.text, answers, alike, rng)
    return None if changed is None else replace(question, text=changed, spans=())


def _examples(
    tokenizer: Any, question: Question, passage: str, recipe: Recipe, rng: random.Random
) -> Iterator[Example]:
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
        yield Example(window, start, end)

"""How fast Citespan is, beside what it stands on and, where they are given, its peers.

Whatever is compared is measured in turn, in one run. Absolute times depend on the machine; what is
compared between runs is the ratio to a yardstick that was measured with them.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus.cores import cores
from corpus.split import split
from corpus.store import Snapshot
from embeddings.encoder import Encoder, OnnxEncoder
from embeddings.exports import export, user_cache
from embeddings.runtime import ExportedModel, TokenSequence
from embeddings.vectors import STORED, Floats
from eval.child import in_child, timed_child
from eval.large import add_made
from eval.made import MadeText, MadeVectors
from eval.peers import Installed, Service
from eval.timing import Timing, interleaved, printed_after, timed
from qa.answers import f1
from qa.gold import GoldRow
from qa.indexing import SAMPLE, index_files
from qa.settings import default_recipe, model_pair
from qa.spans import windows

__all__ = ["Measure", "Plan", "Workshop", "cold", "embedding", "indexing", "large", "warm"]

OURS = "Citespan"
_COMMAND = Path(sys.executable).with_name("citespan")
_QUESTION = "How many defectors went public?"
_LIBRARIES = "import numpy, onnxruntime, faiss, tantivy, tokenizers, typer; print()"
_IMPORTS = partial(printed_after, [sys.executable, "-c", _LIBRARIES])
"""The yardstick of every cold start: the libraries that it needs."""
_PIECE_TOKENS = 48
"""Real vectors are those of the sample's pieces of so many tokens: some five hundred."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 11
    """How often what is measured as a whole is repeated."""
    questions: int = 330
    passages: int = 10_000
    """How many passages a warm index holds."""
    embedded: int = 149
    indexed: int = 4_000
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    read: int = 10


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure, with its target and what it is compared with."""

    name: str
    what: str
    unit: str
    value: float
    target: float | None = None
    higher: bool = False
    """Whether more is better."""
    times: str = ""
    """What is asked beside peers, in words."""
    ratios: Mapping[str, float] = field(default_factory=dict)
    """How many times as fast as each yardstick and peer; above 1 where it is faster."""
    peers: Mapping[str, float] = field(default_factory=dict)
    """The same figure of each peer."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.higher else self.value <= self.target


class Workshop:
    """What several measures need: models, the sample's index and texts, made data."""

    def __init__(
        self, folder: Path, gold: Sequence[GoldRow], progress: Callable[[str], None]
    ) -> None:
        """Work in the folder, which is empty.

        Args:
            folder: for indexes and the like.
            gold: questions on the sample documents.
            progress: receives a line now and then.
        """
        self.folder = folder
        self.gold = gold
        self.progress = progress
        pair = model_pair("bundled")
        self.encoder_model = export(pair.encoder, "encoder")
        self.reader_model = export(pair.reader, "reader")
        self.encoder: Encoder = OnnxEncoder(self.encoder_model)
        self.recipe = default_recipe("bundled", self.encoder.identity, self.reader_model.identity)
        self.sample = folder / "sample"
        index_files(self.sample, [SAMPLE])
        with Snapshot.open(self.sample) as snapshot:
            ids = [summary.id for summary in snapshot.summaries()]
            self.texts = [snapshot.document(id_).text for id_ in ids]
            self.passages = [p.text for p in snapshot.passages(snapshot.passage_ids(ids))]
        self.made = MadeText(self.texts)
        self.questions = [row.question for row in gold]

    def real_vectors(self) -> Floats:
        """The vectors of pieces of the sample's texts, shape (some hundreds, dim)."""
        pieces = [
            text[start:end]
            for text in self.texts
            for start, end in split(
                text, self.encoder.tokenizer, max_tokens=_PIECE_TOKENS, overlap_tokens=0
            )
        ]
        return self.encoder.encode_passages(list(dict.fromkeys(pieces)))

    def filled(self, passages: int) -> Path:
        """An index of so many passages: the sample's, and made ones with their real vectors."""
        folder = self.folder / f"filled-{passages}"
        if not folder.exists():
            index_files(folder, [SAMPLE])
            more = passages - len(self.passages)
            self.progress(f"embedding {more:,} made passages")
            add_made(folder, self.made.passages(more), [self.made_vectors(more)], self.recipe)
        return folder

    def made_vectors(self, n: int) -> Floats:
        """The vectors of the first `n` made passages; kept, since they take minutes."""
        kept = user_cache() / "bench" / f"made-{self.encoder.identity.sha256[:12]}-{n}.npy"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, self.encoder.encode_passages(list(self.made.passages(n))).astype(STORED))
        vectors: Floats = np.load(kept).astype(np.float32)
        return vectors


def cold(workshop: Workshop, peers: Sequence[Installed], plan: Plan) -> Measure:
    """A question from a cold start: from the process's start to the printed answer."""
    ask: list[str | Path] = [_COMMAND, "ask", _QUESTION, "--index", workshop.sample]
    calls: dict[str, Callable[[], float]] = {
        OURS: partial(printed_after, ask),
        "imports": _IMPORTS,
    }
    for peer in peers:
        folder = workshop.folder / f"cold-{Path(peer.peer.script).stem}"
        workshop.progress(f"indexing the sample with {peer.peer.name}")
        peer.index(folder, [{"id": n, "text": t} for n, t in enumerate(workshop.passages)])
        calls[peer.peer.name] = partial(peer.asked_cold, folder, _QUESTION)
    workshop.progress("asking from a cold start")
    timings = interleaved(calls, plan.rounds)
    ours = timings[OURS].p50
    return Measure(
        name="cold ask",
        what="a cold `ask`: process start to printed answer, sample indexed",
        unit="s",
        value=ours,
        target=0.5,
        times="≥ 10 × each",
        ratios={name: timing.p50 / ours for name, timing in timings.items() if name != OURS},
        peers={peer.peer.name: timings[peer.peer.name].p50 for peer in peers},
        details={name: timing.summary() for name, timing in timings.items()},
    )


def warm(workshop: Workshop, peers: Sequence[Installed], plan: Plan) -> Measure:
    """Questions to open indexes of the same passages, in turn, one at a time; with their F1."""
    folder = workshop.filled(plan.passages)
    more = plan.passages - len(workshop.passages)
    answerable = [row for row in workshop.gold if row.answers]
    asked = (answerable + [row for row in workshop.gold if not row.answers])[: plan.questions]
    with ExitStack() as stack:
        command: list[str | Path] = [_COMMAND, "ask", "-", "--index", folder]
        services = {OURS: stack.enter_context(Service(command, None))}
        for peer in peers:
            workshop.progress(f"indexing {plan.passages:,} passages with {peer.peer.name}")
            theirs = workshop.folder / f"warm-{Path(peer.peer.script).stem}"
            peer.index(theirs, _peer_passages(workshop, more))
            service = Service(peer.command("serve", theirs), peer.environment)
            services[peer.peer.name] = stack.enter_context(service)
            service.hear()
        taken: dict[str, list[float]] = {name: [] for name in services}
        scores: dict[str, list[float]] = {name: [] for name in services}
        names = list(services)
        for number, row in enumerate([*asked[:3], *asked]):
            if number % 20 == 0:
                workshop.progress(f"asked {number} of {len(asked)} questions")
            at = number % len(names)
            for name in names[at:] + names[:at]:
                ours = name == OURS
                line = row.question if ours else json.dumps({"ask": row.question})
                started = time.perf_counter()
                said = services[name].say(line)
                seconds = time.perf_counter() - started
                if number < 3:
                    continue  # The first ones warm up.
                taken[name].append(seconds)
                if row.answers:
                    answer = said["answers"][0]["text"] if ours else said["answer"]
                    scores[name].append(f1(answer, row.answers))
    timings = {name: Timing(tuple(seconds)) for name, seconds in taken.items()}
    workshop.progress("reading with ONNX Runtime alone")
    alone = _reading_alone(workshop, folder, asked[: max(10, plan.questions // 6)], plan.read)
    value = timings[OURS].p50
    others = {name: timing for name, timing in timings.items() if name != OURS}
    return Measure(
        name="warm ask",
        what=f"a warm question, {plan.passages:,} passages, {plan.read} read (p50)",
        unit="s",
        value=value,
        target=0.05,
        times="≥ 7 × Haystack",
        ratios={"ONNX Runtime alone": alone / value}
        | {name: timing.p50 / value for name, timing in others.items()},
        peers={name: timing.p50 for name, timing in others.items()},
        details={name: timing.summary() for name, timing in timings.items()}
        | {"f1": {name: 100 * float(np.mean(of)) for name, of in scores.items() if of}},
    )


def _peer_passages(workshop: Workshop, more: int) -> Iterator[dict[str, Any]]:
    """The same passages for a peer: it embeds the real ones itself, made ones come embedded."""
    for number, text in enumerate(workshop.passages):
        yield {"id": number, "text": text}
    made = zip(workshop.made.passages(more), workshop.made_vectors(more), strict=True)
    for number, (text, vector) in enumerate(made, len(workshop.passages)):
        yield {"id": number, "text": text, "vector": vector.tolist()}


def _reading_alone(workshop: Workshop, folder: Path, asked: Sequence[GoldRow], read: int) -> float:
    """How long ONNX Runtime takes for one question's passages; the median."""
    from qa.pipeline import Pipeline

    session = _plain_session(workshop.reader_model)
    taken = []
    with Pipeline.open(folder) as pipeline:
        for row in asked:
            inputs = [
                TokenSequence(window.input_ids, window.token_type_ids)
                for hit in pipeline.search(row.question, read)
                for window in windows(
                    workshop.reader_model.tokenizer,
                    row.question,
                    hit.passage.text,
                    max_tokens=384,
                    stride=128,
                )
            ]
            taken.append(timed(partial(_run_alone, session, inputs)))
    return Timing(tuple(taken)).p50


def embedding(workshop: Workshop, peers: Sequence[Installed], plan: Plan) -> Measure:
    """Passages embedded in a second, beside ONNX Runtime alone and what peers do."""
    texts = workshop.passages[: plan.embedded]
    tokenizer = workshop.encoder.tokenizer
    inputs = []
    for text in texts:
        encoding = tokenizer.encode(text)
        ids = np.asarray(encoding.ids, dtype=np.int64)
        inputs.append(TokenSequence(ids, np.asarray(encoding.type_ids, dtype=np.int64)))
    session = _plain_session(workshop.encoder_model)
    single = _plain_session(workshop.encoder_model, threads=1)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(cores()))
        works: dict[str, Callable[[], object]] = {
            OURS: lambda: workshop.encoder.encode_passages(texts),
            "one session of all threads": lambda: _run_alone(session, inputs),
            "one thread for each core": lambda: list(
                pool.map(lambda one: _run_alone(single, [one]), inputs)
            ),
        }
        line = json.dumps({"embed": texts})
        for peer in peers:
            # Any index will do to open it.
            opened = workshop.folder / f"embed-{Path(peer.peer.script).stem}"
            peer.index(opened, [{"id": n, "text": t} for n, t in enumerate(texts[:20])])
            service = Service(peer.command("serve", opened), peer.environment)
            stack.enter_context(service).hear()
            works[peer.peer.name] = partial(service.say, line)
        workshop.progress("embedding")
        calls = {name: partial(timed, work) for name, work in works.items()}
        timings = interleaved(calls, max(3, plan.rounds // 2))
    rates = {name: len(texts) / timing.p50 for name, timing in timings.items()}
    alone = max(rates["one session of all threads"], rates["one thread for each core"])
    ours = rates[OURS]
    by_peer = {peer.peer.name: rates[peer.peer.name] for peer in peers}
    return Measure(
        name="embedding",
        what="embedding, passages a second",
        unit="/s",
        value=ours,
        target=0.8 * alone,
        higher=True,
        times="≥ 2.5 × sentence-transformers",
        ratios={"ONNX Runtime alone": ours / alone}
        | {name: ours / rate for name, rate in by_peer.items()},
        peers=by_peer,
        details={name: timing.summary() for name, timing in timings.items()},
    )


def _plain_session(model: ExportedModel, *, threads: int | None = None) -> Any:
    """A session as anybody would make one, of the same graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.graph, options, providers=["CPUExecutionProvider"])


def _run_alone(session: Any, inputs: Sequence[TokenSequence]) -> None:
    named = {node.name for node in session.get_inputs()}
    for one in inputs:
        feed = {"input_ids": one.input_ids[None, :], "token_type_ids": one.token_type_ids[None, :]}
        session.run(None, {name: value for name, value in feed.items() if name in named})


def indexing(workshop: Workshop, plan: Plan) -> Measure:
    """Passages read, split, stored and put into both indexes in a second, on one core."""
    documents = workshop.folder / "documents"
    documents.mkdir()
    passages = list(workshop.made.passages(plan.indexed))
    for low in range(0, len(passages), 20):
        text = "\n\n".join(passages[low : low + 20])
        (documents / f"{low:06}.txt").write_text(text, encoding="utf-8")
    workshop.progress("indexing without embedding, on one core")
    rates, yardsticks = [], []
    for number in range(max(1, plan.rounds // 4)):
        found = in_child("index", workshop.folder / f"indexed-{number}", documents)
        rates.append(found["passages"] / found["seconds"])
        yardsticks.append(found["seconds"] / found["yardstick"])
    return Measure(
        name="indexing",
        what="indexing but for embedding (parse, split, store, both indexes), one core",
        unit="/s",
        value=float(np.median(rates)),
        target=400.0,
        higher=True,
        ratios={"tokenising": 1.0 / float(np.median(yardsticks))},
        details={"passages": plan.indexed, "runs": rates},
    )


def large(workshop: Workshop, plan: Plan) -> Iterator[dict[str, Any]]:
    """Of each size what it takes to build such an index, to open it, and to search it."""
    real = workshop.folder / "real.npy"
    np.save(real, workshop.real_vectors())
    words, asked = workshop.folder / "texts.json", workshop.folder / "questions.json"
    words.write_text(json.dumps(workshop.texts), encoding="utf-8")
    asked.write_text(json.dumps(workshop.questions), encoding="utf-8")
    encoded = workshop.folder / "questions.npy"
    queries = workshop.encoder.encode_queries(workshop.questions)
    np.save(encoded, queries)
    vectors = MadeVectors(np.load(real))
    for n in plan.sizes:
        folder = workshop.folder / f"large-{n}"
        workshop.progress(f"building an index of {n:,} passages")
        built = in_child("build", folder, n, real, words)
        workshop.progress(f"searching {n:,} passages")
        found = in_child("search", folder, asked, encoded)
        firsts: list[dict[str, Any]] = []
        opening = interleaved(
            {
                "open": partial(_first_hit, folder, firsts),
                "imports": _IMPORTS,
            },
            max(3, plan.rounds // 2),
        )
        workshop.progress(f"searching {n:,} passages exactly")
        exact = vectors.nearest(queries, n, 10)
        shutil.rmtree(folder)
        timing = Timing(tuple(found["seconds"]))
        yield {
            "passages": n,
            "search": timing.summary(),
            "recall": _recall(found["dense"], exact),
            "yardstick": found["yardstick"],
            "open": opening["open"].summary(),
            "imports": opening["imports"].p50,
            "open_bytes": max(first["peak_bytes"] for first in firsts),
            "search_bytes": found["peak_bytes"],
            "build_seconds": built["store_seconds"] + built["index_seconds"],
            "store_seconds": built["store_seconds"],
            "build_bytes": built["peak_bytes"],
            "tuned_recall": built["recall"],
        }


def _first_hit(folder: Path, told: list[dict[str, Any]]) -> float:
    seconds, hit = timed_child("first", folder, _QUESTION)
    told.append(hit)
    return seconds


def _recall(found: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    """The share of the exact ones that were found; passage ids count from 1, vectors from 0."""
    hits = sum(
        len(set(ids) & {number + 1 for number in best})
        for ids, best in zip(found, exact, strict=True)
    )
    return hits / sum(map(len, exact))

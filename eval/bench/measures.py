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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus.cores import cores
from embeddings.runtime import ExportedModel, TokenSequence
from eval.bench.child import in_child, timed_child
from eval.bench.large import GAP, PASSAGES_A_DOCUMENT
from eval.bench.made import MadeVectors
from eval.bench.peers import Installed, Service
from eval.bench.timing import Timing, in_turn, interleaved, printed_after, timed
from eval.bench.workshop import Measure, Plan, Workshop
from qa.answers import f1
from qa.gold import GoldRow
from qa.pipeline import Pipeline
from qa.reader import MAX_TOKENS, STRIDE
from qa.spans import windows

__all__ = ["cold", "embedding", "indexing", "large", "warm"]

OURS = "Citespan"
_COMMAND = Path(sys.executable).with_name("citespan")
_QUESTION = "How many defectors went public?"
_LIBRARIES = "import numpy, onnxruntime, faiss, tantivy, tokenizers, typer; print()"
_IMPORTS = partial(printed_after, [sys.executable, "-c", _LIBRARIES])
"""The yardstick of every cold start: the libraries that it needs."""
_WARMING_UP = 3
"""So many questions are asked first, and do not count."""


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
        timings, scores = _asked_in_turn(services, asked, workshop.progress)
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


def _asked_in_turn(
    services: Mapping[str, Service],
    asked: Sequence[GoldRow],
    progress: Callable[[str], None],
) -> tuple[dict[str, Timing], dict[str, list[float]]]:
    """How long each service takes for each question, and the F1 of its best answers, in [0, 1]."""
    taken: dict[str, list[float]] = {name: [] for name in services}
    scores: dict[str, list[float]] = {name: [] for name in services}
    for number, row in enumerate([*asked[:_WARMING_UP], *asked]):
        if number % 20 == 0:
            progress(f"asked {number} of {len(asked)} questions")
        for name in in_turn(list(services), number):
            line = row.question if name == OURS else json.dumps({"ask": row.question})
            started = time.perf_counter()
            said = services[name].say(line)
            seconds = time.perf_counter() - started
            if number < len(asked[:_WARMING_UP]):
                continue
            taken[name].append(seconds)
            if row.answers:
                answer = said["answers"][0]["text"] if name == OURS else said["answer"]
                scores[name].append(f1(answer, row.answers))
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}, scores


def _peer_passages(workshop: Workshop, more: int) -> Iterator[dict[str, Any]]:
    """The same passages for a peer: it embeds the real ones itself, made ones come embedded."""
    for number, text in enumerate(workshop.passages):
        yield {"id": number, "text": text}
    made = zip(workshop.made.passages(more), workshop.made_vectors(more), strict=True)
    for number, (text, vector) in enumerate(made, len(workshop.passages)):
        yield {"id": number, "text": text, "vector": vector.tolist()}


def _reading_alone(workshop: Workshop, folder: Path, asked: Sequence[GoldRow], read: int) -> float:
    """How long ONNX Runtime takes for one question's passages; the median."""
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
                    max_tokens=MAX_TOKENS,
                    stride=STRIDE,
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
    for low in range(0, len(passages), PASSAGES_A_DOCUMENT):
        text = GAP.join(passages[low : low + PASSAGES_A_DOCUMENT])
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

"""What `citespan bench` does: every measure in turn, and one object of the whole."""

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from corpus.errors import InputError
from embeddings.exports import user_cache
from eval.bench import measures
from eval.bench.peers import PEERS, Installed, install
from eval.bench.timing import machine
from eval.bench.workshop import Measure, Plan, Workshop
from eval.evaluate import SAMPLE_GOLD
from qa.gold import read_rows

__all__ = ["MEASURES", "Bench", "bench", "plan"]

Bench: TypeAlias = dict[str, Any]
"""A whole run; see `bench`."""

_BESIDE_PEERS: dict[str, Callable[[Workshop, Sequence[Installed], Plan], Measure]] = {
    "cold": measures.cold,
    "warm": measures.warm,
    "embedding": measures.embedding,
}
MEASURES = (*_BESIDE_PEERS, "indexing", "large")
_QUICK = Plan(rounds=5, questions=60, indexed=2_000, sizes=(1_000, 10_000))
_LARGEST = 1_000_000
"""The size that the targets of large indexes are for."""


def plan(*, quick: bool = False, sizes: Sequence[int] = ()) -> Plan:
    """How much to measure: all, or what takes a few minutes; of large indexes these sizes."""
    chosen = _QUICK if quick else Plan()
    return replace(chosen, sizes=tuple(sorted(set(sizes)))) if sizes else chosen


def bench(
    plan: Plan,
    *,
    only: Collection[str] = (),
    with_peers: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Bench:
    """The speed of this machine's Citespan.

    `machine` says what it is; `measures` are objects of `name`, `what`, `unit`, `value`, `target`,
    `higher`, `met`, `ratios` (how many times as fast as each yardstick and peer), `peers` (their
    figures), `details`; `growth` has one object a size; `skipped` gives the reason for each
    peer that was left out, `peers` the versions of those that were not.

    Args:
        plan: how much is measured.
        only: names among `MEASURES`; empty means all.
        with_peers: beside the alternatives.
        progress: receives a line now and then.

    Raises:
        InputError: there is no such measure.
    """
    if unknown := sorted(set(only) - set(MEASURES)):
        raise InputError(f"--only {unknown[0]}: expected one of {', '.join(MEASURES)}")
    wanted = [name for name in MEASURES if name in only or not only]
    told = machine()
    skipped: dict[str, str] = {}
    peers: list[Installed] = []
    if with_peers and not _BESIDE_PEERS.keys().isdisjoint(wanted):
        peers = list(_working(plan, skipped, progress))
    # Not where temporary files go, which may be memory.
    place = user_cache() / "bench"
    place.mkdir(parents=True, exist_ok=True)
    growth: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=place) as folder:
        workshop = Workshop(Path(folder), read_rows(SAMPLE_GOLD), progress)
        measured: list[Measure] = []
        for name in wanted:
            if name in _BESIDE_PEERS:
                measured.append(_BESIDE_PEERS[name](workshop, peers, plan))
            elif name == "indexing":
                measured.append(measures.indexing(workshop, plan))
            else:
                growth = list(measures.large(workshop, plan))
                measured += _of_large(growth)
    return {
        "machine": told,
        "plan": asdict(plan) | {"sizes": list(plan.sizes)},
        "measures": [asdict(measure) | {"met": measure.met} for measure in measured],
        "growth": growth,
        "peers": {peer.peer.name: peer.versions for peer in peers},
        "skipped": skipped,
    }


def _working(
    plan: Plan, skipped: dict[str, str], progress: Callable[[str], None]
) -> Iterator[Installed]:
    """The peers that can be installed and answer a question; the others go to `skipped`."""
    for peer in PEERS:
        try:
            installed = install(peer, read=plan.read, progress=progress)
            with tempfile.TemporaryDirectory() as folder:
                progress(f"trying {peer.name}")
                index = Path(folder, "index")
                passages = [{"id": n, "text": f"The {n}th ship is red."} for n in range(plan.read)]
                installed.index(index, passages)
                installed.ask(index, "What is red?")
        except (RuntimeError, OSError) as error:
            skipped[peer.name] = str(error)
        else:
            yield installed


def _of_large(growth: Sequence[dict[str, Any]]) -> Iterator[Measure]:
    """The figures of the largest index, with how those of the others grow."""
    if not growth:
        return
    largest = growth[-1]
    n = largest["passages"]
    aimed = n == _LARGEST
    search = {
        f"numpy, {size['passages']:,} passages": size["yardstick"] / size["search"]["p50"]
        for size in growth
    }
    yield Measure(
        "search",
        f"hybrid search, {n:,} passages, query encoded, one at a time (p95)",
        "s",
        largest["search"]["p95"],
        0.015 if aimed else None,
        ratios=search,
    )
    yield Measure(
        "recall",
        f"its recall@10 against exact search, {n:,} passages",
        "",
        largest["recall"],
        0.99,
        higher=True,
    )
    yield Measure(
        "opening",
        f"opening {n:,} passages: a cold process to its first hit",
        "s",
        largest["open"]["p50"],
        1.5 if aimed else None,
        ratios={
            f"imports, {size['passages']:,} passages": size["imports"] / size["open"]["p50"]
            for size in growth
        },
    )
    yield Measure(
        "resident",
        f"resident memory with {n:,} passages open and searched",
        "GB",
        max(largest["open_bytes"], largest["search_bytes"]) / 1e9,
        1.2 if aimed else None,
    )
    yield Measure(
        "building",
        f"building {n:,} passages from ready vectors: seconds",
        "s",
        largest["build_seconds"],
        ratios={
            f"{large['passages']:,} beside {small['passages']:,} passages, each": (
                small["build_seconds"] / small["passages"]
            )
            / (large["build_seconds"] / large["passages"])
            for small, large in pairwise(growth)
        },
    )
    yield Measure(
        "building memory",
        f"building {n:,} passages: memory",
        "GB",
        largest["build_bytes"] / 1e9,
        3.0 if aimed else None,
    )

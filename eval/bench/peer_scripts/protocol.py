"""How the bench speaks with a system that it measures; each script here is one such system.

    python SCRIPT index FOLDER PASSAGES    make an index of JSON lines of {"id", "text", "vector"?}
    python SCRIPT ask FOLDER QUESTION      print the answer, from a cold start
    python SCRIPT serve FOLDER             a line of JSON in, one out: {"ask"} or {"embed"}

The models' folders and the number of passages to read come from the environment.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

ENCODER = os.environ["BENCH_ENCODER"]
READER = os.environ["BENCH_READER"]
READ = int(os.environ["BENCH_READ"])


class System(Protocol):
    """What is measured, with its index open."""

    def ask(self, question: str) -> str:
        """The best answer; empty where there is none."""
        ...

    def embed(self, texts: Sequence[str]) -> Any:
        """The vectors of the texts, encoded as passages."""
        ...


def main(
    index: Callable[[str, list[dict[str, Any]]], None], open_: Callable[[str], System]
) -> None:
    """Do what the command line says."""
    verb, folder = sys.argv[1:3]
    if verb == "index":
        with open(sys.argv[3], encoding="utf-8") as lines:
            index(folder, [json.loads(line) for line in lines])
        return
    system = open_(folder)
    if verb == "ask":
        print(system.ask(sys.argv[3]), flush=True)
        return
    # Libraries print; what we say goes where they cannot.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        if "ask" in wanted:
            said: dict[str, Any] = {"answer": system.ask(wanted["ask"])}
        else:
            said = {"embedded": len(system.embed(wanted["embed"]))}
        print(json.dumps(said), file=out, flush=True)

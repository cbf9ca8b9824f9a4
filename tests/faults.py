"""An indexer that can be killed at any of the things it does to the disk.

Run as a program, this reads one request a line from stdin and answers each with a
line of JSON. The work is done in a fork, which costs no imports; what it does is
seen by the interpreter's own profiler, at every call of a C function that
writes, flushes, names or removes something. At the n-th of these the fork is
killed with SIGKILL: at once, or a moment later from outside, and so also in the
middle of a commit or of a flush.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

EFFECTS = {
    "fsync", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "chmod", "truncate",
    "write", "sendfile", "execute", "executemany", "executescript", "add_document",
    "delete_documents_by_term", "commit", "wait_merging_threads", "write_index", "flock",
}  # fmt: skip
"""Names of the C functions, of whatever library, that count as events."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run: `update` with the documents, then `remove` of what is to be taken out."""

    index: str
    docs: str
    takes_out: Sequence[str] = ()
    die_at: int | None = None
    """The event at which to die; None for a run that comes to its end."""
    delay_seconds: float = 0.0
    """How long after that event."""
    file_bytes: int | None = None
    """No file may grow beyond (`RLIMIT_FSIZE`)."""
    user: int | None = None
    """Who does it; None for whoever runs this."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended."""

    signal: int
    """By which it was killed; 0 when it ended by itself."""
    error: str
    """With what it failed, by kind and message; empty when it did not."""
    events: Sequence[str]
    """What it did, by name; only of runs that came to their end."""


class Indexer:
    """The program below, kept running."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, job: Job) -> End:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return End(**json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def points(events: Sequence[str], n: int, seed: int) -> list[tuple[int, float]]:
    """At which events to die, and how long after them: `n` points.

    Every other one is of the next kind of event, so that rare kinds (a rename, a
    commit) have their share; the rest lie evenly over the run.
    """
    draw = random.Random(seed)
    kinds = sorted(set(events))
    chosen = []
    for number in range(n):
        if number % 2:
            kind = kinds[number // 2 % len(kinds)]
            at = draw.choice([i for i, event in enumerate(events) if event == kind])
        else:
            low, high = (len(events) * (number + step) // n for step in (0, 2))
            at = draw.randrange(low, max(low + 1, min(high, len(events))))
        chosen.append((at, draw.choice([0.0, draw.uniform(0.0, 0.003)])))
    return chosen


def toy_encoder() -> Any:
    """The tests' toy encoder with the bundled tokenizer."""
    from conftest import ToyEncoder
    from tokenizers import Tokenizer

    from qa.settings import model_pair

    folder = model_pair("bundled").encoder.folder
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return ToyEncoder(tokenizer)


class _Work:
    """What the forks do."""

    def __init__(self) -> None:
        # What the work imports as it goes is imported here, once for all of them.
        import faiss  # noqa: F401
        import tantivy  # noqa: F401

        from corpus.sandbox import Sandbox
        from embeddings import follow

        self._encoder = toy_encoder()
        follow.Sandbox = partial(Sandbox, workers=1)  # type: ignore[misc,assignment]
        follow._EMBED_BATCH = 8

    def do(self, job: Job, told: int) -> list[str]:
        """Do the job, and die of it where that is asked for; the events of it."""
        from conftest import TOY_RECIPE

        from corpus.writer import Writer
        from embeddings.follow import remove, update

        if job.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_bytes, resource.RLIM_INFINITY))
        if job.user is not None:
            os.setresuid(job.user, job.user, job.user)
        events: list[str] = []

        def watch(_frame: Any, event: str, what: Any) -> None:
            if event != "c_call" or what.__name__ not in EFFECTS:
                return
            events.append(what.__name__)
            if len(events) - 1 == job.die_at:
                if job.delay_seconds:
                    sys.setprofile(None)
                    os.write(told, b"!")
                else:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        try:
            with Writer.open(Path(job.index), lambda: TOY_RECIPE) as writer:
                update(writer, [Path(job.docs)], self._encoder, max_bytes=2**20)
            if job.takes_out:
                with Writer.open_existing(Path(job.index)) as writer:
                    remove(writer, job.takes_out)
        finally:
            sys.setprofile(None)
        return events


def _fork(work: _Work, job: Job) -> dict[str, Any]:
    """Do the job in a fork; how that ended."""
    reading, told = os.pipe()
    results, result = os.pipe()
    child = os.fork()
    if child == 0:
        answer: dict[str, Any] = {"error": "", "events": []}
        try:
            os.close(reading)
            try:
                answer["events"] = work.do(job, told)
            except BaseException as error:
                answer["error"] = f"{type(error).__name__}: {error}"
            with os.fdopen(result, "w") as stream:
                json.dump(answer, stream)
        finally:
            os._exit(0)
    os.close(told)
    os.close(result)
    if os.read(reading, 1):
        time.sleep(job.delay_seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(results) as stream:
        said = stream.read()
    os.close(reading)
    _, status = os.waitpid(child, 0)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    ended = json.loads(said) if said and not killed else {"error": "", "events": []}
    return {"signal": killed, **ended}


def _serve() -> None:
    work = _Work()
    for line in sys.stdin:
        print(json.dumps(_fork(work, Job(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    _serve()

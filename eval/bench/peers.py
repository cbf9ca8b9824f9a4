"""The alternatives, in an environment of their own, with the models that we have.

It is made with pip the first time, in the user's cache; a peer that cannot be installed or
does not run is skipped, with the reason.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from corpus.cores import cores
from embeddings.exports import user_cache
from eval.bench.timing import printed_after, run
from qa.settings import model_pair

__all__ = ["PEERS", "Installed", "Peer", "PeerPassage", "Service", "install"]

_SCRIPTS = Path(__file__).parent / "peer_scripts"
PeerPassage = dict[str, Any]
"""`id` and `text`, and `vector` where the peer need not embed it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to answer questions from documents."""

    name: str
    script: str
    packages: tuple[str, ...]
    """What pip installs; the first one's version is told."""


PEERS = (
    Peer(
        "sentence-transformers + transformers",
        "plain_script.py",
        ("transformers", "sentence-transformers", "faiss-cpu"),
    ),
    Peer(
        "Haystack",
        "haystack_script.py",
        (
            "haystack-ai>=3,<4",
            "transformers-haystack",
            "sentence-transformers-haystack",
            "faiss-haystack",
        ),
    ),
    Peer("txtai", "txtai_script.py", ("txtai", "sentence-transformers")),
)


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer that is ready to run."""

    peer: Peer
    python: Path
    versions: dict[str, str]
    read: int
    """How many passages it reads for a question."""

    def index(self, folder: Path, passages: Iterable[PeerPassage]) -> None:
        """Make its index of these passages in the folder, which is not there yet.

        Raises:
            RuntimeError: it failed.
        """
        listing = folder.with_suffix(".jsonl")
        with listing.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(passage) + "\n" for passage in passages)
        try:
            run(self.command("index", folder, listing), env=self.environment)
        finally:
            listing.unlink()

    def ask(self, folder: Path, question: str) -> str:
        """What it answers from a cold start.

        Raises:
            RuntimeError: it failed.
        """
        return run(self.command("ask", folder, question), env=self.environment).strip()

    def asked_cold(self, folder: Path, question: str) -> float:
        """How long it takes from its process's start to the printed answer, in seconds.

        Raises:
            RuntimeError: it failed.
        """
        return printed_after(self.command("ask", folder, question), env=self.environment)

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """The command line that does this."""
        return [self.python, _SCRIPTS / self.peer.script, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What its process is told: the models, how many threads, and to stay offline."""
        pair = model_pair("bundled")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CITESPAN"))}
        return kept | {
            "BENCH_ENCODER": str(pair.encoder.folder),
            "BENCH_READER": str(pair.reader.folder),
            "BENCH_READ": str(self.read),
            "OMP_NUM_THREADS": str(cores()),
            "HF_HUB_OFFLINE": "1",
            "HAYSTACK_TELEMETRY_ENABLED": "False",
            "TOKENIZERS_PARALLELISM": "false",
        }


class Service:
    """A system that stays open: a line of JSON in, a line out."""

    def __init__(self, command: Sequence[str | Path], environment: dict[str, str] | None) -> None:
        self._process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def say(self, line: str) -> dict[str, Any]:
        """What it answers to this line.

        Raises:
            RuntimeError: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError("it ended while it was asked") from None
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next line that it says.

        Raises:
            RuntimeError: it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended with exit code {self._process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def install(peer: Peer, *, read: int, progress: Callable[[str], None]) -> Installed:
    """The peer, installed now if it never was.

    Raises:
        RuntimeError: pip failed, or what it installed cannot be imported.
    """
    # The same torch as ours, since the machine has it: elsewhere a bare one brings CUDA.
    torch = f"torch=={version('torch').partition('+')[0]}"
    folder = user_cache() / "peers" / _key(torch, sys.version)
    python = folder / "bin" / "python"
    ready = folder / f"ready-{_key(*peer.packages)}"
    if not ready.exists():
        progress(f"installing {peer.name}, which takes some minutes")
        if not python.exists():
            venv.create(folder, with_pip=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        run([python, "-m", "pip", "install", *quiet, torch, *peer.packages])
        ready.touch()
    listed = run([python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"])
    found = {entry["name"]: entry["version"] for entry in json.loads(listed)}
    told = (name.partition(">")[0] for name in (*peer.packages, "torch"))
    return Installed(peer, python, {name: found[name] for name in told if name in found}, read)


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

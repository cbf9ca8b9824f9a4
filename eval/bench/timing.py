"""How long things take, how much memory a process took, and what it was measured on."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.cores import cores

__all__ = [
    "Timing",
    "first_line",
    "in_turn",
    "interleaved",
    "machine",
    "peak_bytes",
    "printed_after",
    "run",
    "timed",
]

_PACKAGES = ("onnxruntime", "faiss-cpu", "tantivy", "tokenizers", "numpy")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the same thing took, several times over; in seconds."""

    seconds: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median."""
        import statistics  # Its own imports take long, and cold starts are measured from here.

        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """What nineteen in twenty do not exceed."""
        return self.percentile(95)

    def percentile(self, share: int) -> float:
        """The nearest-rank percentile.

        >>> Timing((3.0, 1.0, 2.0)).percentile(34)
        2.0
        """
        ordered = sorted(self.seconds)
        return ordered[max(0, -(-share * len(ordered) // 100) - 1)]

    def summary(self) -> dict[str, Any]:
        """The median, with the middle half of all around it, and how many there are."""
        return {
            "p50": self.p50,
            "p25": self.percentile(25),
            "p75": self.percentile(75),
            "p95": self.p95,
            "n": len(self.seconds),
        }


def timed(call: Callable[[], object]) -> float:
    """How long the call takes, in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(names: Sequence[str], number: int) -> list[str]:
    """The names for the round of this number: all of them, beginning with another one each time.

    >>> in_turn(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    first = number % len(names)
    return [*names[first:], *names[:first]]


def interleaved(
    calls: Mapping[str, Callable[[], float]], rounds: int, *, warm: int = 1
) -> dict[str, Timing]:
    """How long each of the calls says that it took, one after the other in every round.

    A machine that slows down meanwhile slows all of them. Every round begins with another
    one, so that none always follows the same; the first `warm` rounds do not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + warm):
        for name in in_turn(list(calls), number):
            seconds = calls[name]()
            if number >= warm:
                taken[name].append(seconds)
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}


def first_line(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None
) -> tuple[float, str]:
    """How long the command takes from its start to its first line, in seconds; and the line.

    Raises:
        RuntimeError: it printed nothing, or failed.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        list(map(str, command)),
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.communicate()
    if not line or process.returncode != 0:
        raise RuntimeError(f"{command[0]} printed nothing, or exited with {process.returncode}")
    return seconds, line


def printed_after(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> float:
    """As `first_line`, but for the line."""
    return first_line(command, env=env)[0]


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """What the command prints.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        list(map(str, command)),
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{command[0]} exited with {done.returncode}: {' '.join(said[-2:])}")
    return done.stdout


def peak_bytes() -> int:
    """The most memory that this process has had resident, files it mapped included."""
    # Not getrusage on Linux: there a process starts with its parent's figure.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was: the load when they began."""
    from importlib.metadata import version

    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in ("citespan", *_PACKAGES)},
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Two bench runs compared by ratios, which another machine shares, and never by times."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.errors import InputError
from eval.bench.run import Bench

__all__ = ["Loss", "losses", "read_bench"]

_ALLOWED = 0.25
"""A ratio may be lower by this share: machines differ, and a busy one trembles."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A ratio that has fallen by more than is allowed."""

    measure: str
    against: str
    before: float
    after: float

    def __str__(self) -> str:
        share = 100 * (1 - self.after / self.before)
        return (
            f"{self.measure}: {self.after:.2f} times as fast as {self.against}, was"
            f" {self.before:.2f} ({share:.0f} % lost)"
        )


def read_bench(path: Path) -> Bench:
    """A run that was saved with `--out`.

    Raises:
        InputError: it is not one.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        _ratios(run)
    except FileNotFoundError:
        raise InputError(f"no file {path}; make one with `citespan bench --out {path}`") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no run of `citespan bench --out`: {error}") from error
    return dict(run)


def losses(before: Bench, after: Bench) -> list[Loss]:
    """What was lost between the runs, of the ratios that both have; the worst first.

    Raises:
        InputError: they have none in common.
    """
    old, new = _ratios(before), _ratios(after)
    shared = [key for key in old if key in new]
    if not shared:
        raise InputError("the two runs measured nothing in common; there is nothing to compare")
    found = [
        Loss(*key, old[key], new[key]) for key in shared if new[key] < (1 - _ALLOWED) * old[key]
    ]
    return sorted(found, key=lambda loss: loss.after / loss.before)


def _ratios(run: Bench) -> dict[tuple[str, str], float]:
    measures: Sequence[dict[str, dict[str, float]]] = run["measures"]
    return {
        (str(measure["name"]), against): float(ratio)
        for measure in measures
        for against, ratio in measure["ratios"].items()
    }

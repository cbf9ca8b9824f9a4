"""How far a run is, and how long the rest may take, for people who wait."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import accumulate

__all__ = ["Progress"]

_FILE_COST = 4096
"""A file costs as much as so many bytes, however small it is."""
_SHOW_SECONDS = 0.2
"""So long what was said of progress stands."""
_TELLING_SECONDS = 3.0
"""From then on it can be said how long the rest may take."""


class Progress:
    """Says how many files are read and passages embedded; what is left is judged by size."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = self._started = time.monotonic()
        self._ends: list[int] = []
        """What the files up to and with each one cost."""
        self._read = 0
        self._embedded = 0

    def start(self, sizes: Sequence[int]) -> None:
        """Files of these sizes, in bytes, are going to be read, in this order."""
        self._started = time.monotonic()
        self._ends = list(accumulate(size + _FILE_COST for size in sizes))

    def read(self, files: int) -> None:
        """So many of them have been read."""
        self._read = files
        if time.monotonic() - self._shown > _SHOW_SECONDS:
            self._say()

    def embedded(self, passages: int) -> None:
        """So many passages have been embedded."""
        self._embedded = passages
        self._say()

    def _say(self) -> None:
        self._shown = time.monotonic()
        line = f"read {self._read:,} of {len(self._ends):,} files"
        if self._embedded:
            line += f", embedded {self._embedded:,} passages"
        passed = self._shown - self._started
        if self._read and passed > _TELLING_SECONDS:
            left = passed * (self._ends[-1] / self._ends[self._read - 1] - 1)
            line += f"; about {_spoken(left)} left"
        self._show(line)


def _spoken(seconds: float) -> str:
    """A time as people say it.

    >>> _spoken(7.2), _spoken(100), _spoken(5000)
    ('10 s', '2 min', '1 h 23 min')
    """
    if seconds < 90:
        return f"{math.ceil(seconds / 10) * 10} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"

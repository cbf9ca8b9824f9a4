"""How many things may be done at once."""

import os

__all__ = ["cores"]


def cores() -> int:
    """How many cores this process may use; where the system does not say, how many it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

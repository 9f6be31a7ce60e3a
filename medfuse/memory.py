"""How much memory this process may count on, and how seldom what is left of it is looked for."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# The limit that a container or a batch system sets, of control groups of version 2 and 1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_size() -> float:
    """Return the bytes of memory of this machine, or of the container where it has fewer.

    Several processes of ``torchrun`` on one machine have equal parts of it. Without bound where
    neither says.
    """
    return min([_of_machine(), *map(_limit, _LIMITS)]) / _processes_here()


def _processes_here() -> int:
    given = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(given) if given.isdecimal() and int(given) else 1


def collect_seldom() -> None:
    """Have Python's collector called less often in this process.

    Importing torch and MONAI makes half a million objects that all stay, which it would go through
    again and again.
    """
    gc.set_threshold(50_000, 20, 20)


def _of_machine() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _limit(file: Path) -> float:
    """Return the number of a file; without bound where it is absent or says ``max``."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return float("inf")

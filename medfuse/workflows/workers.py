"""Processes that train side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from medfuse.errors import TrainingError
from medfuse.workflows.forks import forks_here


def available_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    call: Callable[..., Any], shared: Any, arguments: Iterable[tuple[Any, ...]], count: int
) -> Iterator[Any]:
    """Yield the results of ``call(shared, *each)`` as they come, from ``count`` processes.

    They are forked where `medfuse.workflows.forks.forked_from` has prepared it, and else started.

    Args:
        call: a function of a module.
        shared: its large arrays go to the processes once, as a file that all of them map.
        arguments: the others.
        count: of processes.

    Raises:
        TrainingError: a process was ended from outside.
    """
    forks = forks_here()
    try:
        if forks is not None and forks.start(count):
            yield from forks.run(call, shared, arguments)
        else:
            yield from _started(partial(call, shared), arguments, count)
    except BrokenProcessPool as error:
        raise TrainingError(
            f"one of {count} processes that train side by side was ended from outside, as systems "
            "do when memory runs out. Run the command again: finished fits are kept, and "
            f"--workers {max(1, count // 2)} needs less memory."
        ) from error


def _started(
    call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], count: int
) -> Iterator[Any]:
    from joblib import Parallel, delayed

    parallel = Parallel(count, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    yield from parallel(delayed(call)(*each) for each in arguments)

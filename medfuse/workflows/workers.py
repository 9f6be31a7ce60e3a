"""Processes that train side by side, and may be started before there is anything to train."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from medfuse.memory import collect_seldom


def available_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], count: int
) -> Iterator[Any]:
    """Yield the results of ``call(*each)`` as they come, from ``count`` processes.

    Large arrays go to the processes once, as files that all of them map.
    """
    from joblib import Parallel, delayed

    while _starting:
        list(_starting.pop())
    parallel = Parallel(count, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    yield from parallel(delayed(call)(*each) for each in arguments)


@contextmanager
def started(count: int, rehearse: str) -> Iterator[None]:
    """Let `side_by_side` find its processes at work while the block prepares what they will do.

    A process that trains imports for seconds. Here each does so while this one imports what it
    needs itself, reads the cases and opens the bank. After the block all of them are ended.

    Args:
        count: of processes; 1 starts none.
        rehearse: module whose ``rehearse()`` each of them calls.
    """
    if count < 2:
        yield
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    parallel = Parallel(count, return_as="generator_unordered", batch_size=1)
    with _deaf_to_interrupts():
        _starting.append(parallel(delayed(_rehearsed)(rehearse) for _ in range(count)))
    try:
        yield
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        with contextlib.suppress(RuntimeError):  # what joblib says where they were ended too early
            while _starting:
                list(_starting.pop())


# What starts, at most once at a time: the processes are those of this one, not of a caller.
_starting: list[Iterator[None]] = []


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started here leave Ctrl-C to this one, which ends them.

    What they would print is where each was importing. What is ignored when a process starts stays
    so in it; only the main thread can say so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _rehearsed(module: str) -> None:
    collect_seldom()
    import_module(module).rehearse()

"""How many threads torch works with, here and in threads that work side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to the calling thread while the block runs."""
    with _threads(1):
        yield


@contextmanager
def all_but_one() -> Iterator[None]:
    """Leave one processor to a process that works beside this one while the block runs.

    Threads that wait for one whose processor is taken make small operations many times slower.
    That holds for torch and for the linear algebra of NumPy and SciPy.
    """
    count = max(1, torch.get_num_threads() - 1)
    with _threads(count), threadpool_limits(count, user_api="blas"):
        yield


@contextmanager
def _threads(count: int) -> Iterator[None]:
    own = torch.get_num_threads()
    if own == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(own)


@contextmanager
def workers_of(threads: int = 1) -> Iterator[Callable[[], None]]:
    """Give what each worker calls first, so that torch computes with ``threads`` for it.

    The number is each thread's own, but the last one set anywhere is what new threads begin
    with: workers that changed it for each file would leave 1 to all that start later. The number
    of the caller is what they begin with after the block.
    """
    own = torch.get_num_threads()
    try:
        yield partial(_set, threads)
    finally:
        torch.set_num_threads(own)


def _set(threads: int) -> None:
    # The first question of a thread takes over what was set last anywhere, over its own number.
    torch.get_num_threads()
    torch.set_num_threads(threads)

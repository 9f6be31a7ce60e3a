"""How many threads torch works with, here and in threads that work side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to the calling thread while the block runs."""
    own = torch.get_num_threads()
    if own == 1:
        yield
        return
    torch.set_num_threads(1)
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
